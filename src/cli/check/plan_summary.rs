//! The plan of a dry run, reduced to what is printed as text and JSON.

use serde::Serialize;

use crate::compact::Contacts;
use crate::model::contact::ContactState;
use crate::model::hold::HoldReason;
use crate::model::plan::{Action, Plan};

/// The `plan` object of SPEC §9. Contacts are listed by external ID, or by name if they have none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct PlanSummary {
    pub(super) added: Vec<String>,
    pub(super) updated: Vec<String>,
    pub(super) removed: Vec<String>,
    pub(super) revived: Vec<String>,
    pub(super) adopted: Vec<String>,
    pub(super) withheld: Vec<String>,
    /// Number of contacts that stay unchanged.
    pub(super) unchanged: usize,
    /// Names of groups.
    pub(super) emptied_groups: Vec<String>,
    /// Empty if the plan would be applied without approval.
    pub(super) hold_reasons: Vec<HoldReason>,
}

impl PlanSummary {
    /// `contacts` must be those that the plan was made for.
    pub(super) fn new(plan: &Plan, contacts: &Contacts) -> Self {
        let label = |state: &ContactState| {
            state
                .external_id
                .clone()
                .unwrap_or_else(|| state.name.clone())
        };
        let labels_by_action = |action| {
            plan.changed
                .iter()
                .filter(|c| c.action == action)
                .map(|c| label(&c.after))
                .collect::<Vec<_>>()
        };
        Self {
            added: plan
                .added
                .iter()
                .map(|index| contacts.encoded(*index).external_id.to_owned())
                .collect(),
            updated: labels_by_action(Action::Updated),
            removed: plan.removed.iter().map(|r| label(&r.before)).collect(),
            revived: labels_by_action(Action::Revived),
            adopted: labels_by_action(Action::Adopted),
            withheld: plan.withheld.iter().map(|r| label(&r.before)).collect(),
            unchanged: plan.unchanged,
            emptied_groups: plan.emptied_groups.clone(),
            hold_reasons: plan.hold_reasons.clone(),
        }
    }
}
