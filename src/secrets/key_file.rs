//! Creates, reads and locks the key file, and replaces it atomically when a key is changed.

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
const KEY_FILE_COMMENT: &str = "# Encryption key of rosterd. With it, the passwords in a copy of the database can be decrypted: store it separately.\n";

impl Keyring {
    /// Creates a new key file, readable only by its owner.
    ///
    /// # Errors
    /// [`SecretError::KeyExists`] if the file exists. It is never overwritten.
    pub fn generate(path: &Path) -> Result<(), SecretError> {
        let io_error = |source| io_error(path, source);
        if let Some(directory) = path
            .parent()
            .filter(|directory| !directory.as_os_str().is_empty())
        {
            std::fs::create_dir_all(directory).map_err(io_error)?;
        }
        let text = format!("{KEY_FILE_COMMENT}{}\n", new_key_line()?);
        match write_new(path, &text).and_then(|_| sync_parent_dir(path)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(SecretError::KeyExists(path.to_owned()))
            }
            other => other.map_err(io_error),
        }
    }

    /// Inserts a new key at the start of a key file: it encrypts from now on, and the old one still decrypts. If the file already has
    /// several keys, an earlier rotation was interrupted, and its new key is used.
    ///
    /// # Errors
    /// [`SecretError`] if the file cannot be read or replaced.
    pub fn begin_rotation(path: &Path) -> Result<Self, SecretError> {
        let keys = Self::load(path)?;
        if keys.0.len() > 1 {
            return Ok(keys);
        }
        Self::add_key(path)
    }

    /// Inserts a new key at the start of a key file, even if it already has several keys.
    ///
    /// # Errors
    /// [`SecretError`] if the file cannot be read or replaced.
    pub fn add_key(path: &Path) -> Result<Self, SecretError> {
        let lines = key_lines(path)?;
        replace_keys(path, std::iter::once(new_key_line()?).chain(lines))?;
        Self::load(path)
    }

    /// Removes all keys except the first key of this keyring from a key file.
    ///
    /// # Errors
    /// [`SecretError`] if the file cannot be read or replaced, or no longer contains that key.
    pub fn finish_rotation(&self, path: &Path) -> Result<(), SecretError> {
        let is_active = |line: &String| {
            let (key, active) = (parse_key(line), self.0.first());
            key.is_some_and(|key| active.is_some_and(|active| active.id == key.id))
        };
        let active = key_lines(path)?.into_iter().find(is_active);
        let active = active.ok_or_else(|| SecretError::KeyDamaged(path.to_owned()))?;
        replace_keys(path, std::iter::once(active))
    }

    /// Whether there is only one key.
    #[must_use]
    pub fn has_single_key(&self) -> bool {
        self.0.len() == 1
    }

    /// Locks the key file for a change of the key: two concurrent changes would each remove the key of the other. The lock is held
    /// until the returned file, which is next to the key file, is dropped.
    ///
    /// # Errors
    /// [`SecretError::KeyLocked`] if another process holds a lock, or an error if the lock file cannot be created.
    pub fn lock(path: &Path) -> Result<File, SecretError> {
        let lock = open_lock(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => SecretError::KeyMissing(path.to_owned()),
            _ => io_error(path, error),
        })?;
        map_lock_result(path, lock.try_lock()).map(|()| lock)
    }

    /// Prevents a change of the key while a secret is encrypted and stored: it might be encrypted with a key that is being removed.
    /// The lock is held until the returned file is dropped. Returns `None` if there is no key file, or this user has no permission
    /// to change it.
    ///
    /// # Errors
    /// [`SecretError::KeyLocked`] while another process changes the key, or an error if the lock file cannot be created.
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
    /// [`SecretError`] if it is missing, unreadable or damaged.
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

/// Opens the lock file. The key file itself cannot be locked, because it is replaced. The lock file gets the owner and permissions of
/// the key file: a user who can read the key can lock it. A symbolic link in its place is refused, since it could be a link to a file
/// whose owner would then be changed.
fn open_lock(path: &Path) -> std::io::Result<File> {
    let path = std::fs::canonicalize(path)?;
    let lock = sibling_path(&path, ".lock");
    let opened = match create_new(&lock) {
        Ok(file) => copy_ownership(&file, &path).map(|()| file),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
            .open(&lock),
        Err(error) => Err(error),
    };
    opened.map_err(|error| match error.raw_os_error() {
        Some(nix::libc::ELOOP) => std::io::Error::other(format!(
            "`{}` is a symbolic link; delete it",
            lock.display()
        )),
        _ => error,
    })
}

fn map_lock_result(path: &Path, result: Result<(), TryLockError>) -> Result<(), SecretError> {
    result.map_err(|error| match error {
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

/// The lines of a key file that contain keys.
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

/// Creates a file that only its owner can read. Fails if it exists, also as a symbolic link.
fn create_new(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
}

/// Creates a file that only its owner can read, and syncs it to disk. Fails if it exists.
fn write_new(path: &Path, text: &str) -> std::io::Result<File> {
    let mut file = create_new(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(file)
}

/// Syncs a file's directory to disk, which makes its creation or renaming durable.
fn sync_parent_dir(path: &Path) -> std::io::Result<()> {
    let directory = path
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn sibling_path(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Replaces a key file atomically. For a symbolic link, replaces its target.
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
    let file = write_new(&replacement, text)?;
    copy_ownership(&file, path)?;
    std::fs::rename(&replacement, path)?;
    sync_parent_dir(path)
}

/// Copies owner, group and permissions of the file at `other` to an open file, which cannot be exchanged meanwhile as a path could. Only
/// root can change the owner.
fn copy_ownership(file: &File, other: &Path) -> std::io::Result<()> {
    let other = std::fs::metadata(other)?;
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::fchown(file, Some(other.uid()), Some(other.gid()))?;
    }
    file.set_permissions(other.permissions())
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
