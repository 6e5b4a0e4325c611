//! What the row cache of an account is after a run.

use std::collections::HashMap;

use super::Reading;
use crate::model::ContactId;
use crate::model::group::name_key;
use crate::model::plan::Plan;
use crate::parsed_sheet::Roster;
use crate::row_cache::{KnownContact, KnownContacts};
use crate::store::KnownAfter;

/// Where so many contacts have no row by which they are known again, in any account and in one of so many, it is less
/// work to look at all.
const FEW: usize = 16;
/// See [`FEW`].
const MANY: usize = 8;

pub(super) fn known_after(reading: &Reading, plan: &Plan, added: &[ContactId]) -> KnownAfter {
    let roster = &reading.roster;
    // A group that is spelled in two ways is called as somebody spells it who may be passed over the next time.
    let called: HashMap<&str, &str> = plan
        .groups
        .iter()
        .map(|group| (group.name_key.as_str(), group.name.as_str()))
        .collect();
    let mut spellings = roster.contacts.group_names().iter();
    if !spellings.all(|name| called.get(name_key(name).as_str()) == Some(&name.as_str())) {
        return KnownAfter::Forgotten;
    }
    let known = reading.known.as_ref();
    let before = || known.into_iter().flat_map(|known| known.of(true));
    let Some(after) = contacts_after(plan, roster, before(), added) else {
        return KnownAfter::Forgotten;
    };
    let unmarked = after.iter().filter(|known| known.mark.is_none()).count();
    if unmarked > FEW + after.len() / MANY {
        return KnownAfter::Forgotten;
    }
    let is_same = known.is_some_and(|known| {
        let mut others: Vec<KnownContact> = known.of(false).collect();
        let mut others_after: Vec<KnownContact> = after.iter().skip(roster.known).collect();
        others.sort_unstable();
        others_after.sort_unstable();
        others == others_after
    });
    if is_same {
        return KnownAfter::Same(after.len());
    }
    KnownAfter::These(after)
}

/// All active contacts once `plan` is applied, with the row marks of the sheet that it was made from; `added` are the ids of
/// the contacts that were added, `known` the contacts of skipped rows. `None` if they would not be all.
fn contacts_after(
    plan: &Plan,
    roster: &Roster,
    known: impl Iterator<Item = KnownContact>,
    added: &[ContactId],
) -> Option<KnownContacts> {
    let mut after = KnownContacts::with_capacity(plan.contacts_after);
    known.for_each(|known| after.push(known));
    let mut added = added.iter().copied();
    for (stored, mark) in plan.stored.iter().zip(&roster.marks) {
        let id = stored.or_else(|| added.next())?;
        after.push(KnownContact { id, mark: *mark });
    }
    let withheld = plan.withheld.iter().map(|removal| removal.id);
    for id in withheld.chain(plan.in_error.iter().copied()) {
        after.push(KnownContact { id, mark: None });
    }
    (after.len() == plan.contacts_after).then_some(after)
}
