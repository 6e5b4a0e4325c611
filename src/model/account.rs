//! Accounts and their admins.

use chrono::{DateTime, Utc};

use super::{AccountId, string_enum};

/// An organisation whose contacts are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Stable id.
    pub id: AccountId,
    /// What people call it.
    pub name: String,
    /// IANA zone of the schedule.
    pub time_zone: String,
    /// While true the spreadsheet is master.
    pub import_enabled: bool,
    /// Since when it is set aside, and why.
    pub set_aside: Option<(DateTime<Utc>, String)>,
}

/// Who receives an account's mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Address.
    pub email: String,
    /// Name, if known.
    pub name: Option<String>,
    /// Which mail.
    pub notify: Notify,
}

string_enum!(
    /// Which mail an admin wants.
    Notify {
        /// Also when a run removed contacts or emptied a group.
        All = "all",
        /// Only errors, holds and failures.
        Problems = "problems",
    }
);

/// How a command names an account: digits are an id, anything else is a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountRef {
    /// By id.
    Id(AccountId),
    /// By name.
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
