//! Import settings: the kinds of source, and the columns that secrets are bound to.

use super::string_enum;

string_enum!(
    /// `import_settings.source`
    SourceKind {
        /// A public file over HTTPS.
        Https = "https",
        /// A private file over HTTPS with Basic authorization.
        HttpsBasic = "https_basic",
        /// A private file over SFTP.
        Sftp = "sftp",
        /// A private file in AWS S3 or what speaks its protocol.
        S3 = "s3",
    }
);

/// Column of the password of `https_basic` and `sftp`, to which it is bound.
pub const PASSWORD_COLUMN: &str = "password_sealed";
/// Column of the S3 secret key, to which it is bound.
pub const S3_SECRET_COLUMN: &str = "s3_secret_sealed";
