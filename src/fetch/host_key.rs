//! What is known of the host key of an SFTP server.

use std::sync::{Arc, OnceLock};

use super::FetchError;
use crate::model::host_key::{HostKeyKind, Pin, ShownKey};

/// What is known of a server's host key: the pinned one, and the one that was seen when none was pinned.
#[derive(Debug, Clone, Default)]
pub struct HostKey {
    pinned: Option<String>,
    kind: Option<HostKeyKind>,
    seen: Arc<OnceLock<ShownKey>>,
}

impl HostKey {
    /// The pinned key, or none yet.
    #[must_use]
    pub fn new(pin: Option<&Pin>) -> Self {
        Self {
            pinned: pin.map(|pin| pin.fingerprint.clone()),
            kind: pin.and_then(|pin| pin.kind),
            seen: Arc::default(),
        }
    }

    /// A key of which a person knows how OpenSSH shows it (`SHA256:…`).
    #[must_use]
    pub fn of(fingerprint: &str) -> Self {
        Self {
            pinned: Some(fingerprint.to_owned()),
            ..Self::default()
        }
    }

    /// What sort of key is asked for, the one that is known first.
    pub(super) fn kinds(&self) -> Vec<HostKeyKind> {
        let known = self.kind;
        let others = HostKeyKind::ALL.iter().copied();
        known
            .into_iter()
            .chain(others.filter(|kind| Some(*kind) != known))
            .collect()
    }

    /// The key of a server that a password was about to be sent to while none was pinned.
    #[must_use]
    pub fn first_seen(&self) -> Option<&ShownKey> {
        self.seen.get()
    }

    /// Whether this key is the pinned one; what hashes it need not be named, nor its end be filled up.
    #[must_use]
    pub fn is(&self, found: &str) -> bool {
        let bare = |key: &str| {
            let key = key.trim();
            key.strip_prefix("SHA256:")
                .unwrap_or(key)
                .trim_end_matches('=')
                .to_owned()
        };
        self.pinned
            .as_deref()
            .is_some_and(|pinned| bare(pinned) == bare(found))
    }

    pub(super) fn check(&self, host: &str, found: &ShownKey) -> Result<(), FetchError> {
        match &self.pinned {
            None => {
                // A second attempt sees what the first one pinned.
                let first = self.seen.get_or_init(|| found.clone());
                (first == found)
                    .then_some(())
                    .ok_or_else(|| changed(host, &first.fingerprint, found))
            }
            Some(_) if self.is(&found.fingerprint) => Ok(()),
            Some(pinned) => Err(changed(host, pinned, found)),
        }
    }
}

fn changed(host: &str, pinned: &str, found: &ShownKey) -> FetchError {
    FetchError::HostKeyChanged {
        host: host.to_owned(),
        pinned: pinned.to_owned(),
        found: found.fingerprint.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(fingerprint: &str) -> ShownKey {
        ShownKey {
            fingerprint: fingerprint.to_owned(),
            kind: HostKeyKind::Ecdsa256,
        }
    }

    #[test]
    fn a_pinned_key_is_held_to_and_a_new_one_remembered() {
        let pinned = HostKey::of("SHA256:abc");
        assert!(pinned.check("h", &key("SHA256:abc")).is_ok());
        assert!(HostKey::of(" abc= ").check("h", &key("SHA256:abc")).is_ok());
        let error = pinned.check("h:22", &key("SHA256:xyz")).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("SHA256:xyz") && error.contains("SHA256:abc"),
            "{error}"
        );
        let new = HostKey::new(None);
        assert!(new.check("h", &key("SHA256:abc")).is_ok());
        assert_eq!(new.first_seen(), Some(&key("SHA256:abc")));
        assert!(new.check("h", &key("SHA256:xyz")).is_err());
    }

    #[test]
    fn the_kind_that_is_pinned_is_asked_for_first() {
        assert_eq!(HostKey::of("SHA256:abc").kinds(), HostKeyKind::ALL);
        let pin = Pin {
            fingerprint: "SHA256:abc".to_owned(),
            kind: Some(HostKeyKind::Rsa),
            server: None,
        };
        let kinds = HostKey::new(Some(&pin)).kinds();
        assert_eq!(kinds[..2], [HostKeyKind::Rsa, HostKeyKind::Ed25519]);
        assert_eq!(kinds.len(), HostKeyKind::ALL.len());
    }
}
