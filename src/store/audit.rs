//! Records the changes of a plan in `import_changes`, with an image of each contact before and after.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::StoreError;
use super::copy::CopyWriter;
use crate::compact::Contacts;
use crate::model::contact::{ContactImage, ContactState};
use crate::model::plan::{Action, Plan};
use crate::model::{ContactId, RunId};

/// Records what a plan changed or, if `applied` is false, would change. `added` are the ids of the added contacts,
/// `contacts` are those of the file for which the plan was made.
pub(super) async fn record(
    db: &mut PgConnection,
    run: RunId,
    plan: &Plan,
    contacts: &Contacts,
    added: &[ContactId],
    applied: bool,
) -> Result<(), StoreError> {
    let target = "import_changes (run_id, contact_id, external_id, action, applied, row_number, before, after, same_as)";
    let possible_id_changes: HashMap<&str, ContactId> = plan
        .possible_id_changes
        .iter()
        .map(|other| (other.new_id.as_str(), other.contact))
        .collect();
    let mut rows = CopyWriter::begin(db, target, "record the changes").await?;
    let mut write = async |change: ChangeRecord<'_>| {
        let image = change.after.as_ref().or(change.before.as_ref());
        let external_id = image.and_then(|image| image.external_id);
        let same_as = external_id
            .filter(|_| change.action == Action::Added)
            .and_then(|id| possible_id_changes.get(id));
        rows.bigint(run.0)
            .optional_bigint(change.contact.map(|contact| contact.0))
            .optional_text(external_id)
            .text(change.action.as_str())
            .boolean(change.applied)
            .optional_integer(change.row.and_then(|row| i32::try_from(row).ok()))
            .optional_json(change.before.as_ref())?
            .optional_json(change.after.as_ref())?
            .optional_bigint(same_as.map(|contact| contact.0))
            .end()
            .await
    };
    for (index, addition) in contacts.additions(plan).enumerate() {
        write(ChangeRecord {
            contact: added.get(index).copied(),
            action: Action::Added,
            applied,
            row: Some(addition.row),
            before: None,
            after: Some(image(plan, &addition.after)),
        })
        .await?;
    }
    for change in &plan.changed {
        write(ChangeRecord {
            contact: Some(change.id),
            action: change.action,
            applied,
            row: change.row,
            before: Some(image(plan, &change.before)),
            after: Some(image(plan, &change.after)),
        })
        .await?;
    }
    let withheld = plan.withheld.iter().map(|removal| (removal, false));
    let removed = plan.removed.iter().map(|removal| (removal, applied));
    for (removal, applied) in removed.chain(withheld) {
        write(ChangeRecord {
            contact: Some(removal.id),
            action: Action::Removed,
            applied,
            row: None,
            before: Some(image(plan, &removal.before)),
            after: None,
        })
        .await?;
    }
    rows.finish().await
}

/// A row of `import_changes`.
struct ChangeRecord<'a> {
    contact: Option<ContactId>,
    action: Action,
    applied: bool,
    row: Option<u32>,
    before: Option<ContactImage<&'a str>>,
    after: Option<ContactImage<&'a str>>,
}

fn image<'a, T: AsRef<str>>(plan: &'a Plan, state: &'a ContactState<T>) -> ContactImage<&'a str> {
    ContactImage::new(state, plan.group_names(state))
}
