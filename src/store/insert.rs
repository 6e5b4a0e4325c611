//! Inserts the contacts that a plan adds, with their numbers and group members, by COPY in the order of their ids.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::copy::CopyWriter;
use super::{StoreError, query_error};
use crate::compact::Contacts;
use crate::model::AccountId;
use crate::model::plan::Plan;

/// Inserts the added contacts and returns their ids in the plan's order.
///
/// `groups` has the id of each group of the plan, `contacts` are those of the file for which the plan was made.
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

    let mut rows = CopyWriter::begin(
        db,
        "group_members (contact_id, group_id)",
        "add group members",
    )
    .await?;
    for (id, state) in added() {
        for index in &state.groups {
            let group = groups.get(*index as usize).copied().unwrap_or(0);
            rows.bigint(*id).bigint(group).end().await?;
        }
    }
    rows.finish().await?;
    Ok(ids)
}

/// Ids are reserved first because COPY cannot return them, and numbers and members need them.
async fn reserve_ids(db: &mut PgConnection, count: usize) -> Result<Vec<i64>, StoreError> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    sqlx::query_scalar!(
        // The subquery looks up the sequence once instead of once per id.
        r#"SELECT array_agg(nextval((SELECT pg_get_serial_sequence('contacts', 'id')::regclass))) AS "ids!"
           FROM generate_series(1, $1::bigint)"#,
        count
    )
    .fetch_one(db)
    .await
    .map_err(query_error("reserve ids"))
}

/// Converts a position to the type of its column. A contact with more numbers than fit gets the same position twice, which
/// the primary key refuses: the run fails. No realistic file has that many.
pub(super) fn position(index: usize) -> i16 {
    i16::try_from(index).unwrap_or(i16::MAX)
}
