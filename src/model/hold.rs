//! Holds: when a plan needs approval, results of earlier runs that it is compared with, and what was approved.

use std::collections::HashSet;

use super::row::RowInError;
use super::string_enum;

string_enum!(
    /// Why a plan is held for approval (SPEC §3.3).
    HoldReason {
        /// Too many contacts would be removed.
        RemovesTooMany = "removes_too_many",
        /// Too many contacts are probably in the file under a new ID.
        IdsChanged = "ids_changed",
        /// Too many contacts would get another name or other numbers.
        ChangesTooMany = "changes_too_many",
        /// A group would lose all its members.
        EmptiesGroup = "empties_group",
        /// Too many rows have errors.
        ErrorsTooMany = "errors_too_many",
        /// The first run after enabling would change existing contacts.
        FirstImport = "first_import",
        /// The first run after a revert would change existing contacts.
        AfterRevert = "after_revert",
    }
);

/// Limits above which a plan is held (`import_settings.hold_*`). Percentages are of the account's contacts or the file's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldRules {
    /// Held above this percentage of removals if there are also more than `removed_count`. The same limits apply to contacts
    /// that are probably in the file under a new ID.
    pub removed_percent: usize,
    /// Number of contacts; see `removed_percent`.
    pub removed_count: usize,
    /// Held above this percentage of contacts that get another name or another set of numbers.
    pub changed_percent: usize,
    /// Held above this percentage of rows with new errors.
    pub error_percent: usize,
}

impl Default for HoldRules {
    /// The defaults of the database columns, for an account without import settings.
    fn default() -> Self {
        Self {
            removed_percent: 10,
            removed_count: 5,
            changed_percent: 50,
            error_percent: 25,
        }
    }
}

/// Results of earlier runs and approvals that affect a plan.
#[derive(Debug, Clone, Default)]
pub struct PlanContext {
    /// Rows with errors in the last applied or approved plan.
    pub in_error: HashSet<RowInError>,
    /// Digests of unidentified rows that were approved and no longer block removals.
    pub accepted_rows: HashSet<[u8; 32]>,
    /// Removals that would be withheld are applied, because they were approved.
    pub apply_withheld_removals: bool,
    /// Contacts that match a new contact by name and number keep their record and get the new ID.
    pub keep_ids: bool,
    /// Set for the first run after imports were enabled or a run was reverted.
    pub must_confirm: Option<HoldReason>,
}
