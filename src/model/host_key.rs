//! Host keys of SFTP servers.

use crate::model::string_enum;

string_enum!(
    /// Type of a host key by its SSH name (`import_settings.sftp_host_key_kind`), in order of preference.
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

/// A host key that a server presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedHostKey {
    /// Fingerprint in OpenSSH format (`SHA256:…`).
    pub fingerprint: String,
    /// Key type.
    pub kind: HostKeyKind,
}

/// A pinned host key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedHostKey {
    /// Fingerprint in OpenSSH format (`SHA256:…`).
    pub fingerprint: String,
    /// Key type; `None` if the key was entered in SQL.
    pub kind: Option<HostKeyKind>,
    /// Origin of the server (`sftp://host:port`); `None` if the key was entered in SQL and applies to the server in the settings.
    pub server: Option<String>,
}
