//! The inputs of a plan besides the file: the stored contacts, the results of earlier runs, and the approved plan.

use std::sync::Arc;

use super::{ImportError, ParsedFile};
use crate::model::ContactId;
use crate::model::approval::ApprovedPlan;
use crate::model::hold::{HoldRules, PlanContext};
use crate::model::plan::Plan;
use crate::model::row::RowInError;
use crate::model::snapshot::Snapshot;
use crate::reconcile;
use crate::store::{RunContext, Session, StoreError};
use crate::telemetry::run_blocking;

/// The stored contacts that the file may change.
pub(super) async fn load_snapshot(
    session: &mut Session,
    context: &RunContext,
    parsed_file: &Arc<ParsedFile>,
) -> Result<Snapshot, ImportError> {
    let Some(cached_rows) = &parsed_file.cached_rows else {
        let digests = compute_digests(parsed_file).await?;
        return Ok(session.load_differing(&digests).await?);
    };
    // Another run or program may have written since the row cache was loaded.
    if context.cached_contacts != Some(cached_rows.row_cache.len())
        || context.applied_run != cached_rows.written_by
    {
        return Err(StoreError::ConcurrentChange.into());
    }
    let others: Vec<ContactId> = cached_rows
        .contacts(false)
        .map(|contact| contact.id)
        .collect();
    let contacts = &parsed_file.sheet.contacts;
    let external_ids: Vec<String> = (0..contacts.len())
        .map(|index| contacts.encoded(index).external_id.to_owned())
        .collect();
    Ok(session.load_uncached(&others, &external_ids).await?)
}

/// The digest of each contact of the file: contacts with the same stored digest are not loaded.
pub(super) async fn compute_digests(
    parsed_file: &Arc<ParsedFile>,
) -> Result<Vec<Option<[u8; 32]>>, ImportError> {
    let parsed_file = Arc::clone(parsed_file);
    run_blocking(move || parsed_file.sheet.contacts.digests())
        .await
        .map_err(|error| ImportError::Internal(format!("computing digests: {error}")))
}

/// Plans the import on a separate thread.
pub(super) async fn compute_plan(
    snapshot: Snapshot,
    parsed_file: &Arc<ParsedFile>,
    rules: HoldRules,
    plan_context: &Arc<PlanContext>,
) -> Result<Plan, ImportError> {
    let (parsed_file, plan_context) = (Arc::clone(parsed_file), Arc::clone(plan_context));
    run_blocking(move || reconcile::plan(snapshot, &parsed_file.sheet, rules, &plan_context))
        .await
        .map_err(|error| ImportError::Internal(format!("planning: {error}")))
}

/// Reads the results of earlier runs that affect a plan, and combines them with an approval.
pub(super) async fn load_plan_context(
    session: &mut Session,
    context: &RunContext,
    approved: Option<&ApprovedPlan>,
    sha256: Option<[u8; 32]>,
) -> Result<PlanContext, ImportError> {
    let in_error = match context.applied_run {
        Some(run) => session.rows_in_error(run).await?,
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
