//! What is known of the host key of an SFTP server.

use std::sync::{Arc, OnceLock};

use super::FetchError;

/// What is known of a server's host key: the pinned one, and the one that was seen when none was pinned.
#[derive(Debug, Clone, Default)]
pub struct HostKey {
    pinned: Option<String>,
    seen: Arc<OnceLock<String>>,
}

impl HostKey {
    /// A pinned key, as OpenSSH shows it (`SHA256:…`), or none yet.
    #[must_use]
    pub fn new(pinned: Option<&str>) -> Self {
        Self {
            pinned: pinned.map(str::to_owned),
            seen: Arc::default(),
        }
    }

    /// The key of a server that a password was about to be sent to while none was pinned.
    #[must_use]
    pub fn first_seen(&self) -> Option<&str> {
        self.seen.get().map(String::as_str)
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

    pub(super) fn check(&self, host: &str, found: &str) -> Result<(), FetchError> {
        match &self.pinned {
            None => {
                // A second attempt sees what the first one pinned.
                let first = self.seen.get_or_init(|| found.to_owned());
                (first == found)
                    .then_some(())
                    .ok_or_else(|| changed(host, first, found))
            }
            Some(_) if self.is(found) => Ok(()),
            Some(pinned) => Err(changed(host, pinned, found)),
        }
    }
}

fn changed(host: &str, pinned: &str, found: &str) -> FetchError {
    FetchError::HostKeyChanged {
        host: host.to_owned(),
        pinned: pinned.to_owned(),
        found: found.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_key_is_held_to_and_a_new_one_remembered() {
        let pinned = HostKey::new(Some("SHA256:abc"));
        assert!(pinned.check("h", "SHA256:abc").is_ok());
        assert!(
            HostKey::new(Some(" abc= "))
                .check("h", "SHA256:abc")
                .is_ok()
        );
        let error = pinned.check("h:22", "SHA256:xyz").unwrap_err().to_string();
        assert!(
            error.contains("SHA256:xyz") && error.contains("SHA256:abc"),
            "{error}"
        );
        let new = HostKey::new(None);
        assert!(new.check("h", "SHA256:abc").is_ok());
        assert_eq!(new.first_seen(), Some("SHA256:abc"));
        assert!(new.check("h", "SHA256:xyz").is_err());
    }
}
