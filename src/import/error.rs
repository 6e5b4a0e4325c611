//! Why an import failed: at which stage, whether a retry can help, and the failure that is recorded and mailed.

use url::Url;

use crate::address::UrlError;
use crate::fetch::{FetchError, direct_download_hint};
use crate::model::AccountId;
use crate::model::failure::{Failure, FailureCode};
use crate::parsed_sheet::ParsedSheet;
use crate::secrets::SecretError;
use crate::sheet::SheetError;
use crate::store::StoreError;

/// The stage in which an import failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading the settings.
    Settings,
    /// Fetching the file.
    Fetch,
    /// Reading the sheet.
    Sheet,
    /// Validating its rows.
    Validate,
    /// Writing the result.
    Store,
    /// No particular stage: the run was stopped, or there is a bug.
    Run,
}

/// An import setting that is missing or invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No row in `import_settings`, or one without a source.
    #[error("the account has no import settings; enter them with `rosterd settings set`")]
    NoSettings,
    /// `url` is missing.
    #[error(
        "the import settings have no address; enter the address of the file (`rosterd settings set --url`)"
    )]
    AddressMissing,
    /// `url` cannot be parsed.
    #[error("the import settings have an invalid address: {0} (`rosterd settings set --url`)")]
    InvalidAddress(UrlError),
    /// `username` is missing.
    #[error(
        "the import settings have no user name; enter the user name (`rosterd settings set --username`)"
    )]
    UsernameMissing,
    /// `password_sealed` is missing.
    #[error(
        "the import settings have no password; enter the password (`rosterd settings set --password-file`)"
    )]
    PasswordMissing,
    /// `s3_access_key_id` is missing.
    #[error(
        "the import settings have no S3 access key ID; enter it (`rosterd settings set --s3-access-key-id`)"
    )]
    S3AccessKeyIdMissing,
    /// `s3_secret_sealed` is missing.
    #[error(
        "the import settings have no S3 secret key; enter it (`rosterd settings set --secret-file`)"
    )]
    S3SecretMissing,
    /// `s3_region` is missing, and the address does not contain a region.
    #[error(
        "the import settings have no S3 region; enter it, for example ca-central-1 (`rosterd settings set --s3-region`)"
    )]
    S3RegionMissing,
    /// `s3_region` is not the name of a region.
    #[error(
        "`{0}` is not an S3 region; enter one such as ca-central-1 (`rosterd settings set --s3-region`)"
    )]
    InvalidS3Region(String),
    /// A host key was requested, but the source is not an SFTP server.
    #[error("only SFTP servers have a host key, and this account has another source")]
    NotSftp,
}

/// Why an import failed or was interrupted.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// `accounts.import_enabled` is false.
    #[error("imports are disabled for this account; enable them with `rosterd account enable`")]
    Disabled,
    /// A setting is missing or invalid.
    #[error(transparent)]
    SettingsIncomplete(#[from] SettingsError),
    /// The address belongs to another kind of source.
    #[error("{0} (`rosterd settings set --url`)")]
    SchemeRefused(UrlError),
    /// The stored secret cannot be used.
    #[error(transparent)]
    Secret(SecretError),
    /// The file could not be fetched.
    #[error(transparent)]
    Fetch(FetchError),
    /// The file was rejected.
    #[error("{source}")]
    Sheet {
        /// Why it was rejected.
        source: SheetError,
        /// URL of the file; `None` for a local file.
        url: Option<Box<Url>>,
    },
    /// The file has no contact without errors.
    #[error("no contact in the file can be imported ({}); nothing was changed", NoContactsReason(.0))]
    NoContacts(Box<ParsedSheet>),
    /// The database failed.
    #[error(transparent)]
    Store(StoreError),
    /// The run to approve no longer needs approval.
    #[error("the run to approve no longer needs approval; see `rosterd runs list`")]
    NothingToApprove,
    /// The run to revert changed no contact.
    #[error("the run to revert changed no contact; see `rosterd runs list`")]
    NothingToRevert,
    /// The run was stopped, for example because the program is stopping.
    #[error("the import was stopped before it changed anything")]
    Stopped,
    /// The run crashed its process repeatedly.
    #[error(
        "the import crashed its process {attempts} times, so the account is quarantined: its imports are stopped; check the file, then run the \
         import again (`rosterd import {account}`)"
    )]
    CrashedRepeatedly {
        /// Number of crashes.
        attempts: i32,
        /// The account.
        account: AccountId,
    },
    /// The process of a command that imported a local file died.
    #[error(
        "the command that imported this file ended before it was done; nothing was changed, run it again"
    )]
    CommandDied,
    /// A bug in rosterd.
    #[error("an internal error in rosterd stopped the import ({0}); please report it")]
    Internal(String),
}

impl From<StoreError> for ImportError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::ImportDisabled => Self::Disabled,
            other => Self::Store(other),
        }
    }
}

impl ImportError {
    /// The stage in which the import failed.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self {
            Self::Disabled
            | Self::SettingsIncomplete(_)
            | Self::SchemeRefused(_)
            | Self::Secret(_) => Stage::Settings,
            Self::Fetch(_) => Stage::Fetch,
            Self::Sheet { .. } => Stage::Sheet,
            Self::NoContacts(_) => Stage::Validate,
            Self::Store(_) => Stage::Store,
            Self::NothingToApprove
            | Self::NothingToRevert
            | Self::Stopped
            | Self::CrashedRepeatedly { .. }
            | Self::CommandDied
            | Self::Internal(_) => Stage::Run,
        }
    }

    /// Whether a retry can succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Fetch(error) if error.is_transient())
    }

    /// Whether the outcome cannot be recorded now, so that the run stays open and is claimed again later.
    #[must_use]
    pub fn keeps_run_open(&self) -> bool {
        matches!(
            self,
            Self::Stopped | Self::Store(StoreError::Unreachable(_) | StoreError::LeaseLost)
        )
    }

    /// The failure to record.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let code = match self {
            Self::Disabled => FailureCode::ImportDisabled,
            Self::SettingsIncomplete(_) => FailureCode::SettingsIncomplete,
            Self::SchemeRefused(_) => FailureCode::SchemeRefused,
            Self::Secret(SecretError::OtherOrigin { .. }) => FailureCode::SecretForOtherOrigin,
            Self::Secret(_) => FailureCode::SecretUnreadable,
            Self::Fetch(error) => return error.failure(),
            Self::Sheet { source, url } => return sheet_failure(source, url.as_deref()),
            Self::NoContacts(_) => FailureCode::NoContacts,
            Self::Store(StoreError::LeaseLost | StoreError::SettingsChanged)
            | Self::NothingToApprove
            | Self::CommandDied => FailureCode::LeaseLost,
            Self::CrashedRepeatedly { .. } => FailureCode::SetAside,
            Self::Store(_) => FailureCode::DatabaseError,
            Self::NothingToRevert | Self::Stopped | Self::Internal(_) => FailureCode::Internal,
        };
        Failure::new(code, self.to_string())
    }
}

struct NoContactsReason<'a>(&'a ParsedSheet);

impl std::fmt::Display for NoContactsReason<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.0.row_count, self.0.rows_in_error.len()) {
            (0, _) => f.write_str("it has no rows below the header"),
            (_, 0) => f.write_str("its only row is the example of the template"),
            (1, _) => f.write_str("its only row has errors"),
            (rows, _) => write!(f, "all of its {rows} rows have errors"),
        }
    }
}

fn sheet_failure(error: &SheetError, url: Option<&Url>) -> Failure {
    let failure = error.failure();
    if let (SheetError::NotASpreadsheet(_), Some(direct)) =
        (error, url.and_then(direct_download_hint))
    {
        let message = format!(
            "{}; the address is a share link that opens a web page, enter {direct} instead",
            failure.message
        );
        return Failure::new(failure.code, message);
    }
    failure
}
