//! Kinds of source, and the names of the columns with encrypted secrets.

use super::string_enum;

string_enum!(
    /// Kind of source (`import_settings.source`).
    SourceKind {
        /// Public file over HTTPS.
        Https = "https",
        /// Private file over HTTPS with basic authentication.
        HttpsBasic = "https_basic",
        /// Private file over SFTP.
        Sftp = "sftp",
        /// Private file in AWS S3 or an S3-compatible service.
        S3 = "s3",
    }
);

/// Column of the password of `https_basic` and `sftp`. The encrypted password is bound to this name.
pub const PASSWORD_COLUMN: &str = "password_sealed";
/// Column of the S3 secret key. The encrypted key is bound to this name.
pub const S3_SECRET_COLUMN: &str = "s3_secret_sealed";
