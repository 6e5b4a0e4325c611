//! The inputs of a plan besides the file: the stored contacts, what earlier runs found, and what was approved.

use std::sync::Arc;

use super::{ImportError, Reading};
use crate::model::ContactId;
use crate::model::hold::{ApprovedPlan, HoldRules, PlanContext};
use crate::model::plan::Plan;
use crate::model::row::RowInError;
use crate::model::snapshot::Snapshot;
use crate::reconcile;
use crate::store::{RunContext, Session, StoreError};
use crate::telemetry::run_blocking;

/// The stored contacts that the file may change.
pub(super) async fn snapshot(
    session: &mut Session,
    context: &RunContext,
    reading: &Arc<Reading>,
) -> Result<Snapshot, ImportError> {
    let Some(known) = &reading.known else {
        let digests = compute_digests(reading).await?;
        return Ok(session.load_differing(&digests).await?);
    };
    // Another run or program may have written since the row cache was loaded.
    if context.cached_contacts != Some(known.contacts.len()) || context.applied_run != known.since {
        return Err(StoreError::ConcurrentChange.into());
    }
    let others: Vec<ContactId> = known.of(false).map(|known| known.id).collect();
    let contacts = &reading.parsed.contacts;
    let external_ids: Vec<String> = (0..contacts.len())
        .map(|place| contacts.encoded(place).external_id.to_owned())
        .collect();
    Ok(session.load_uncached(&others, &external_ids).await?)
}

/// The digest of each contact of the file: contacts with the same stored digest are not loaded.
pub(super) async fn compute_digests(
    reading: &Arc<Reading>,
) -> Result<Vec<Option<[u8; 32]>>, ImportError> {
    let reading = Arc::clone(reading);
    run_blocking(move || reading.parsed.contacts.digests())
        .await
        .map_err(|error| ImportError::Internal(format!("digesting: {error}")))
}

pub(super) async fn compute_plan(
    snapshot: Snapshot,
    reading: &Arc<Reading>,
    rules: HoldRules,
    history: &Arc<PlanContext>,
) -> Result<Plan, ImportError> {
    let (reading, history) = (Arc::clone(reading), Arc::clone(history));
    run_blocking(move || reconcile::plan(snapshot, &reading.parsed, rules, &history))
        .await
        .map_err(|error| ImportError::Internal(format!("planning: {error}")))
}

pub(super) async fn plan_context(
    session: &mut Session,
    context: &RunContext,
    approved: Option<&ApprovedPlan>,
    sha256: Option<[u8; 32]>,
) -> Result<PlanContext, ImportError> {
    let in_error = match context.applied_run {
        Some(applied) => session.rows_in_error(applied).await?,
        None => std::collections::HashSet::new(),
    };
    // An approval accepts the unidentified rows of the approved run, and withheld removals only for the same file.
    let mut accepted_rows = context.accepted_rows.clone();
    if let Some(approved) = approved {
        accepted_rows.extend(approved.in_error.iter().filter_map(|row| match row {
            RowInError::Unidentified(digest) => Some(*digest),
            RowInError::Contact(_) => None,
        }));
    }
    let same_file =
        |approved: &ApprovedPlan| approved.sha256.is_some() && approved.sha256 == sha256;
    Ok(PlanContext {
        in_error,
        accepted_rows,
        apply_withheld_removals: approved.is_some_and(same_file),
        keep_ids: false,
        must_confirm: context.must_confirm,
    })
}
