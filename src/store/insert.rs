//! Writes the contacts that a plan adds, with their numbers and members: by COPY, in the order of their ids.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::copy::CopyWriter;
use super::{StoreError, query_error};
use crate::compact::Contacts;
use crate::model::AccountId;
use crate::model::plan::Plan;

/// Gives back the ids of the added contacts, in the plan's order. `groups` holds the id of each place in the plan's table,
/// `contacts` are those of the file that it was made for.
pub(super) async fn insert_contacts(
    db: &mut PgConnection,
    account: AccountId,
    plan: &Plan,
    contacts: &Contacts,
    groups: &[i64],
    now: DateTime<Utc>,
) -> Result<Vec<i64>, StoreError> {
    if plan.added.is_empty() {
        return Ok(Vec::new());
    }
    let ids = reserve_ids(db, plan.added.len()).await?;
    let added = || {
        let states = contacts.additions(plan).map(|addition| addition.after);
        ids.iter().zip(states)
    };

    let target = "contacts (id, account_id, external_id, name, organization_name, title, email, notification_priority, digest, created_at, updated_at)";
    let mut rows = CopyWriter::begin(db, target, "add contacts").await?;
    for (id, state) in added() {
        rows.bigint(*id)
            .bigint(account.0)
            .optional_text(state.external_id)
            .text(state.name)
            .optional_text(state.organization_name)
            .optional_text(state.title)
            .optional_text(state.email)
            .text(state.priority.as_str())
            .bytes(&plan.digest(&state))
            .time(now)
            .time(now)
            .end()
            .await?;
    }
    rows.finish().await?;

    let target = "contact_numbers (contact_id, position, number, number_type, description)";
    let mut rows = CopyWriter::begin(db, target, "add numbers").await?;
    for (id, state) in added() {
        for (index, number) in (1..).zip(&state.numbers) {
            rows.bigint(*id)
                .smallint(position(index))
                .text(number.number.as_str())
                .text(number.number_type.as_str())
                .optional_text(number.description)
                .end()
                .await?;
        }
    }
    rows.finish().await?;

    let mut rows =
        CopyWriter::begin(db, "group_members (contact_id, group_id)", "add members").await?;
    for (id, state) in added() {
        for index in &state.groups {
            let group = groups.get(*index as usize).copied().unwrap_or(0);
            rows.bigint(*id).bigint(group).end().await?;
        }
    }
    rows.finish().await?;
    Ok(ids)
}

/// Ids first: then numbers and members need not wait for what an insert gives back.
async fn reserve_ids(db: &mut PgConnection, count: usize) -> Result<Vec<i64>, StoreError> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    sqlx::query_scalar!(
        // The name of the sequence is looked up once, not for each id.
        r#"SELECT array_agg(nextval((SELECT pg_get_serial_sequence('contacts', 'id')::regclass))) AS "ids!"
           FROM generate_series(1, $1::bigint)"#,
        count
    )
    .fetch_one(db)
    .await
    .map_err(query_error("reserve ids"))
}

/// More numbers than a smallint counts can't come out of a sheet of 1,000,000 rows by accident; they end up refused by
/// the primary key, and the run fails whole.
pub(super) fn position(index: usize) -> i16 {
    i16::try_from(index).unwrap_or(i16::MAX)
}
