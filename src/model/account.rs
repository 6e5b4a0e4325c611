//! Accounts and their admins.

use chrono::{DateTime, Utc};

use super::{AccountId, string_enum};

/// A tenant: an organization with its own contacts, settings and schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Database id.
    pub id: AccountId,
    /// Unique name.
    pub name: String,
    /// IANA time zone of the schedule, for example `America/Vancouver`.
    pub time_zone: String,
    /// While true, the spreadsheet is the source of truth and other programs cannot change the contacts.
    pub import_enabled: bool,
    /// When and why the account was quarantined; `None` if it is not.
    pub set_aside: Option<(DateTime<Utc>, String)>,
}

/// A recipient of an account's mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Email address.
    pub email: String,
    /// Name, if entered.
    pub name: Option<String>,
    /// Which mail the admin receives.
    pub notify: Notify,
}

string_enum!(
    /// Which mail an admin receives.
    Notify {
        /// Errors, holds and failures, and runs that removed contacts or emptied a group.
        All = "all",
        /// Only errors, holds and failures.
        Problems = "problems",
    }
);

/// An account as named on the command line: digits are an id, anything else is a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountRef {
    /// An id.
    Id(AccountId),
    /// A name.
    Name(String),
}

impl std::str::FromStr for AccountRef {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(
            match text
                .parse::<u64>()
                .ok()
                .and_then(|id| i64::try_from(id).ok())
            {
                Some(id) if text.bytes().all(|b| b.is_ascii_digit()) => Self::Id(AccountId(id)),
                _ => Self::Name(text.to_owned()),
            },
        )
    }
}

impl std::fmt::Display for AccountRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}
