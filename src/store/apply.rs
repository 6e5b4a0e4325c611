//! Applies a plan to the contacts and groups. Writes only what differs, with set-based statements, never one per row.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::insert::{self, position};
use super::{StoreError, query_error};
use crate::compact::Contacts;
use crate::model::contact::{ContactState, Number};
use crate::model::plan::{Change, GroupChange, Plan};
use crate::model::{AccountId, ContactId};

/// Tells the write protection triggers that rosterd itself writes in this transaction.
pub(super) async fn mark_as_writer(db: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query!("SELECT set_config('rosterd.writer', 'on', true)")
        .fetch_one(db)
        .await
        .map_err(query_error("mark the transaction as an import"))?;
    Ok(())
}

/// Allows cached plans again, which are off while a session reads. Call it before rows with foreign keys are written:
/// Postgres checks each key with an internal statement, and planning it again for each row is slow.
pub(super) async fn allow_cached_plans(db: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query!("SELECT set_config('plan_cache_mode', 'auto', true)")
        .fetch_one(db)
        .await
        .map_err(query_error("set the plan cache mode"))?;
    Ok(())
}

/// Applies a plan that was made for these contacts of a file. Returns the ids of the added ones in the plan's order.
pub(super) async fn apply(
    db: &mut PgConnection,
    account: AccountId,
    plan: &Plan,
    contacts: &Contacts,
    now: DateTime<Utc>,
) -> Result<Vec<ContactId>, StoreError> {
    if plan.is_empty() {
        return Ok(Vec::new());
    }
    mark_as_writer(db).await?;
    allow_cached_plans(db).await?;
    let groups = write_groups(db, account, plan, now).await?;
    let added = insert::insert_contacts(db, account, plan, contacts, &groups, now).await?;
    update_contacts(db, plan, now).await?;
    write_numbers(db, plan).await?;
    write_members(db, plan, &groups).await?;
    let removed: Vec<i64> = plan.removed.iter().map(|removal| removal.id.0).collect();
    sqlx::query!(
        "UPDATE contacts SET removed_at = $2, updated_at = $2 WHERE id = ANY ($1)",
        &removed,
        now
    )
    .execute(&mut *db)
    .await
    .map_err(query_error("remove contacts"))?;
    Ok(added.into_iter().map(ContactId).collect())
}

/// Adds, revives, renames and removes groups. Returns the id of each group of the plan.
async fn write_groups(
    db: &mut PgConnection,
    account: AccountId,
    plan: &Plan,
    now: DateTime<Utc>,
) -> Result<Vec<i64>, StoreError> {
    let (mut names, mut keys) = (Vec::new(), Vec::new());
    let (mut updated_ids, mut updated_names, mut removed) = (Vec::new(), Vec::new(), Vec::new());
    for group in &plan.groups {
        match (group.change, group.id) {
            (GroupChange::Add, _) => {
                names.push(group.name.clone());
                keys.push(group.name_key.clone());
            }
            (GroupChange::Update, Some(id)) => {
                updated_ids.push(id.0);
                updated_names.push(group.name.clone());
            }
            (GroupChange::Remove, Some(id)) => removed.push(id.0),
            _ => {}
        }
    }
    let inserted = sqlx::query!(
        "INSERT INTO groups (account_id, name, name_key)
         SELECT $1, u.name, u.name_key FROM unnest($2::text[], $3::text[]) AS u (name, name_key)
         RETURNING id, name_key",
        account.0,
        &names,
        &keys
    )
    .fetch_all(&mut *db)
    .await
    .map_err(query_error("add groups"))?;
    sqlx::query!(
        "UPDATE groups g SET name = u.name, removed_at = NULL
         FROM unnest($1::bigint[], $2::text[]) AS u (id, name) WHERE g.id = u.id",
        &updated_ids,
        &updated_names
    )
    .execute(&mut *db)
    .await
    .map_err(query_error("update groups"))?;
    sqlx::query!(
        "UPDATE groups SET removed_at = $2 WHERE id = ANY ($1)",
        &removed,
        now
    )
    .execute(&mut *db)
    .await
    .map_err(query_error("remove groups"))?;
    let id_of: std::collections::HashMap<String, i64> = inserted
        .into_iter()
        .map(|row| (row.name_key, row.id))
        .collect();
    Ok(plan
        .groups
        .iter()
        .map(|group| {
            group.id.map_or_else(
                || id_of.get(&group.name_key).copied().unwrap_or(0),
                |id| id.0,
            )
        })
        .collect())
}

/// Stored contacts whose content changes.
fn rewritten_contacts(plan: &Plan) -> impl Iterator<Item = &Change> {
    plan.changed.iter().chain(&plan.restored_fields)
}

/// Values of contacts by column, for `unnest`.
#[derive(Default)]
struct ContactColumns {
    external_ids: Vec<Option<String>>,
    names: Vec<String>,
    organizations: Vec<Option<String>>,
    titles: Vec<Option<String>>,
    emails: Vec<Option<String>>,
    priorities: Vec<String>,
    digests: Vec<Vec<u8>>,
}

impl ContactColumns {
    fn push(&mut self, plan: &Plan, state: &ContactState) {
        self.external_ids.push(state.external_id.clone());
        self.names.push(state.name.clone());
        self.organizations.push(state.organization_name.clone());
        self.titles.push(state.title.clone());
        self.emails.push(state.email.clone());
        self.priorities.push(state.priority.to_string());
        self.digests.push(plan.digest(state).to_vec());
    }
}

async fn update_contacts(
    db: &mut PgConnection,
    plan: &Plan,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let ids: Vec<i64> = rewritten_contacts(plan).map(|change| change.id.0).collect();
    let mut columns = ContactColumns::default();
    rewritten_contacts(plan).for_each(|change| columns.push(plan, &change.after));
    sqlx::query!(
        "UPDATE contacts c
         SET external_id = u.external_id, name = u.name, organization_name = u.organization_name, title = u.title,
             email = u.email, notification_priority = u.priority, digest = u.digest, removed_at = NULL, updated_at = $9
         FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bytea[])
              AS u (id, external_id, name, organization_name, title, email, priority, digest)
         WHERE c.id = u.id",
        &ids,
        &columns.external_ids as &[Option<String>],
        &columns.names,
        &columns.organizations as &[Option<String>],
        &columns.titles as &[Option<String>],
        &columns.emails as &[Option<String>],
        &columns.priorities,
        &columns.digests,
        now
    )
    .execute(&mut *db)
    .await
    .map_err(query_error("update contacts"))?;
    Ok(())
}

async fn write_numbers(db: &mut PgConnection, plan: &Plan) -> Result<(), StoreError> {
    let ids: Vec<i64> = rewritten_contacts(plan).map(|change| change.id.0).collect();
    if ids.is_empty() {
        return Ok(());
    }
    // Other programs may have left gaps in the positions. Then the index of a number does not match its position.
    let with_position_gaps: HashSet<i64> = sqlx::query_scalar!(
        "SELECT contact_id FROM contact_numbers WHERE contact_id = ANY ($1)
         GROUP BY contact_id HAVING max(position) <> count(*)",
        &ids
    )
    .fetch_all(&mut *db)
    .await
    .map_err(query_error("check the positions of numbers"))?
    .into_iter()
    .collect();
    let (mut truncated_contacts, mut kept_counts): (Vec<i64>, Vec<i16>) = (Vec::new(), Vec::new());
    let mut rows = NumberColumns::default();
    for change in rewritten_contacts(plan) {
        let (before, after) = (&change.before.numbers, &change.after.numbers);
        if with_position_gaps.contains(&change.id.0) {
            rows.push_changed(change.id.0, &[], after);
            truncated_contacts.push(change.id.0);
            kept_counts.push(0);
            continue;
        }
        rows.push_changed(change.id.0, before, after);
        if after.len() < before.len() {
            truncated_contacts.push(change.id.0);
            kept_counts.push(position(after.len()));
        }
    }
    sqlx::query!(
        "DELETE FROM contact_numbers n USING unnest($1::bigint[], $2::smallint[]) AS u (contact_id, kept)
         WHERE n.contact_id = u.contact_id AND n.position > u.kept",
        &truncated_contacts,
        &kept_counts
    )
    .execute(&mut *db)
    .await
    .map_err(query_error("delete numbers"))?;
    sqlx::query!(
        "INSERT INTO contact_numbers (contact_id, position, number, number_type, description)
         SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::text[], $4::text[], $5::text[])
         ON CONFLICT (contact_id, position) DO UPDATE
         SET number = excluded.number, number_type = excluded.number_type, description = excluded.description",
        &rows.contacts,
        &rows.positions,
        &rows.numbers,
        &rows.types,
        &rows.descriptions as &[Option<String>]
    )
    .execute(&mut *db)
    .await
    .map_err(query_error("write numbers"))?;
    Ok(())
}

#[derive(Default)]
struct NumberColumns {
    contacts: Vec<i64>,
    positions: Vec<i16>,
    numbers: Vec<String>,
    types: Vec<String>,
    descriptions: Vec<Option<String>>,
}

impl NumberColumns {
    fn push_changed(&mut self, contact: i64, before: &[Number], after: &[Number]) {
        for (index, number) in after
            .iter()
            .enumerate()
            .filter(|(index, number)| before.get(*index) != Some(*number))
        {
            self.contacts.push(contact);
            self.positions.push(position(index + 1));
            self.numbers.push(number.number.as_str().to_owned());
            self.types.push(number.number_type.to_string());
            self.descriptions.push(number.description.clone());
        }
    }
}

async fn write_members(
    db: &mut PgConnection,
    plan: &Plan,
    groups: &[i64],
) -> Result<(), StoreError> {
    if rewritten_contacts(plan).next().is_none() {
        return Ok(());
    }
    let (mut added_contact_ids, mut added_group_ids) = (Vec::new(), Vec::new());
    let (mut removed_contact_ids, mut removed_group_ids) = (Vec::new(), Vec::new());
    let id_of = |index: u32| groups.get(index as usize).copied().unwrap_or(0);
    for change in rewritten_contacts(plan) {
        let (before, after) = (&change.before.groups, &change.after.groups);
        for index in after
            .iter()
            .filter(|index| before.binary_search(index).is_err())
        {
            added_contact_ids.push(change.id.0);
            added_group_ids.push(id_of(*index));
        }
        for index in before
            .iter()
            .filter(|index| after.binary_search(index).is_err())
        {
            removed_contact_ids.push(change.id.0);
            removed_group_ids.push(id_of(*index));
        }
    }
    sqlx::query!(
        "DELETE FROM group_members m USING unnest($1::bigint[], $2::bigint[]) AS u (contact_id, group_id)
         WHERE m.contact_id = u.contact_id AND m.group_id = u.group_id",
        &removed_contact_ids,
        &removed_group_ids
    )
    .execute(&mut *db)
    .await
    .map_err(query_error("delete group members"))?;
    sqlx::query!(
        "INSERT INTO group_members (contact_id, group_id) SELECT * FROM unnest($1::bigint[], $2::bigint[])",
        &added_contact_ids,
        &added_group_ids
    )
    .execute(&mut *db)
    .await
    .map_err(query_error("add group members"))?;
    Ok(())
}
