//! The row cache of an account after an applied run.

use std::collections::HashMap;

use super::Reading;
use crate::model::ContactId;
use crate::model::group::name_key;
use crate::model::plan::Plan;
use crate::parsed_sheet::ParsedSheet;
use crate::row_cache::{CachedContact, RowCache, max_uncached};
use crate::store::RowCacheUpdate;

pub(super) fn row_cache_update(
    reading: &Reading,
    plan: &Plan,
    added: &[ContactId],
) -> RowCacheUpdate {
    let parsed = &reading.parsed;
    // If a group is spelled in several ways, its name can depend on a row that the next run would skip.
    let name_by_key: HashMap<&str, &str> = plan
        .groups
        .iter()
        .map(|group| (group.name_key.as_str(), group.name.as_str()))
        .collect();
    let mut spellings = parsed.contacts.group_names().iter();
    if !spellings.all(|name| name_by_key.get(name_key(name).as_str()) == Some(&name.as_str())) {
        return RowCacheUpdate::Clear;
    }
    let known = reading.known.as_ref();
    let before = || known.into_iter().flat_map(|known| known.of(true));
    let Some(after) = contacts_after(plan, parsed, before(), added) else {
        return RowCacheUpdate::Clear;
    };
    let without_fingerprint = after
        .iter()
        .filter(|known| known.row_fingerprint.is_none())
        .count();
    if without_fingerprint > max_uncached(after.len()) {
        return RowCacheUpdate::Clear;
    }
    let is_same = known.is_some_and(|known| {
        let mut others: Vec<CachedContact> = known.of(false).collect();
        let mut others_after: Vec<CachedContact> =
            after.iter().skip(parsed.cached_contacts).collect();
        others.sort_unstable();
        others_after.sort_unstable();
        others == others_after
    });
    if is_same {
        return RowCacheUpdate::Keep(after.len());
    }
    RowCacheUpdate::Replace(after)
}

/// All active contacts once `plan` is applied, with the row marks of the sheet that it was made from; `added` are the ids of
/// the contacts that were added, `known` the contacts of skipped rows. `None` if they would not be all.
fn contacts_after(
    plan: &Plan,
    parsed: &ParsedSheet,
    known: impl Iterator<Item = CachedContact>,
    added: &[ContactId],
) -> Option<RowCache> {
    let mut after = RowCache::with_capacity(plan.contacts_after);
    known.for_each(|known| after.push(known));
    let mut added = added.iter().copied();
    for (stored, row_fingerprint) in plan.contact_ids.iter().zip(&parsed.row_fingerprints) {
        let id = stored.or_else(|| added.next())?;
        after.push(CachedContact {
            id,
            row_fingerprint: *row_fingerprint,
        });
    }
    let withheld = plan.withheld.iter().map(|removal| removal.id);
    for id in withheld.chain(plan.in_error.iter().copied()) {
        after.push(CachedContact {
            id,
            row_fingerprint: None,
        });
    }
    (after.len() == plan.contacts_after).then_some(after)
}
