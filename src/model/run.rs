//! Runs: one import of one account.

use chrono::{DateTime, Utc};

use super::{AccountId, RunId, string_enum};

string_enum!(
    /// What asked for the run.
    Trigger {
        /// The schedule.
        Schedule = "schedule",
        /// A person.
        Manual = "manual",
        /// A person, approving another run.
        Approval = "approval",
        /// A person, reverting another run.
        Revert = "revert",
    }
);

string_enum!(
    /// Where a run stands.
    RunStatus {
        /// Waits to be taken up.
        Queued = "queued",
        /// Under way.
        Running = "running",
        /// Applied, without errors.
        Succeeded = "succeeded",
        /// The file was the same as before.
        Unchanged = "unchanged",
        /// Applied, with contacts in error or removals withheld.
        SucceededWithIssues = "succeeded_with_issues",
        /// Waits for a person.
        Held = "held",
        /// Nothing changed.
        Failed = "failed",
        /// A person has ended it.
        Rejected = "rejected",
        /// Another run took its place.
        Superseded = "superseded",
    }
);

string_enum!(
    /// Where the file comes from.
    Origin {
        /// Fetched as the settings say.
        Source = "source",
        /// A local file.
        File = "file",
    }
);

/// A run to be started here and now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewRun {
    /// Its account.
    pub account_id: AccountId,
    /// What asks for it.
    pub trigger: Trigger,
    /// Where the file comes from.
    pub origin: Origin,
    /// The run it approves or reverts.
    pub subject: Option<RunId>,
    /// See [`ClaimedRun::keep_ids`].
    pub keep_ids: bool,
    /// See [`ClaimedRun::forced`].
    pub forced: bool,
}

impl NewRun {
    /// An import that a person asks for.
    #[must_use]
    pub fn manual(account_id: AccountId, origin: Origin) -> Self {
        Self {
            account_id,
            trigger: Trigger::Manual,
            origin,
            subject: None,
            keep_ids: false,
            forced: false,
        }
    }
}

/// A run that this process has taken up and vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedRun {
    /// The run.
    pub id: RunId,
    /// Its account.
    pub account_id: AccountId,
    /// What asked for it.
    pub trigger: Trigger,
    /// Where the file comes from.
    pub origin: Origin,
    /// The run it approves or reverts.
    pub subject: Option<RunId>,
    /// Of an approval: who is recognised under a new ID keeps the record.
    pub keep_ids: bool,
    /// Of a revert: contacts changed since are put back all the same.
    pub forced: bool,
    /// Counts the claims; a commit must present the newest.
    pub fence: i64,
    /// Which attempt this is, from 1.
    pub attempts: i32,
}

/// How many of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Data rows in the file.
    pub rows: usize,
    /// Contacts added.
    pub added: usize,
    /// Contacts updated.
    pub updated: usize,
    /// Contacts that don't differ.
    pub unchanged: usize,
    /// Contacts removed.
    pub removed: usize,
    /// Contacts revived.
    pub revived: usize,
    /// Contacts adopted.
    pub adopted: usize,
    /// Removals withheld.
    pub withheld: usize,
    /// Issues of severity error.
    pub errors: usize,
    /// Issues of severity warning.
    pub warnings: usize,
    /// Contacts after the run.
    pub contacts_after: usize,
}

/// What is known of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileMetadata {
    /// SHA-256 of its bytes.
    pub sha256: Option<[u8; 32]>,
    /// Size, bytes.
    pub size_bytes: Option<u64>,
    /// `ETag` header.
    pub etag: Option<String>,
    /// `Last-Modified` header, as sent.
    pub last_modified: Option<String>,
    /// Time of modification, of a file on an SFTP server.
    pub mtime: Option<DateTime<Utc>>,
}

/// A failure that goes on from run to run of an account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FailureStreak {
    /// Since when.
    pub since: Option<DateTime<Utc>>,
    /// The code last mailed.
    pub code: Option<String>,
    /// When it was last mailed.
    pub mailed_at: Option<DateTime<Utc>>,
}
