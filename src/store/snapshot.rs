//! What is stored of an account, read within the run's transaction.

use std::collections::HashMap;

use hashbrown::HashSet;

use sqlx::PgConnection;

use super::{StoreError, failed};
use crate::model::contact::{
    ContactState, Number, NumberType, PhoneNumber, Priority, StoredContact,
};
use crate::model::group::StoredGroup;
use crate::model::{AccountId, ContactId, GroupId};
use crate::reconcile::Snapshot;

/// Everything of an account, but for the contacts that are stored exactly as the file says: of those only the digests are
/// looked at. `in_file` holds the digest of each contact of the file, as far as the file alone decides it.
pub(super) async fn load_differing(
    db: &mut PgConnection,
    account: AccountId,
    in_file: &[Option<[u8; 32]>],
) -> Result<Snapshot, StoreError> {
    // One value instead of as many rows: rows cost more than what is in them.
    let stored = sqlx::query!(
        r#"SELECT string_agg(digest, ''::bytea) FILTER (WHERE removed_at IS NULL AND length(digest) = 32) AS digests,
                  count(*) FILTER (WHERE removed_at IS NOT NULL OR digest IS NULL OR length(digest) <> 32) AS "others!"
           FROM contacts WHERE account_id = $1"#,
        account.0
    )
    .fetch_one(&mut *db)
    .await
    .map_err(failed("read the digests"))?;
    let digests = stored.digests.unwrap_or_default();
    let (stored_digests, _) = digests.as_chunks::<32>();
    let stored_digests: HashSet<&[u8; 32]> = stored_digests.iter().collect();
    let settled: Vec<bool> = in_file
        .iter()
        .map(|digest| {
            digest
                .as_ref()
                .is_some_and(|digest| stored_digests.contains(digest))
        })
        .collect();
    let in_file: HashSet<&[u8; 32]> = in_file.iter().flatten().collect();
    let differing: Vec<Vec<u8>> = stored_digests
        .into_iter()
        .filter(|digest| !in_file.contains(digest))
        .map(|digest| digest.to_vec())
        .collect();
    let ids = if differing.is_empty() && stored.others == 0 {
        Vec::new()
    } else {
        sqlx::query_scalar!(
            "SELECT id FROM contacts
             WHERE account_id = $1
               AND (removed_at IS NOT NULL OR digest IS NULL OR length(digest) <> 32 OR digest = ANY ($2))",
            account.0,
            &differing
        )
        .fetch_all(&mut *db)
        .await
        .map_err(failed("look for contacts that differ"))?
    };
    let (groups, contacts) = load_contacts(db, account, &ids).await?;
    Ok(Snapshot {
        groups,
        contacts,
        settled,
    })
}

/// Everything of an account.
pub(super) async fn load(
    db: &mut PgConnection,
    account: AccountId,
) -> Result<Snapshot, StoreError> {
    let ids = sqlx::query_scalar!("SELECT id FROM contacts WHERE account_id = $1", account.0)
        .fetch_all(&mut *db)
        .await
        .map_err(failed("look for the contacts"))?;
    let (groups, contacts) = load_contacts(db, account, &ids).await?;
    Ok(Snapshot {
        groups,
        contacts,
        settled: Vec::new(),
    })
}

/// All groups, and these contacts.
async fn load_contacts(
    db: &mut PgConnection,
    account: AccountId,
    ids: &[i64],
) -> Result<(Vec<StoredGroup>, Vec<StoredContact>), StoreError> {
    let groups: Vec<StoredGroup> = sqlx::query!(
        r#"SELECT id, name, name_key, removed_at IS NOT NULL AS "removed!" FROM groups WHERE account_id = $1 ORDER BY id"#,
        account.0
    )
    .fetch_all(&mut *db)
    .await
    .map_err(failed("read the groups"))?
    .into_iter()
    .map(|row| StoredGroup { id: GroupId(row.id), name: row.name, name_key: row.name_key, removed: row.removed })
    .collect();

    if ids.is_empty() {
        return Ok((groups, Vec::new()));
    }
    let mut contacts: Vec<StoredContact> = sqlx::query!(
        r#"SELECT id, external_id, name, organization_name, title, email, notification_priority, removed_at IS NOT NULL AS "removed!"
           FROM contacts WHERE id = ANY ($1) ORDER BY id"#,
        ids
    )
    .fetch_all(&mut *db)
    .await
    .map_err(failed("read the contacts"))?
    .into_iter()
    .map(|row| StoredContact {
        id: ContactId(row.id),
        removed: row.removed,
        state: ContactState {
            external_id: row.external_id,
            name: row.name,
            organization_name: row.organization_name,
            title: row.title,
            email: row.email,
            priority: Priority::parse(&row.notification_priority).unwrap_or(Priority::Normal),
            numbers: Vec::new(),
            groups: Vec::new(),
        },
    })
    .collect();

    let place_of: HashMap<i64, usize> = contacts
        .iter()
        .enumerate()
        .map(|(place, contact)| (contact.id.0, place))
        .collect();
    let numbers = sqlx::query!(
        "SELECT contact_id, number, number_type, description
         FROM contact_numbers WHERE contact_id = ANY ($1) ORDER BY contact_id, position",
        ids
    )
    .fetch_all(&mut *db)
    .await
    .map_err(failed("read the numbers"))?;
    for row in numbers {
        if let Some(place) = place_of.get(&row.contact_id) {
            contacts[*place].state.numbers.push(Number {
                number: PhoneNumber::stored(&row.number),
                number_type: NumberType::parse(&row.number_type).unwrap_or(NumberType::Mobile),
                description: row.description,
            });
        }
    }

    let group_place: HashMap<i64, u32> = (0..)
        .zip(&groups)
        .map(|(place, group)| (group.id.0, place))
        .collect();
    let members = sqlx::query!(
        "SELECT contact_id, group_id FROM group_members WHERE contact_id = ANY ($1)",
        ids
    )
    .fetch_all(&mut *db)
    .await
    .map_err(failed("read the members"))?;
    for row in members {
        if let (Some(contact), Some(group)) = (
            place_of.get(&row.contact_id),
            group_place.get(&row.group_id),
        ) {
            contacts[*contact].state.groups.push(*group);
        }
    }
    for contact in &mut contacts {
        contact.state.groups.sort_unstable();
    }
    Ok((groups, contacts))
}
