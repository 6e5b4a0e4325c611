//! Runs (imports, approvals and reverts of one account), their counts and their failures.

use chrono::{DateTime, Utc};

use super::{AccountId, RunId, string_enum};

string_enum!(
    /// What started the run.
    Trigger {
        /// The account's schedule.
        Schedule = "schedule",
        /// A command, a page or an SQL statement.
        Manual = "manual",
        /// The approval of another run.
        Approval = "approval",
        /// The revert of another run.
        Revert = "revert",
    }
);

string_enum!(
    /// State of a run.
    RunStatus {
        /// Not started yet.
        Queued = "queued",
        /// In progress.
        Running = "running",
        /// Applied without errors.
        Succeeded = "succeeded",
        /// The file had not changed; nothing was done.
        Unchanged = "unchanged",
        /// Applied, but some contacts had errors or removals were withheld.
        SucceededWithIssues = "succeeded_with_issues",
        /// Held for approval; nothing was changed.
        Held = "held",
        /// Failed; nothing was changed.
        Failed = "failed",
        /// Was held and then rejected.
        Rejected = "rejected",
        /// Was held and then replaced by a later run.
        Superseded = "superseded",
    }
);

string_enum!(
    /// Where the file of a run comes from.
    Origin {
        /// The source in the import settings.
        Source = "source",
        /// A local file (`import --file`).
        File = "file",
    }
);

/// A run that this process starts immediately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewRun {
    /// The account.
    pub account_id: AccountId,
    /// What started it.
    pub trigger: Trigger,
    /// Where the file comes from.
    pub origin: Origin,
    /// The run that it approves or reverts.
    pub subject: Option<RunId>,
    /// See [`ClaimedRun::keep_ids`].
    pub keep_ids: bool,
    /// See [`ClaimedRun::forced`].
    pub forced: bool,
}

impl NewRun {
    /// An import that was requested manually.
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

/// A run that this process executes and whose lease it renews.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedRun {
    /// The run.
    pub id: RunId,
    /// The account.
    pub account_id: AccountId,
    /// What started it.
    pub trigger: Trigger,
    /// Where the file comes from.
    pub origin: Origin,
    /// The run that it approves or reverts.
    pub subject: Option<RunId>,
    /// In an approval: contacts that match a new contact keep their record and get the new ID.
    pub keep_ids: bool,
    /// In a revert: contacts that were changed after the run are restored anyway.
    pub forced: bool,
    /// Fencing token: increases with each claim. A commit with an old token is refused.
    pub fence: i64,
    /// Number of this attempt, from 1.
    pub attempts: i32,
}

/// Counts of a run (`import_runs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Data rows in the file.
    pub rows: usize,
    /// Contacts added.
    pub added: usize,
    /// Contacts updated.
    pub updated: usize,
    /// Contacts without changes.
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
    /// Active contacts after the run.
    pub contacts_after: usize,
}

/// Metadata of the file; `None` where unknown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileMetadata {
    /// SHA-256 of its bytes.
    pub sha256: Option<[u8; 32]>,
    /// Size in bytes.
    pub size_bytes: Option<u64>,
    /// `ETag` header.
    pub etag: Option<String>,
    /// `Last-Modified` header, unparsed.
    pub last_modified: Option<String>,
    /// Modification time of a file on an SFTP server.
    pub mtime: Option<DateTime<Utc>>,
}

/// Consecutive failed runs of an account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FailureStreak {
    /// Time of the first failure; `None` if the last run did not fail.
    pub since: Option<DateTime<Utc>>,
    /// Failure code that was last mailed.
    pub code: Option<String>,
    /// When it was last mailed.
    pub mailed_at: Option<DateTime<Utc>>,
}
