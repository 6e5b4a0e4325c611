//! Approvals of held plans.

use std::collections::HashSet;

use super::ContactId;
use super::hold::HoldReason;
use super::plan::{Action, Plan};
use super::row::RowInError;

/// The plan of a held run that was approved.
#[derive(Debug, Clone, Default)]
pub struct ApprovedPlan {
    /// SHA-256 of the approved file.
    pub sha256: Option<[u8; 32]>,
    /// Contacts whose removal was approved, including removals that the run withheld.
    pub removed: HashSet<ContactId>,
    /// Contacts whose change was approved.
    pub changed: HashSet<ContactId>,
    /// Rows with errors in the approved plan.
    pub in_error: HashSet<RowInError>,
    /// See [`PlanContext::keep_ids`](super::hold::PlanContext::keep_ids).
    pub keep_ids: bool,
    /// Why the run was held; empty if it only withheld removals.
    pub hold_reasons: Vec<HoldReason>,
}

impl ApprovedPlan {
    /// Whether the approval applies to a plan: it was made from the same file, or every contact that it removes, changes or
    /// has in error is also removed, changed or in error in the approved plan. Withheld removals count as removals, because
    /// the reasons to hold the plan count them, too. If imports were enabled or a run was reverted since the approval, the
    /// same file is not sufficient, because contacts may exist that the approved plan did not show.
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
                .chain(&plan.withheld)
                .all(|removal| self.removed.contains(&removal.id))
                && plan
                    .changed
                    .iter()
                    // Keeping the record under a new ID changes less than the approved removal.
                    .all(|change| {
                        let keeps_contact_id = change.action != Action::Adopted
                            && change.changes_external_id()
                            && self.removed.contains(&change.id);
                        self.changed.contains(&change.id) || keeps_contact_id
                    })
                && rows_in_error.iter().all(|row| self.in_error.contains(row)))
    }
}
