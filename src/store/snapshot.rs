//! Reads the stored contacts and groups of an account, within the run's transaction.

use hashbrown::HashMap;
use sqlx::PgConnection;

use super::{StoreError, parse_column, query_error};
use crate::model::contact::{ContactState, Number, PhoneNumber, StoredContact};
use crate::model::group::StoredGroup;
use crate::model::snapshot::Snapshot;
use crate::model::{AccountId, ContactId, GroupId};

/// Loads all groups, and the contacts that are not stored exactly as in the file. Only the digests of the others are read.
///
/// `file_digests` has the digest of each contact of the file, `None` if it depends on stored values.
pub(super) async fn load_differing(
    db: &mut PgConnection,
    account: AccountId,
    file_digests: &[Option<[u8; 32]>],
) -> Result<Snapshot, StoreError> {
    // Aggregated into one value because fetching a row per contact takes longer than its content.
    let stored = sqlx::query!(
        r#"SELECT string_agg(digest || int8send(id), ''::bytea) FILTER (WHERE removed_at IS NULL AND length(digest) = 32) AS digests,
                  array_agg(id) FILTER (WHERE removed_at IS NOT NULL OR digest IS NULL OR length(digest) <> 32) AS others
           FROM contacts WHERE account_id = $1"#,
        account.0
    )
    .fetch_one(&mut *db)
    .await
    .map_err(query_error("read the digests of the contacts"))?;
    let digests = stored.digests.unwrap_or_default();
    let (stored_digests, _) = digests.as_chunks::<40>();
    let mut id_of: HashMap<[u8; 32], ContactId> = HashMap::with_capacity(stored_digests.len());
    let mut ids = stored.others.unwrap_or_default();
    for encoded in stored_digests {
        let (mut digest, mut id) = ([0; 32], [0; 8]);
        digest.copy_from_slice(&encoded[..32]);
        id.copy_from_slice(&encoded[32..]);
        // Contacts entered by hand have no external ID, so two of them can have the same digest.
        let duplicate_of = id_of.insert(digest, ContactId(i64::from_be_bytes(id)));
        ids.extend(duplicate_of.map(|duplicate_of| duplicate_of.0));
    }
    // The remaining contacts are not in the file.
    let already_stored = file_digests
        .iter()
        .map(|digest| digest.as_ref().and_then(|digest| id_of.remove(digest)))
        .collect();
    ids.extend(id_of.into_values().map(|id| id.0));
    let (groups, contacts) = load_contacts(db, account, &ids).await?;
    Ok(Snapshot {
        groups,
        contacts,
        already_stored,
        groups_with_cached_members: Vec::new(),
    })
}

/// Loads all groups, the contacts `others`, and the removed contacts that have one of these external IDs.
///
/// For an incremental read: `others` are the active contacts whose row in the file was not found in the row cache.
pub(super) async fn load_uncached(
    db: &mut PgConnection,
    account: AccountId,
    others: &[ContactId],
    external_ids: &[String],
) -> Result<Snapshot, StoreError> {
    let mut ids: Vec<i64> = others.iter().map(|id| id.0).collect();
    if !external_ids.is_empty() {
        let removed = sqlx::query_scalar!(
            r#"SELECT c.id FROM unnest($2::text[]) AS u (external_id)
               JOIN contacts c ON c.account_id = $1 AND left(c.external_id, 200) COLLATE "C" = left(u.external_id, 200)
                              AND c.external_id = u.external_id
               WHERE c.removed_at IS NOT NULL"#,
            account.0,
            external_ids
        )
        .fetch_all(&mut *db)
        .await
        .map_err(query_error("look up removed contacts"))?;
        ids.extend(removed);
    }
    let (groups, contacts) = load_contacts(db, account, &ids).await?;
    let groups_with_cached_members = groups_with_cached_members(db, &groups, &ids).await?;
    Ok(Snapshot {
        groups,
        contacts,
        already_stored: Vec::new(),
        groups_with_cached_members,
    })
}

/// For each group: whether it has active members that are not among these contacts.
async fn groups_with_cached_members(
    db: &mut PgConnection,
    groups: &[StoredGroup],
    contacts: &[i64],
) -> Result<Vec<bool>, StoreError> {
    if contacts.is_empty() {
        // A group that is not removed always has members.
        return Ok(groups.iter().map(|group| !group.removed).collect());
    }
    let ids: Vec<i64> = groups.iter().map(|group| group.id.0).collect();
    // The scalar subquery keeps the planner from scanning all contacts for each group.
    sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT FROM group_members m
               WHERE m.group_id = g.id AND m.contact_id <> ALL ($2)
                 AND (SELECT c.removed_at IS NULL FROM contacts c WHERE c.id = m.contact_id)
           ) AS "filled!"
           FROM unnest($1::bigint[]) WITH ORDINALITY AS g (id, place) ORDER BY g.place"#,
        &ids,
        contacts
    )
    .fetch_all(db)
    .await
    .map_err(query_error("look up group members"))
}

/// Loads all contacts and groups.
pub(super) async fn load(
    db: &mut PgConnection,
    account: AccountId,
) -> Result<Snapshot, StoreError> {
    let ids = sqlx::query_scalar!("SELECT id FROM contacts WHERE account_id = $1", account.0)
        .fetch_all(&mut *db)
        .await
        .map_err(query_error("list the contacts"))?;
    let (groups, contacts) = load_contacts(db, account, &ids).await?;
    Ok(Snapshot {
        groups,
        contacts,
        ..Snapshot::default()
    })
}

/// Loads all groups, and the contacts with these ids.
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
    .map_err(query_error("read the groups"))?
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
    .map_err(query_error("read the contacts"))?
    .into_iter()
    .map(|row| Ok(StoredContact {
        id: ContactId(row.id),
        removed: row.removed,
        state: ContactState {
            external_id: row.external_id,
            name: row.name,
            organization_name: row.organization_name,
            title: row.title,
            email: row.email,
            priority: parse_column("notification_priority", &row.notification_priority)?,
            numbers: Vec::new(),
            groups: Vec::new(),
        },
    }))
    .collect::<Result<_, StoreError>>()?;

    let index_of: HashMap<i64, usize> = contacts
        .iter()
        .enumerate()
        .map(|(index, contact)| (contact.id.0, index))
        .collect();
    let numbers = sqlx::query!(
        "SELECT contact_id, number, number_type, description
         FROM contact_numbers WHERE contact_id = ANY ($1) ORDER BY contact_id, position",
        ids
    )
    .fetch_all(&mut *db)
    .await
    .map_err(query_error("read the numbers"))?;
    for row in numbers {
        if let Some(index) = index_of.get(&row.contact_id) {
            contacts[*index].state.numbers.push(Number {
                number: PhoneNumber::from_stored(&row.number),
                number_type: parse_column("number_type", &row.number_type)?,
                description: row.description,
            });
        }
    }

    let group_index: HashMap<i64, u32> = (0..)
        .zip(&groups)
        .map(|(index, group)| (group.id.0, index))
        .collect();
    let members = sqlx::query!(
        "SELECT contact_id, group_id FROM group_members WHERE contact_id = ANY ($1)",
        ids
    )
    .fetch_all(&mut *db)
    .await
    .map_err(query_error("read the group members"))?;
    for row in members {
        if let (Some(contact), Some(group)) = (
            index_of.get(&row.contact_id),
            group_index.get(&row.group_id),
        ) {
            contacts[*contact].state.groups.push(*group);
        }
    }
    for contact in &mut contacts {
        contact.state.groups.sort_unstable();
    }
    Ok((groups, contacts))
}
