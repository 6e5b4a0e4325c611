//! The row cache of an account after an applied run.

use std::collections::HashMap;

use super::ParsedFile;
use crate::model::ContactId;
use crate::model::group::name_key;
use crate::model::plan::Plan;
use crate::parsed_sheet::ParsedSheet;
use crate::row_cache::{CachedContact, RowCache, max_uncached};
use crate::store::RowCacheUpdate;

/// What an applied plan does to the row cache of its account. `added` are the ids of the added contacts.
pub(super) fn row_cache_update(
    parsed_file: &ParsedFile,
    plan: &Plan,
    added: &[ContactId],
) -> RowCacheUpdate {
    let sheet = &parsed_file.sheet;
    // If a group is spelled in several ways, its name can depend on a row that the next run would skip.
    let name_by_key: HashMap<&str, &str> = plan
        .groups
        .iter()
        .map(|group| (group.name_key.as_str(), group.name.as_str()))
        .collect();
    let mut spellings = sheet.contacts.group_names().iter();
    if !spellings.all(|name| name_by_key.get(name_key(name).as_str()) == Some(&name.as_str())) {
        return RowCacheUpdate::Clear;
    }
    let cached_rows = parsed_file.cached_rows.as_ref();
    let skipped = cached_rows
        .into_iter()
        .flat_map(|cached_rows| cached_rows.contacts(true));
    let Some(after) = contacts_after(plan, sheet, skipped, added) else {
        return RowCacheUpdate::Clear;
    };
    let without_fingerprint = after
        .iter()
        .filter(|contact| contact.row_fingerprint.is_none())
        .count();
    if without_fingerprint > max_uncached(after.len()) {
        return RowCacheUpdate::Clear;
    }
    let is_same = cached_rows.is_some_and(|cached_rows| {
        let mut others: Vec<CachedContact> = cached_rows.contacts(false).collect();
        let mut others_after: Vec<CachedContact> =
            after.iter().skip(sheet.cached_contacts).collect();
        others.sort_unstable();
        others_after.sort_unstable();
        others == others_after
    });
    if is_same {
        return RowCacheUpdate::Keep(after.len());
    }
    RowCacheUpdate::Replace(after)
}

/// All active contacts after `plan` is applied, each with the fingerprint of its row. `added` are the ids of the added
/// contacts, `skipped` are the contacts of skipped rows. `None` if the number is not the one in the plan.
fn contacts_after(
    plan: &Plan,
    sheet: &ParsedSheet,
    skipped: impl Iterator<Item = CachedContact>,
    added: &[ContactId],
) -> Option<RowCache> {
    let mut after = RowCache::with_capacity(plan.contacts_after);
    skipped.for_each(|contact| after.push(contact));
    let mut added = added.iter().copied();
    for (stored, row_fingerprint) in plan.contact_ids.iter().zip(&sheet.row_fingerprints) {
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
