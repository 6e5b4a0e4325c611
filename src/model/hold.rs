//! Holds: when a plan needs approval, what earlier runs said, and what was approved.

use std::collections::HashSet;

use super::plan::{Action, Plan};
use super::row::RowInError;
use super::{ContactId, string_enum};

string_enum!(
    /// Why a plan waits for a person (SPEC §3.3).
    HoldReason {
        /// Too many contacts would be removed.
        RemovesTooMany = "removes_too_many",
        /// Too many contacts would get another name or other numbers.
        ChangesTooMany = "changes_too_many",
        /// A group would lose all its members.
        EmptiesGroup = "empties_group",
        /// Too many rows are in error.
        ErrorsTooMany = "errors_too_many",
        /// The first run after enabling would touch somebody.
        FirstImport = "first_import",
        /// The first run after a revert would touch somebody.
        AfterRevert = "after_revert",
    }
);

/// Limits beyond which a plan is held; percentages of the contacts or rows (`import_settings.hold_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldRules {
    /// Held above this share of removals if there are also more than `removed_count`.
    pub removed_percent: usize,
    /// See `removed_percent`.
    pub removed_count: usize,
    /// Held above this share of contacts with another name or another set of numbers.
    pub changed_percent: usize,
    /// Held above this share of rows newly in error.
    pub error_percent: usize,
}

impl Default for HoldRules {
    /// The defaults of the columns, for an account without import settings.
    fn default() -> Self {
        Self {
            removed_percent: 10,
            removed_count: 5,
            changed_percent: 50,
            error_percent: 25,
        }
    }
}

/// What earlier runs found and what was approved since.
#[derive(Debug, Clone, Default)]
pub struct PlanContext {
    /// Rows in error in the last applied or approved plan.
    pub in_error: HashSet<RowInError>,
    /// Unidentified rows that were accepted: they no longer withhold removals.
    pub accepted_rows: HashSet<[u8; 32]>,
    /// Withheld removals were approved.
    pub apply_withheld_removals: bool,
    /// Contacts that look like the same person under a new ID keep their record.
    pub keep_ids: bool,
    /// Set if this is the first run after imports were enabled or a run was reverted.
    pub must_confirm: Option<HoldReason>,
}

/// What a person has approved.
#[derive(Debug, Clone, Default)]
pub struct ApprovedPlan {
    /// SHA-256 of the file that was approved.
    pub sha256: Option<[u8; 32]>,
    /// Contacts whose removal was approved.
    pub removed: HashSet<ContactId>,
    /// Contacts whose change was approved.
    pub changed: HashSet<ContactId>,
    /// Rows in error that were seen.
    pub in_error: HashSet<RowInError>,
    /// In the plan that was seen, those who look like the same person under a new ID keep their record.
    pub keep_ids: bool,
    /// Why it waited; empty for one that only withheld removals.
    pub hold_reasons: Vec<HoldReason>,
}

impl ApprovedPlan {
    /// Whether a plan is what was approved: the same file, or nobody removed, changed or in error whom the approved one
    /// did not remove, change or have in error. Where imports were switched on, or a run reverted, since then, contacts may
    /// have come that nobody was shown, and the same file alone says nothing.
    #[must_use]
    pub fn covers(
        &self,
        plan: &Plan,
        rows_in_error: &[RowInError],
        sha256: [u8; 32],
        must_confirm: Option<HoldReason>,
    ) -> bool {
        let same_confirmation =
            must_confirm.is_none_or(|reason| self.hold_reasons.contains(&reason));
        (self.sha256 == Some(sha256) && same_confirmation)
            || (plan
                .removed
                .iter()
                .all(|removal| self.removed.contains(&removal.id))
                && plan
                    .changed
                    .iter()
                    // Whose removal was approved may as well keep the record under a new ID.
                    .all(|change| {
                        let keeps_contact_id = change.action != Action::Adopted
                            && change.changes_external_id()
                            && self.removed.contains(&change.id);
                        self.changed.contains(&change.id) || keeps_contact_id
                    })
                && rows_in_error.iter().all(|row| self.in_error.contains(row)))
    }
}
