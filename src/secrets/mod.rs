//! Encrypts passwords. A dump of the database does not reveal them, and an encrypted password can be used only for the account, the
//! field and the origin that it was encrypted for. Does not depend on sources or storage.
//!
//! AES-256-GCM with a random nonce. Layout: magic (8 bytes), key ID (8), length of the origin (2, big-endian), origin, nonce (12),
//! ciphertext and tag. Everything before the nonce is authenticated, and so are the account and the field.

mod key_file;

use std::path::PathBuf;

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use secrecy::{ExposeSecret, SecretString};

const MAGIC: &[u8; 8] = b"rosterd1";
const KEY_ID_LEN: usize = 8;

/// What an encrypted secret is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding<'a> {
    /// Account (`accounts.id`).
    pub account: i64,
    /// Database column that stores it.
    pub field: &'static str,
    /// Scheme, host and port that it may be sent to; for S3, endpoint and bucket.
    pub origin: &'a str,
}

/// Why a secret cannot be encrypted or decrypted, or a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The key file does not exist.
    #[error(
        "key file `{0}` does not exist; create one with `rosterd key generate`, or set `secrets.key_file`"
    )]
    KeyMissing(PathBuf),
    /// The key file cannot be read or written.
    #[error("cannot read or write key file `{path}`: {source}")]
    KeyFileIo {
        /// Path of the key file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The key file contains no valid key.
    #[error("key file `{0}` is damaged; restore it from a backup")]
    KeyDamaged(PathBuf),
    /// The key file to be created exists.
    #[error(
        "key file `{0}` already exists and was not changed; to replace the key, use `rosterd key rotate`"
    )]
    KeyExists(PathBuf),
    /// The key file is locked by another process.
    #[error(
        "another `rosterd` command is using or changing the key in `{0}`; try again when it has finished"
    )]
    KeyLocked(PathBuf),
    /// The secret was encrypted for another origin.
    #[error(
        "the password was entered for {bound_origin} and is not sent anywhere else; enter the password again for the new address (`rosterd settings set`)"
    )]
    OtherOrigin {
        /// The origin that it may be sent to.
        bound_origin: String,
    },
    /// Encrypted with another key or for another account or field, or damaged.
    #[error(
        "the stored password cannot be decrypted with the current key; restore the key (`secrets.key_file`), or enter the password again (`rosterd settings set`)"
    )]
    DecryptionFailed,
    /// The origin is too long, or the cryptography library failed.
    #[error("the password could not be encrypted")]
    EncryptionFailed,
}

struct Key {
    id: [u8; KEY_ID_LEN],
    key: RandomizedNonceKey,
}

/// The keys of a key file. The first one encrypts, and all of them decrypt.
pub struct Keyring(Vec<Key>);

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keyring({} keys)", self.0.len())
    }
}

impl Keyring {
    /// Encrypts a secret again with the first key, for the same origin. Returns `None` if it is already encrypted with that key.
    ///
    /// # Errors
    /// [`SecretError::DecryptionFailed`] if none of the keys decrypts it.
    pub fn reencrypt(
        &self,
        encrypted: &[u8],
        account: i64,
        field: &'static str,
    ) -> Result<Option<Vec<u8>>, SecretError> {
        let parts = EncryptedParts::parse(encrypted).ok_or(SecretError::DecryptionFailed)?;
        let origin =
            std::str::from_utf8(parts.origin).map_err(|_| SecretError::DecryptionFailed)?;
        let binding = Binding {
            account,
            field,
            origin,
        };
        let secret = self.decrypt(encrypted, binding)?;
        if self.0.first().is_some_and(|key| key.id == parts.key_id) {
            return Ok(None);
        }
        self.encrypt(&secret, binding).map(Some)
    }

    /// Whether one of the keys decrypts a secret. Ignores the origin that it was encrypted for.
    #[must_use]
    pub fn can_decrypt(&self, encrypted: &[u8], account: i64, field: &'static str) -> bool {
        let binding = |origin| Binding {
            account,
            field,
            origin,
        };
        bound_origin(encrypted)
            .is_some_and(|origin| self.decrypt(encrypted, binding(origin)).is_ok())
    }

    /// Encrypts a secret with the first key.
    ///
    /// # Errors
    /// [`SecretError::EncryptionFailed`] if the origin is longer than 65,535 bytes or the cryptography library fails.
    pub fn encrypt(
        &self,
        secret: &SecretString,
        binding: Binding<'_>,
    ) -> Result<Vec<u8>, SecretError> {
        let key = self.0.first().ok_or(SecretError::EncryptionFailed)?;
        let origin_len =
            u16::try_from(binding.origin.len()).map_err(|_| SecretError::EncryptionFailed)?;
        let mut encrypted = Vec::with_capacity(64 + binding.origin.len());
        encrypted.extend_from_slice(MAGIC);
        encrypted.extend_from_slice(&key.id);
        encrypted.extend_from_slice(&origin_len.to_be_bytes());
        encrypted.extend_from_slice(binding.origin.as_bytes());
        let aad = aad(&encrypted, binding);
        let mut text = secret.expose_secret().as_bytes().to_vec();
        let nonce = key
            .key
            .seal_in_place_append_tag(Aad::from(aad), &mut text)
            .map_err(|_| SecretError::EncryptionFailed)?;
        encrypted.extend_from_slice(nonce.as_ref());
        encrypted.extend_from_slice(&text);
        Ok(encrypted)
    }

    /// Decrypts a secret.
    ///
    /// # Errors
    /// [`SecretError::OtherOrigin`] if it was encrypted for another origin, otherwise [`SecretError::DecryptionFailed`].
    pub fn decrypt(
        &self,
        encrypted: &[u8],
        binding: Binding<'_>,
    ) -> Result<SecretString, SecretError> {
        let parts = EncryptedParts::parse(encrypted).ok_or(SecretError::DecryptionFailed)?;
        let origin =
            std::str::from_utf8(parts.origin).map_err(|_| SecretError::DecryptionFailed)?;
        let key = self
            .0
            .iter()
            .find(|key| key.id == parts.key_id)
            .ok_or(SecretError::DecryptionFailed)?;
        let aad = aad(parts.header, Binding { origin, ..binding });
        let nonce = Nonce::try_assume_unique_for_key(parts.nonce)
            .map_err(|_| SecretError::DecryptionFailed)?;
        let mut text = parts.ciphertext.to_vec();
        let decrypted = key
            .key
            .open_in_place(nonce, Aad::from(aad), &mut text)
            .map_err(|_| SecretError::DecryptionFailed)?;
        if origin != binding.origin {
            return Err(SecretError::OtherOrigin {
                bound_origin: origin.to_owned(),
            });
        }
        Ok(std::str::from_utf8(decrypted)
            .map_err(|_| SecretError::DecryptionFailed)?
            .into())
    }
}

/// The origin that an encrypted secret contains. It is not authenticated until the secret is decrypted.
#[must_use]
pub fn bound_origin(encrypted: &[u8]) -> Option<&str> {
    std::str::from_utf8(EncryptedParts::parse(encrypted)?.origin).ok()
}

struct EncryptedParts<'a> {
    header: &'a [u8],
    key_id: [u8; KEY_ID_LEN],
    origin: &'a [u8],
    nonce: &'a [u8],
    ciphertext: &'a [u8],
}

impl<'a> EncryptedParts<'a> {
    fn parse(encrypted: &'a [u8]) -> Option<Self> {
        let rest = encrypted.strip_prefix(MAGIC)?;
        let (key_id, rest) = rest.split_first_chunk::<KEY_ID_LEN>()?;
        let (origin_len, rest) = rest.split_first_chunk::<2>()?;
        let (origin, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*origin_len)))?;
        let (nonce, ciphertext) = rest.split_at_checked(NONCE_LEN)?;
        let header = &encrypted[..encrypted.len() - rest.len()];
        Some(Self {
            header,
            key_id: *key_id,
            origin,
            nonce,
            ciphertext,
        })
    }
}

fn aad(header: &[u8], binding: Binding<'_>) -> Vec<u8> {
    let mut aad = header.to_vec();
    aad.extend_from_slice(&binding.account.to_be_bytes());
    aad.extend_from_slice(binding.field.as_bytes());
    aad
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINDING: Binding<'_> = Binding {
        account: 7,
        field: "password_sealed",
        origin: "https://files.example.org",
    };

    fn keyring() -> (tempfile::TempDir, PathBuf, Keyring) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/secrets.key");
        Keyring::generate(&path).unwrap();
        let keys = Keyring::load(&path).unwrap();
        (folder, path, keys)
    }

    #[test]
    fn secret_decrypts_only_for_its_binding() {
        let (_folder, _, keys) = keyring();
        let encrypted = keys.encrypt(&"hunter2".into(), BINDING).unwrap();
        assert_eq!(
            keys.decrypt(&encrypted, BINDING).unwrap().expose_secret(),
            "hunter2"
        );
        let other = |binding| keys.decrypt(&encrypted, binding).unwrap_err();
        assert!(matches!(
            other(Binding {
                account: 8,
                ..BINDING
            }),
            SecretError::DecryptionFailed
        ));
        assert!(matches!(
            other(Binding {
                field: "s3_secret_sealed",
                ..BINDING
            }),
            SecretError::DecryptionFailed
        ));
        assert!(matches!(
            other(Binding {
                origin: "https://evil.example.org",
                ..BINDING
            }),
            SecretError::OtherOrigin { .. }
        ));
    }

    #[test]
    fn any_changed_byte_is_detected() {
        let (_folder, _, keys) = keyring();
        let encrypted = keys.encrypt(&"hunter2".into(), BINDING).unwrap();
        for at in 0..encrypted.len() {
            let mut damaged = encrypted.clone();
            damaged[at] ^= 1;
            assert!(keys.decrypt(&damaged, BINDING).is_err(), "byte {at}");
            assert!(
                keys.decrypt(&encrypted[..at], BINDING).is_err(),
                "truncated at {at}"
            );
        }
    }

    #[test]
    fn other_key_cannot_decrypt_and_generate_never_overwrites() {
        let ((_one, path, keys), (_other, _, other_keys)) = (keyring(), keyring());
        let encrypted = keys.encrypt(&"hunter2".into(), BINDING).unwrap();
        assert!(matches!(
            other_keys.decrypt(&encrypted, BINDING),
            Err(SecretError::DecryptionFailed)
        ));
        let before = std::fs::read(&path).unwrap();
        assert!(matches!(
            Keyring::generate(&path),
            Err(SecretError::KeyExists(_))
        ));
        assert_eq!(std::fs::read(&path).unwrap(), before);
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&path).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn key_change_takes_exclusive_lock() {
        let (_folder, path, _) = keyring();
        let exclusive_lock = Keyring::lock(&path).unwrap();
        assert!(matches!(
            Keyring::lock(&path),
            Err(SecretError::KeyLocked(_))
        ));
        // Encryption with the key is blocked, too.
        assert!(matches!(
            Keyring::lock_shared(&path),
            Err(SecretError::KeyLocked(_))
        ));
        drop(exclusive_lock);
        let shared_locks = [(); 2].map(|()| Keyring::lock_shared(&path).unwrap().unwrap());
        assert!(matches!(
            Keyring::lock(&path),
            Err(SecretError::KeyLocked(_))
        ));
        drop(shared_locks);
        Keyring::lock(&path).unwrap();
        let none = path.with_file_name("none");
        assert!(Keyring::lock_shared(&none).unwrap().is_none());
        assert!(matches!(
            Keyring::lock(&none),
            Err(SecretError::KeyMissing(_))
        ));
    }

    #[test]
    fn interrupted_key_rotation_resumes() {
        let (_folder, path, old) = keyring();
        let encrypted = old.encrypt(&"hunter2".into(), BINDING).unwrap();
        let keys = Keyring::begin_rotation(&path).unwrap();
        let reencrypted = keys
            .reencrypt(&encrypted, BINDING.account, BINDING.field)
            .unwrap()
            .unwrap();
        // After an interruption here, the rotation continues with the same new key.
        let again = Keyring::begin_rotation(&path).unwrap();
        assert!(
            again
                .reencrypt(&reencrypted, BINDING.account, BINDING.field)
                .unwrap()
                .is_none()
        );
        for value in [&encrypted, &reencrypted] {
            assert_eq!(
                again.decrypt(value, BINDING).unwrap().expose_secret(),
                "hunter2"
            );
        }
        assert!(
            old.decrypt(&reencrypted, BINDING).is_err(),
            "the old key does not decrypt what the new key encrypted"
        );
        // A keyring whose first key is no longer in the file removes no key.
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(old.finish_rotation(&path).is_ok() && again.finish_rotation(&path).is_err());
        std::fs::write(&path, text).unwrap();
        // A symbolic link is kept, and so are the permissions of the file.
        let link = path.with_file_name("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o640);
        std::fs::set_permissions(&path, mode).unwrap();
        again.finish_rotation(&link).unwrap();
        assert!(link.is_symlink());
        let mode = std::fs::metadata(&path).unwrap().permissions();
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
            0o640
        );
        let new = Keyring::load(&path).unwrap();
        assert_eq!(
            new.decrypt(&reencrypted, BINDING).unwrap().expose_secret(),
            "hunter2"
        );
        assert!(new.decrypt(&encrypted, BINDING).is_err());
        assert!(
            new.reencrypt(&encrypted, BINDING.account, BINDING.field)
                .is_err()
        );
    }

    #[test]
    fn symbolic_links_next_to_the_key_are_not_followed() {
        let (folder, path, keys) = keyring();
        let (target, other) = (folder.path().join("target"), folder.path().join("other"));
        std::fs::write(&other, "text").unwrap();
        let lock = path.with_file_name("secrets.key.lock");
        for to in [&target, &other] {
            std::os::unix::fs::symlink(to, &lock).unwrap();
            let message = Keyring::lock(&path).unwrap_err().to_string();
            assert!(
                message.contains("lock` is a symbolic link; delete it"),
                "{message}"
            );
            assert!(Keyring::lock_shared(&path).is_err());
            std::fs::remove_file(&lock).unwrap();
        }
        let replacement = path.with_file_name("secrets.key.new");
        std::os::unix::fs::symlink(&other, &replacement).unwrap();
        Keyring::add_key(&path).unwrap();
        assert!(keys.finish_rotation(&path).is_ok());
        assert!(!target.exists());
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "text");
        // A regular lock file is opened again.
        drop(Keyring::lock(&path).unwrap());
        assert!(Keyring::lock(&path).is_ok() && lock.is_file());
    }
}
