//! Why an import could not go on: at which stage, whether that may pass by itself, and what people are told.

use url::Url;

use crate::address::UrlError;
use crate::fetch::{FetchError, direct_download_hint};
use crate::model::failure::{Failure, FailureCode};
use crate::parsed_sheet::ParsedSheet;
use crate::secrets::SecretError;
use crate::sheet::SheetError;
use crate::store::StoreError;

/// Where an import stood when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading the settings.
    Settings,
    /// Fetching the file.
    Fetch,
    /// Reading the sheet.
    Sheet,
    /// Judging its rows.
    Validate,
    /// Writing the outcome.
    Store,
    /// Anywhere: stopped, or a defect.
    Run,
}

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Imports are switched off.
    #[error(
        "imports are switched off for this account; switch them on with `rosterd account enable`"
    )]
    Disabled,
    /// The settings lack something.
    #[error("{0}")]
    SettingsIncomplete(String),
    /// An address of another kind of source.
    #[error("{0} (`rosterd settings set`)")]
    SchemeRefused(UrlError),
    /// The stored secret can't be used.
    #[error(transparent)]
    Secret(SecretError),
    /// No file.
    #[error(transparent)]
    Fetch(FetchError),
    /// Not a sheet that can be trusted.
    #[error("{source}")]
    Sheet {
        /// Why.
        source: SheetError,
        /// Where the file came from, if not from a local file.
        url: Option<Box<Url>>,
    },
    /// Nobody in it.
    #[error("no contact in the file can be imported ({}); nothing was changed", no_contacts_reason(.0))]
    NoContacts(Box<ParsedSheet>),
    /// The database failed.
    #[error(transparent)]
    Store(StoreError),
    /// A person has approved a run that waits for nobody any more.
    #[error("the run that was approved waits for nobody any more; see `rosterd runs list`")]
    NothingToApprove,
    /// A person reverts a run that changed nobody.
    #[error("the run that was to be reverted changed no contact; see `rosterd runs list`")]
    NothingToRevert,
    /// The program is stopping.
    #[error("the import was stopped before it changed anything")]
    Stopped,
    /// A defect.
    #[error("a defect in rosterd stopped the import ({0}); please report it")]
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
    /// Where the import stood.
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
            Self::NothingToApprove | Self::NothingToRevert | Self::Stopped | Self::Internal(_) => {
                Stage::Run
            }
        }
    }

    /// Whether the same attempt may succeed a little later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Fetch(error) if error.is_transient())
    }

    /// Whether the outcome can't be written now and another process, or this one later, must take the run up again.
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
            | Self::NothingToApprove => FailureCode::LeaseLost,
            Self::Store(_) => FailureCode::DatabaseError,
            Self::NothingToRevert | Self::Stopped | Self::Internal(_) => FailureCode::Internal,
        };
        let hint = match self {
            Self::Secret(SecretError::OtherOrigin { .. }) => {
                "; enter the password again for the new address (`rosterd settings set`)"
            }
            Self::Secret(SecretError::DecryptionFailed) => {
                "; put the right key in place (`secrets.key_file`), or enter the password again"
            }
            _ => "",
        };
        Failure::new(code, format!("{self}{hint}"))
    }
}

fn no_contacts_reason(parsed: &ParsedSheet) -> String {
    match (parsed.row_count, parsed.rows_in_error.len()) {
        (0, _) => "it has no rows below the header".to_owned(),
        (_, 0) => "it has no rows but the example's".to_owned(),
        (1, _) => "its only row is in error".to_owned(),
        (rows, _) => format!("all of its {rows} rows are in error"),
    }
}

fn sheet_failure(error: &SheetError, url: Option<&Url>) -> Failure {
    let mut failure = error.failure();
    if let (SheetError::NotASpreadsheet(_), Some(direct)) =
        (error, url.and_then(direct_download_hint))
    {
        failure.message = format!(
            "{}. The address is a share link, which leads to a page about the file; enter {direct} instead",
            failure.message
        );
    }
    failure
}
