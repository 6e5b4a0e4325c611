//! Host keys of SFTP servers, by which they are known again.

use crate::model::string_enum;

string_enum!(
    /// `import_settings.sftp_host_key_kind`: what sort of key, as SSH names it; in the order in which they are asked for.
    HostKeyKind {
        /// Ed25519.
        Ed25519 = "ssh-ed25519",
        /// ECDSA over NIST P-256.
        Ecdsa256 = "ecdsa-sha2-nistp256",
        /// ECDSA over NIST P-384.
        Ecdsa384 = "ecdsa-sha2-nistp384",
        /// ECDSA over NIST P-521.
        Ecdsa521 = "ecdsa-sha2-nistp521",
        /// RSA.
        Rsa = "ssh-rsa",
    }
);

/// A key that a server has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedHostKey {
    /// As OpenSSH shows it (`SHA256:…`).
    pub fingerprint: String,
    /// What sort of key.
    pub kind: HostKeyKind,
}

/// A pinned host key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedHostKey {
    /// As OpenSSH shows it (`SHA256:…`).
    pub fingerprint: String,
    /// What sort of key; `None` of one that was entered in SQL.
    pub kind: Option<HostKeyKind>,
    /// Whose it is (`sftp://host:port`); `None`, as of one that was entered in SQL: of whichever server the address names.
    pub server: Option<String>,
}
