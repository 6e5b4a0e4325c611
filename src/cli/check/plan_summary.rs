//! A plan as `check` and `import --dry-run` show it.

use serde::Serialize;

use crate::compact::Contacts;
use crate::model::contact::ContactState;
use crate::model::hold::HoldReason;
use crate::model::plan::{Action, Plan};

/// The plan as the JSON of SPEC §9 shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct PlanSummary {
    /// External IDs.
    pub(super) added: Vec<String>,
    /// External IDs.
    pub(super) updated: Vec<String>,
    /// External IDs.
    pub(super) removed: Vec<String>,
    /// External IDs.
    pub(super) revived: Vec<String>,
    /// External IDs.
    pub(super) adopted: Vec<String>,
    /// External IDs.
    pub(super) withheld: Vec<String>,
    /// How many contacts don't differ.
    pub(super) unchanged: usize,
    /// Names.
    pub(super) emptied_groups: Vec<String>,
    /// Why it would be held.
    pub(super) hold_reasons: Vec<HoldReason>,
}

impl PlanSummary {
    /// Lists external IDs by action, or the name of a contact without one. `contacts` are those the plan was made for.
    pub(super) fn new(plan: &Plan, contacts: &Contacts) -> Self {
        let label = |state: &ContactState| {
            state
                .external_id
                .clone()
                .unwrap_or_else(|| state.name.clone())
        };
        let of = |action| {
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
                .map(|place| contacts.encoded(*place).external_id.to_owned())
                .collect(),
            updated: of(Action::Updated),
            removed: plan.removed.iter().map(|r| label(&r.before)).collect(),
            revived: of(Action::Revived),
            adopted: of(Action::Adopted),
            withheld: plan.withheld.iter().map(|r| label(&r.before)).collect(),
            unchanged: plan.unchanged,
            emptied_groups: plan.emptied_groups.clone(),
            hold_reasons: plan.hold_reasons.clone(),
        }
    }
}
