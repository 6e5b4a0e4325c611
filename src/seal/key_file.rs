//! The file with the keys: made, read, and replaced whole when a key is changed.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, RandomizedNonceKey};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{KEY_ID_LEN, Key, Keyring, SealError};

const KEY_LEN: usize = 32;
const COMMENT: &str = "# Key of rosterd. Whoever has it and a copy of the database can read the passwords in it; keep it apart from both.\n";

impl Keyring {
    /// Makes a new key file, readable by its owner only.
    ///
    /// # Errors
    /// [`SealError::KeyExists`] if there is one; nothing is overwritten.
    pub fn generate(path: &Path) -> Result<(), SealError> {
        let failed = |source| SealError::KeyFile {
            path: path.to_owned(),
            source,
        };
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let text = format!("{COMMENT}{}\n", new_key_line()?);
        match write_new(path, &text) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(SealError::KeyExists(path.to_owned()))
            }
            other => other.map_err(failed),
        }
    }

    /// Puts a new key before those in a key file, so that it seals from now on and the old ones still open. If there are
    /// several keys already, a change of the key was interrupted, and the first of them is the new one.
    ///
    /// # Errors
    /// [`SealError`] if the file can't be read or written; it is replaced whole or not at all.
    pub fn begin_rotation(path: &Path) -> Result<Self, SealError> {
        let keys = Self::load(path)?;
        if keys.0.len() > 1 {
            return Ok(keys);
        }
        let lines = key_lines(path)?;
        replace(path, std::iter::once(new_key_line()?).chain(lines))?;
        Self::load(path)
    }

    /// Leaves only the first key in a key file.
    ///
    /// # Errors
    /// [`SealError`] if the file can't be read or written; it is replaced whole or not at all.
    pub fn end_rotation(path: &Path) -> Result<(), SealError> {
        let lines = key_lines(path)?;
        replace(path, lines.into_iter().take(1))
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`SealError`] if it is missing, unreadable or damaged.
    pub fn load(path: &Path) -> Result<Self, SealError> {
        let lines = key_lines(path)?;
        let keys: Option<Vec<Key>> = lines.iter().map(|line| parse_key(line)).collect();
        match keys {
            Some(keys) if !keys.is_empty() => Ok(Self(keys)),
            _ => Err(SealError::KeyDamaged(path.to_owned())),
        }
    }
}

fn new_key_line() -> Result<String, SealError> {
    let (mut id, mut key) = ([0; KEY_ID_LEN], [0; KEY_LEN]);
    rand::fill(&mut id).map_err(|_| SealError::Seal)?;
    rand::fill(&mut key).map_err(|_| SealError::Seal)?;
    Ok(format!("{} {}", STANDARD.encode(id), STANDARD.encode(key)))
}

/// The lines of a key file that are keys.
fn key_lines(path: &Path) -> Result<Vec<String>, SealError> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(SealError::KeyMissing(path.to_owned()));
        }
        other => other.map_err(|source| SealError::KeyFile {
            path: path.to_owned(),
            source,
        })?,
    };
    let lines = text.lines().map(str::trim);
    let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(keys.map(str::to_owned).collect())
}

/// Writes a file that is not there yet, for its owner only, and onto the disk.
fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Replaces a key file in one step.
fn replace(path: &Path, lines: impl Iterator<Item = String>) -> Result<(), SealError> {
    let failed = |source| SealError::KeyFile {
        path: path.to_owned(),
        source,
    };
    let mut text = COMMENT.to_owned();
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = PathBuf::from(aside);
    match std::fs::remove_file(&aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    write_new(&aside, &text).map_err(failed)?;
    // The new file belongs to whom the old one belonged to.
    let old = std::fs::metadata(path).map_err(failed)?;
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&aside, Some(old.uid()), Some(old.gid())).map_err(failed)?;
    }
    std::fs::rename(&aside, path).map_err(failed)
}

fn parse_key(line: &str) -> Option<Key> {
    let (id, key) = line.split_once(' ')?;
    let id = STANDARD.decode(id).ok()?.try_into().ok()?;
    let key = STANDARD
        .decode(key.trim())
        .ok()
        .filter(|key| key.len() == KEY_LEN)?;
    Some(Key {
        id,
        key: RandomizedNonceKey::new(&AES_256_GCM, &key).ok()?,
    })
}
