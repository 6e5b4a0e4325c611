//! Seals passwords so that a dump of the database gives nothing away, and a sealed value works only where it was made
//! for: one account, one field, one origin.
//!
//! AES-256-GCM with a random nonce. Layout: magic (8 bytes) · key id (8) · length of the origin (2, big endian) ·
//! origin · nonce (12) · ciphertext and tag. Everything before the nonce, the account and the field are authenticated.

mod key_file;

use std::path::PathBuf;

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use secrecy::{ExposeSecret, SecretString};

const MAGIC: &[u8; 8] = b"rosterd1";
const KEY_ID_LEN: usize = 8;

/// What a secret is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding<'a> {
    /// `accounts.id`
    pub account: i64,
    /// Column that holds it.
    pub field: &'static str,
    /// Scheme, host and port (bucket and endpoint for S3) that it is sent to.
    pub origin: &'a str,
}

/// Why a sealed value can't be opened, or a key not be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// No key file.
    #[error(
        "key file `{0}` does not exist; make one with `rosterd key generate`, or set `secrets.key_file`"
    )]
    KeyMissing(PathBuf),
    /// Can't be read or written.
    #[error("key file `{path}`: {source}")]
    KeyFileIo {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not a key file.
    #[error("key file `{0}` is damaged; restore it from a copy")]
    KeyDamaged(PathBuf),
    /// A key is there already.
    #[error(
        "key file `{0}` exists already and was not touched; to change the key use `rosterd key rotate`"
    )]
    KeyExists(PathBuf),
    /// Somebody else is at it.
    #[error(
        "another `rosterd` command is using or changing the key in `{0}`; try again when it has ended"
    )]
    KeyLocked(PathBuf),
    /// Sealed for another origin.
    #[error("the password was entered for {bound_origin} and is not sent anywhere else")]
    OtherOrigin {
        /// Where it may be sent.
        bound_origin: String,
    },
    /// Another key, another account or field, or damaged.
    #[error("the stored password can't be opened with the key at hand")]
    DecryptionFailed,
    /// Too long, or the crypto library failed.
    #[error("the password could not be sealed")]
    EncryptionFailed,
}

struct Key {
    id: [u8; KEY_ID_LEN],
    key: RandomizedNonceKey,
}

/// The keys of a key file; the first seals, all open.
pub struct Keyring(Vec<Key>);

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keyring({} keys)", self.0.len())
    }
}

impl Keyring {
    /// Seals a secret anew with the first key, for the origin that it was sealed for; `None` if that key sealed it.
    ///
    /// # Errors
    /// [`SealError::Unreadable`] if none of the keys opens it.
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

    /// Whether one of the keys opens a secret, for whichever origin it was sealed.
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

    /// Seals a secret with the first key.
    ///
    /// # Errors
    /// [`SealError::Seal`] if the origin is absurdly long or the library fails.
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

    /// Opens a sealed secret.
    ///
    /// # Errors
    /// [`SealError::OtherOrigin`] if it was sealed for another origin, [`SealError::Unreadable`] for every other reason.
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

/// The origin that a secret is sealed for, as it says itself; not proven until it is opened.
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
                "cut at {at}"
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
        // Nor does anybody seal with it meanwhile.
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
        // Interrupted here, it begins again with the same new key.
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
            "the old key does not open what the new one sealed"
        );
        // Whoever does not have the key that seals by now throws none away.
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(old.finish_rotation(&path).is_ok() && again.finish_rotation(&path).is_err());
        std::fs::write(&path, text).unwrap();
        // A link stays one, and the file stays readable for whom it was.
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
}
