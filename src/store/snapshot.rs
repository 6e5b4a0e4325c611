//! What is stored of an account, read within the run's transaction.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::{StoreError, failed};
use crate::model::contact::{
    ContactState, Number, NumberType, PhoneNumber, Priority, StoredContact,
};
use crate::model::group::StoredGroup;
use crate::model::{AccountId, ContactId, GroupId};
use crate::reconcile::Snapshot;

pub(super) async fn load(
    db: &mut PgConnection,
    account: AccountId,
) -> Result<Snapshot, StoreError> {
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

    let mut contacts: Vec<StoredContact> = sqlx::query!(
        r#"SELECT id, external_id, name, organization_name, title, email, notification_priority, removed_at IS NOT NULL AS "removed!"
           FROM contacts WHERE account_id = $1 ORDER BY id"#,
        account.0
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
        "SELECT n.contact_id, n.number, n.number_type, n.description
         FROM contact_numbers n JOIN contacts c ON c.id = n.contact_id
         WHERE c.account_id = $1 ORDER BY n.contact_id, n.position",
        account.0
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
        "SELECT m.contact_id, m.group_id FROM group_members m JOIN groups g ON g.id = m.group_id WHERE g.account_id = $1",
        account.0
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
    Ok(Snapshot { groups, contacts })
}
