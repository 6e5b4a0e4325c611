//! Verifies the host key of an SFTP server against the pinned one. Does not depend on connections or storage.

use std::sync::{Arc, OnceLock};

use super::error::FetchErrorKind;
use crate::model::host_key::{HostKeyKind, OfferedHostKey, PinnedHostKey};

/// The pinned host key of a server, or the first one seen if none is pinned. Clones share the first key seen.
#[derive(Debug, Clone, Default)]
pub struct HostKeyVerifier {
    pinned: Option<String>,
    kind: Option<HostKeyKind>,
    first_seen_key: Arc<OnceLock<OfferedHostKey>>,
}

impl HostKeyVerifier {
    /// A verifier for the pinned key, or for a server without one.
    #[must_use]
    pub fn new(pinned: Option<&PinnedHostKey>) -> Self {
        Self {
            pinned: pinned.map(|key| key.fingerprint.clone()),
            kind: pinned.and_then(|key| key.kind),
            first_seen_key: Arc::default(),
        }
    }

    /// A verifier for a fingerprint in the format of OpenSSH (`SHA256:…`).
    #[must_use]
    pub fn from_fingerprint(fingerprint: &str) -> Self {
        Self {
            pinned: Some(fingerprint.to_owned()),
            ..Self::default()
        }
    }

    /// Host key types to request, in order of preference. The pinned type comes first: a server that gets a better key continues to work.
    pub(super) fn preferred_kinds(&self) -> Vec<HostKeyKind> {
        let pinned_kind = self.kind;
        let others = HostKeyKind::ALL.iter().copied();
        pinned_kind
            .into_iter()
            .chain(others.filter(|kind| Some(*kind) != pinned_kind))
            .collect()
    }

    /// The key that the server presented while none was pinned.
    #[must_use]
    pub fn first_seen(&self) -> Option<&OfferedHostKey> {
        self.first_seen_key.get()
    }

    /// Whether this fingerprint is the pinned one. The prefix `SHA256:` and the padding `=` are optional.
    #[must_use]
    pub fn matches(&self, fingerprint: &str) -> bool {
        let normalize = |key: &str| {
            let key = key.trim();
            key.strip_prefix("SHA256:")
                .unwrap_or(key)
                .trim_end_matches('=')
                .to_owned()
        };
        self.pinned
            .as_deref()
            .is_some_and(|pinned| normalize(pinned) == normalize(fingerprint))
    }

    pub(super) fn verify(
        &self,
        host: &str,
        offered: &OfferedHostKey,
    ) -> Result<(), FetchErrorKind> {
        match &self.pinned {
            None => {
                // All attempts must see the same key.
                let first = self.first_seen_key.get_or_init(|| offered.clone());
                (first == offered)
                    .then_some(())
                    .ok_or_else(|| host_key_changed(host, &first.fingerprint, offered))
            }
            Some(_) if self.matches(&offered.fingerprint) => Ok(()),
            Some(pinned) => Err(host_key_changed(host, pinned, offered)),
        }
    }
}

fn host_key_changed(host: &str, pinned: &str, offered: &OfferedHostKey) -> FetchErrorKind {
    FetchErrorKind::HostKeyChanged {
        host: host.to_owned(),
        pinned: pinned.to_owned(),
        offered: offered.fingerprint.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(fingerprint: &str) -> OfferedHostKey {
        OfferedHostKey {
            fingerprint: fingerprint.to_owned(),
            kind: HostKeyKind::Ecdsa256,
        }
    }

    #[test]
    fn pinned_key_is_enforced_and_first_key_recorded() {
        let pinned = HostKeyVerifier::from_fingerprint("SHA256:abc");
        assert!(pinned.verify("h", &key("SHA256:abc")).is_ok());
        assert!(
            HostKeyVerifier::from_fingerprint(" abc= ")
                .verify("h", &key("SHA256:abc"))
                .is_ok()
        );
        let error = pinned.verify("h:22", &key("SHA256:xyz")).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("SHA256:xyz") && error.contains("SHA256:abc"),
            "{error}"
        );
        let new = HostKeyVerifier::new(None);
        assert!(new.verify("h", &key("SHA256:abc")).is_ok());
        assert_eq!(new.first_seen(), Some(&key("SHA256:abc")));
        assert!(new.verify("h", &key("SHA256:xyz")).is_err());
    }

    #[test]
    fn pinned_key_kind_is_requested_first() {
        assert_eq!(
            HostKeyVerifier::from_fingerprint("SHA256:abc").preferred_kinds(),
            HostKeyKind::ALL
        );
        let pinned = PinnedHostKey {
            fingerprint: "SHA256:abc".to_owned(),
            kind: Some(HostKeyKind::Rsa),
            server: None,
        };
        let preferred_kinds = HostKeyVerifier::new(Some(&pinned)).preferred_kinds();
        assert_eq!(
            preferred_kinds[..2],
            [HostKeyKind::Rsa, HostKeyKind::Ed25519]
        );
        assert_eq!(preferred_kinds.len(), HostKeyKind::ALL.len());
    }
}
