//! What a plan is made of, besides the file: what is stored, what earlier runs and people have said, and the limits.

use super::{ImportError, Reading};
use crate::model::ContactId;
use crate::model::plan::{HoldReason, Plan};
use crate::model::roster::RowInError;
use crate::reconcile::{self, Approved, History, HoldRules};
use crate::store::{RunContext, Session, StoreError};
use crate::telemetry::blocking;

/// What is stored, as far as it may matter to what was read.
pub(super) async fn snapshot(
    session: &mut Session,
    context: &RunContext,
    reading: Reading,
) -> Result<(reconcile::Snapshot, Reading), ImportError> {
    let Some(known) = &reading.known else {
        let (reading, digests) = digests_blocking(reading).await?;
        let snapshot = session.differing(&digests).await?;
        return Ok((snapshot, reading));
    };
    // Another run, or another program, may have come between.
    if context.known_contacts != Some(known.contacts.len()) || context.applied_run != known.since {
        return Err(StoreError::Interfered.into());
    }
    let others: Vec<ContactId> = known.of(false).map(|known| known.id).collect();
    let contacts = &reading.roster.contacts;
    let external_ids: Vec<String> = (0..contacts.len())
        .map(|place| contacts.packed(place).external_id.to_owned())
        .collect();
    let snapshot = session.others(&others, &external_ids).await?;
    Ok((snapshot, reading))
}

/// The digest of each contact of the file, by which those are told that need no second look.
pub(super) async fn digests_blocking(
    reading: Reading,
) -> Result<(Reading, Vec<Option<[u8; 32]>>), ImportError> {
    blocking(move || {
        let digests = reading.roster.contacts.digests();
        (reading, digests)
    })
    .await
    .map_err(|error| ImportError::Internal(format!("digesting: {error}")))
}

pub(super) async fn plan_blocking(
    snapshot: reconcile::Snapshot,
    reading: Reading,
    rules: HoldRules,
    history: History,
) -> Result<(Plan, Reading, History), ImportError> {
    blocking(move || {
        (
            reconcile::plan(snapshot, &reading.roster, rules, &history),
            reading,
            history,
        )
    })
    .await
    .map_err(|error| ImportError::Internal(format!("planning: {error}")))
}

pub(super) async fn history(
    session: &mut Session,
    context: &RunContext,
    approved: Option<&Approved>,
    sha256: Option<[u8; 32]>,
) -> Result<History, ImportError> {
    let in_error = match context.applied_run {
        Some(applied) => session.rows_in_error(applied).await?,
        None => std::collections::HashSet::new(),
    };
    // A person accepts the rows that the approved run named, and the doubts about its file; not those of another file.
    let mut accepted_rows = context.accepted_rows.clone();
    if let Some(approved) = approved {
        accepted_rows.extend(approved.in_error.iter().filter_map(|row| match row {
            RowInError::Nameless(digest) => Some(*digest),
            RowInError::Contact(_) => None,
        }));
    }
    let same_file = |approved: &Approved| approved.sha256.is_some() && approved.sha256 == sha256;
    Ok(History {
        in_error,
        accepted_rows,
        release_withheld: approved.is_some_and(same_file),
        keep_ids: false,
    })
}

pub(super) fn hold_rules(limits: Option<[i32; 4]>, must_confirm: Option<HoldReason>) -> HoldRules {
    let [
        removed_percent,
        removed_count,
        changed_percent,
        error_percent,
    ] = limits
        .unwrap_or([10, 5, 50, 25])
        .map(|limit| usize::try_from(limit).unwrap_or(0));
    HoldRules {
        removed_percent,
        removed_count,
        changed_percent,
        error_percent,
        must_confirm,
    }
}
