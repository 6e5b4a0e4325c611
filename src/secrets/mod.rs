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
pub enum SealError {
    /// No key file.
    #[error(
        "key file `{0}` does not exist; make one with `rosterd key generate`, or set `secrets.key_file`"
    )]
    KeyMissing(PathBuf),
    /// Can't be read or written.
    #[error("key file `{path}`: {source}")]
    KeyFile {
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
    KeyBusy(PathBuf),
    /// Sealed for another origin.
    #[error("the password was entered for {sealed_for} and is not sent anywhere else")]
    OtherOrigin {
        /// Where it may be sent.
        sealed_for: String,
    },
    /// Another key, another account or field, or damaged.
    #[error("the stored password can't be opened with the key at hand")]
    Unreadable,
    /// Too long, or the crypto library failed.
    #[error("the password could not be sealed")]
    Seal,
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
    pub fn reseal(
        &self,
        sealed: &[u8],
        account: i64,
        field: &'static str,
    ) -> Result<Option<Vec<u8>>, SealError> {
        let parts = Parts::split(sealed).ok_or(SealError::Unreadable)?;
        let origin = std::str::from_utf8(parts.origin).map_err(|_| SealError::Unreadable)?;
        let binding = Binding {
            account,
            field,
            origin,
        };
        let secret = self.open(sealed, binding)?;
        if self.0.first().is_some_and(|key| key.id == parts.key_id) {
            return Ok(None);
        }
        self.seal(&secret, binding).map(Some)
    }

    /// Whether one of the keys opens a secret, for whichever origin it was sealed.
    #[must_use]
    pub fn opens(&self, sealed: &[u8], account: i64, field: &'static str) -> bool {
        let binding = |origin| Binding {
            account,
            field,
            origin,
        };
        sealed_for(sealed).is_some_and(|origin| self.open(sealed, binding(origin)).is_ok())
    }

    /// Seals a secret with the first key.
    ///
    /// # Errors
    /// [`SealError::Seal`] if the origin is absurdly long or the library fails.
    pub fn seal(&self, secret: &SecretString, binding: Binding<'_>) -> Result<Vec<u8>, SealError> {
        let key = self.0.first().ok_or(SealError::Seal)?;
        let origin_len = u16::try_from(binding.origin.len()).map_err(|_| SealError::Seal)?;
        let mut sealed = Vec::with_capacity(64 + binding.origin.len());
        sealed.extend_from_slice(MAGIC);
        sealed.extend_from_slice(&key.id);
        sealed.extend_from_slice(&origin_len.to_be_bytes());
        sealed.extend_from_slice(binding.origin.as_bytes());
        let aad = aad(&sealed, binding);
        let mut text = secret.expose_secret().as_bytes().to_vec();
        let nonce = key
            .key
            .seal_in_place_append_tag(Aad::from(aad), &mut text)
            .map_err(|_| SealError::Seal)?;
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(&text);
        Ok(sealed)
    }

    /// Opens a sealed secret.
    ///
    /// # Errors
    /// [`SealError::OtherOrigin`] if it was sealed for another origin, [`SealError::Unreadable`] for every other reason.
    pub fn open(&self, sealed: &[u8], binding: Binding<'_>) -> Result<SecretString, SealError> {
        let parts = Parts::split(sealed).ok_or(SealError::Unreadable)?;
        let origin = std::str::from_utf8(parts.origin).map_err(|_| SealError::Unreadable)?;
        let key = self
            .0
            .iter()
            .find(|key| key.id == parts.key_id)
            .ok_or(SealError::Unreadable)?;
        let aad = aad(parts.header, Binding { origin, ..binding });
        let nonce =
            Nonce::try_assume_unique_for_key(parts.nonce).map_err(|_| SealError::Unreadable)?;
        let mut text = parts.ciphertext.to_vec();
        let opened = key
            .key
            .open_in_place(nonce, Aad::from(aad), &mut text)
            .map_err(|_| SealError::Unreadable)?;
        if origin != binding.origin {
            return Err(SealError::OtherOrigin {
                sealed_for: origin.to_owned(),
            });
        }
        Ok(std::str::from_utf8(opened)
            .map_err(|_| SealError::Unreadable)?
            .into())
    }
}

/// The origin that a secret is sealed for, as it says itself; not proven until it is opened.
#[must_use]
pub fn sealed_for(sealed: &[u8]) -> Option<&str> {
    std::str::from_utf8(Parts::split(sealed)?.origin).ok()
}

struct Parts<'a> {
    header: &'a [u8],
    key_id: [u8; KEY_ID_LEN],
    origin: &'a [u8],
    nonce: &'a [u8],
    ciphertext: &'a [u8],
}

impl<'a> Parts<'a> {
    fn split(sealed: &'a [u8]) -> Option<Self> {
        let rest = sealed.strip_prefix(MAGIC)?;
        let (key_id, rest) = rest.split_first_chunk::<KEY_ID_LEN>()?;
        let (origin_len, rest) = rest.split_first_chunk::<2>()?;
        let (origin, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*origin_len)))?;
        let (nonce, ciphertext) = rest.split_at_checked(NONCE_LEN)?;
        let header = &sealed[..sealed.len() - rest.len()];
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

    const HERE: Binding<'_> = Binding {
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
    fn a_secret_opens_only_for_its_account_field_and_origin() {
        let (_folder, _, keys) = keyring();
        let sealed = keys.seal(&"hunter2".into(), HERE).unwrap();
        assert_eq!(keys.open(&sealed, HERE).unwrap().expose_secret(), "hunter2");
        let other = |binding| keys.open(&sealed, binding).unwrap_err();
        assert!(matches!(
            other(Binding { account: 8, ..HERE }),
            SealError::Unreadable
        ));
        assert!(matches!(
            other(Binding {
                field: "s3_secret_sealed",
                ..HERE
            }),
            SealError::Unreadable
        ));
        assert!(matches!(
            other(Binding {
                origin: "https://evil.example.org",
                ..HERE
            }),
            SealError::OtherOrigin { .. }
        ));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let (_folder, _, keys) = keyring();
        let sealed = keys.seal(&"hunter2".into(), HERE).unwrap();
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(keys.open(&damaged, HERE).is_err(), "byte {at}");
            assert!(keys.open(&sealed[..at], HERE).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn another_key_opens_nothing_and_a_key_is_never_overwritten() {
        let ((_one, path, keys), (_other, _, stranger)) = (keyring(), keyring());
        let sealed = keys.seal(&"hunter2".into(), HERE).unwrap();
        assert!(matches!(
            stranger.open(&sealed, HERE),
            Err(SealError::Unreadable)
        ));
        let before = std::fs::read(&path).unwrap();
        assert!(matches!(
            Keyring::generate(&path),
            Err(SealError::KeyExists(_))
        ));
        assert_eq!(std::fs::read(&path).unwrap(), before);
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&path).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn one_changes_the_key_at_a_time() {
        let (_folder, path, _) = keyring();
        let alone = Keyring::lock(&path).unwrap();
        assert!(matches!(Keyring::lock(&path), Err(SealError::KeyBusy(_))));
        // Nor does anybody seal with it meanwhile.
        assert!(matches!(Keyring::hold(&path), Err(SealError::KeyBusy(_))));
        drop(alone);
        let sealing = [(); 2].map(|()| Keyring::hold(&path).unwrap().unwrap());
        assert!(matches!(Keyring::lock(&path), Err(SealError::KeyBusy(_))));
        drop(sealing);
        Keyring::lock(&path).unwrap();
        let none = path.with_file_name("none");
        assert!(Keyring::hold(&none).unwrap().is_none());
        assert!(matches!(
            Keyring::lock(&none),
            Err(SealError::KeyMissing(_))
        ));
    }

    #[test]
    fn a_change_of_the_key_can_be_interrupted_and_goes_on() {
        let (_folder, path, old) = keyring();
        let sealed = old.seal(&"hunter2".into(), HERE).unwrap();
        let keys = Keyring::begin_rotation(&path).unwrap();
        let resealed = keys
            .reseal(&sealed, HERE.account, HERE.field)
            .unwrap()
            .unwrap();
        // Interrupted here, it begins again with the same new key.
        let again = Keyring::begin_rotation(&path).unwrap();
        assert!(
            again
                .reseal(&resealed, HERE.account, HERE.field)
                .unwrap()
                .is_none()
        );
        for value in [&sealed, &resealed] {
            assert_eq!(again.open(value, HERE).unwrap().expose_secret(), "hunter2");
        }
        assert!(
            old.open(&resealed, HERE).is_err(),
            "the old key does not open what the new one sealed"
        );
        // Whoever does not have the key that seals by now throws none away.
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(old.end_rotation(&path).is_ok() && again.end_rotation(&path).is_err());
        std::fs::write(&path, text).unwrap();
        // A link stays one, and the file stays readable for whom it was.
        let link = path.with_file_name("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o640);
        std::fs::set_permissions(&path, mode).unwrap();
        again.end_rotation(&link).unwrap();
        assert!(link.is_symlink());
        let mode = std::fs::metadata(&path).unwrap().permissions();
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
            0o640
        );
        let new = Keyring::load(&path).unwrap();
        assert_eq!(
            new.open(&resealed, HERE).unwrap().expose_secret(),
            "hunter2"
        );
        assert!(new.open(&sealed, HERE).is_err());
        assert!(new.reseal(&sealed, HERE.account, HERE.field).is_err());
    }
}
