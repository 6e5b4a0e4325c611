//! The file with the keys: made, read, and replaced whole when a key is changed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, RandomizedNonceKey};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{KEY_ID_LEN, Key, Keyring, SecretError};

const KEY_LEN: usize = 32;
const KEY_FILE_COMMENT: &str = "# Key of rosterd. Whoever has it and a copy of the database can read the passwords in it; keep it apart from both.\n";

impl Keyring {
    /// Makes a new key file, readable by its owner only.
    ///
    /// # Errors
    /// [`SealError::KeyExists`] if there is one; nothing is overwritten.
    pub fn generate(path: &Path) -> Result<(), SecretError> {
        let io_error = |source| io_error(path, source);
        if let Some(directory) = path
            .parent()
            .filter(|directory| !directory.as_os_str().is_empty())
        {
            std::fs::create_dir_all(directory).map_err(io_error)?;
        }
        let text = format!("{KEY_FILE_COMMENT}{}\n", new_key_line()?);
        match write_new(path, &text).and_then(|()| sync_parent_dir(path)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(SecretError::KeyExists(path.to_owned()))
            }
            other => other.map_err(io_error),
        }
    }

    /// Puts a new key before those in a key file, so that it seals from now on and the old ones still open. If there are
    /// several keys already, a change of the key was interrupted, and the first of them is the new one.
    ///
    /// # Errors
    /// [`SealError`] if the file can't be read or written; it is replaced whole or not at all.
    pub fn begin_rotation(path: &Path) -> Result<Self, SecretError> {
        let keys = Self::load(path)?;
        if keys.0.len() > 1 {
            return Ok(keys);
        }
        Self::add_key(path)
    }

    /// Puts a new key before those in a key file, however many these are.
    ///
    /// # Errors
    /// [`SealError`] if the file can't be read or written; it is replaced whole or not at all.
    pub fn add_key(path: &Path) -> Result<Self, SecretError> {
        let lines = key_lines(path)?;
        replace_keys(path, std::iter::once(new_key_line()?).chain(lines))?;
        Self::load(path)
    }

    /// Leaves only the key in a key file that seals.
    ///
    /// # Errors
    /// [`SealError`] if the file can't be read or written, or does not hold that key any more; it is replaced whole or not
    /// at all.
    pub fn finish_rotation(&self, path: &Path) -> Result<(), SecretError> {
        let is_active = |line: &String| {
            let (found, active) = (parse_key(line), self.0.first());
            found.is_some_and(|found| active.is_some_and(|active| active.id == found.id))
        };
        let active = key_lines(path)?.into_iter().find(is_active);
        let active = active.ok_or_else(|| SecretError::KeyDamaged(path.to_owned()))?;
        replace_keys(path, std::iter::once(active))
    }

    /// Whether there is no other key than the one that seals.
    #[must_use]
    pub fn has_single_key(&self) -> bool {
        self.0.len() == 1
    }

    /// Keeps others from changing the key meanwhile: two who did would each throw away the other's. For as long as the file
    /// that comes back is open; it lies beside the key file.
    ///
    /// # Errors
    /// [`SealError::KeyBusy`] where another program is changing the key, or as the file can't be made.
    pub fn lock(path: &Path) -> Result<File, SecretError> {
        let lock = open_lock(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => SecretError::KeyMissing(path.to_owned()),
            _ => io_error(path, error),
        })?;
        map_lock_result(path, lock.try_lock()).map(|()| lock)
    }

    /// Keeps others from changing the key while something is sealed and stored: it would be sealed with one that is thrown
    /// away. For as long as the file that comes back is open; `None` where there is no key, or none that this user could
    /// change.
    ///
    /// # Errors
    /// [`SealError::KeyBusy`] while another program is changing the key, or as the file can't be made.
    pub fn lock_shared(path: &Path) -> Result<Option<File>, SecretError> {
        use ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
        match open_lock(path) {
            Ok(lock) => map_lock_result(path, lock.try_lock_shared()).map(|()| Some(lock)),
            Err(error)
                if [NotFound, PermissionDenied, ReadOnlyFilesystem].contains(&error.kind()) =>
            {
                Ok(None)
            }
            Err(error) => Err(io_error(path, error)),
        }
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`SealError`] if it is missing, unreadable or damaged.
    pub fn load(path: &Path) -> Result<Self, SecretError> {
        let lines = key_lines(path)?;
        let keys: Option<Vec<Key>> = lines.iter().map(|line| parse_key(line)).collect();
        match keys {
            Some(keys) if !keys.is_empty() => Ok(Self(keys)),
            _ => Err(SecretError::KeyDamaged(path.to_owned())),
        }
    }
}

fn io_error(path: &Path, source: std::io::Error) -> SecretError {
    SecretError::KeyFileIo {
        path: path.to_owned(),
        source,
    }
}

/// The file that is locked in the place of a key file, which is replaced. Whoever may read the key may lock it.
fn open_lock(path: &Path) -> std::io::Result<File> {
    let path = std::fs::canonicalize(path)?;
    let lock = sibling_path(&path, ".lock");
    match File::open(&lock) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&lock)?;
            copy_ownership(&lock, &path)?;
            Ok(file)
        }
        other => other,
    }
}

fn map_lock_result(path: &Path, outcome: Result<(), TryLockError>) -> Result<(), SecretError> {
    outcome.map_err(|error| match error {
        TryLockError::WouldBlock => SecretError::KeyLocked(path.to_owned()),
        TryLockError::Error(source) => io_error(path, source),
    })
}

fn new_key_line() -> Result<String, SecretError> {
    let (mut id, mut key) = ([0; KEY_ID_LEN], [0; KEY_LEN]);
    rand::fill(&mut id).map_err(|_| SecretError::EncryptionFailed)?;
    rand::fill(&mut key).map_err(|_| SecretError::EncryptionFailed)?;
    Ok(format!("{} {}", STANDARD.encode(id), STANDARD.encode(key)))
}

/// The lines of a key file that are keys.
fn key_lines(path: &Path) -> Result<Vec<String>, SecretError> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(SecretError::KeyMissing(path.to_owned()));
        }
        other => other.map_err(|source| io_error(path, source))?,
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

/// Puts what was done in a file's folder onto the disk.
fn sync_parent_dir(path: &Path) -> std::io::Result<()> {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn sibling_path(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Replaces a key file in one step; where it is a link, what it leads to.
fn replace_keys(path: &Path, lines: impl Iterator<Item = String>) -> Result<(), SecretError> {
    let mut text = KEY_FILE_COMMENT.to_owned();
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    std::fs::canonicalize(path)
        .and_then(|path| replace_file(&path, &text))
        .map_err(|source| io_error(path, source))
}

fn replace_file(path: &Path, text: &str) -> std::io::Result<()> {
    let replacement = sibling_path(path, ".new");
    match std::fs::remove_file(&replacement) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write_new(&replacement, text)?;
    copy_ownership(&replacement, path)?;
    std::fs::rename(&replacement, path)?;
    sync_parent_dir(path)
}

/// Lets a file belong to whom another belongs to, and be read by the same.
fn copy_ownership(path: &Path, other: &Path) -> std::io::Result<()> {
    let other = std::fs::metadata(other)?;
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(path, Some(other.uid()), Some(other.gid()))?;
    }
    std::fs::set_permissions(path, other.permissions())
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
