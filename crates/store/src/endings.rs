//! How attempts end, said by their runner or taken from it, and what becomes of their executions. `core::retry` decides
//! that; here it is written, always with the execution's row locked first.

use std::collections::BTreeSet;

use rgrid_core::execution::{self, Status};
use rgrid_core::id::{AccountId, ExecutionId};
use rgrid_core::limits;
use rgrid_core::outcome::{CancelledBy, Outcome};
use rgrid_core::path::AbsolutePath;
use rgrid_core::retry::{self, Decision, Loss};
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use crate::attempts::{AttemptAuth, AttemptState, FinishRow, OutputRow};
use crate::combined_cache::Asked;
use crate::executions::BlobName;
use crate::logs::log_sizes;
use crate::named_blobs::{self, BlobsHere};
use crate::row::{self, Columns};
use crate::stdin::clear_stdin;
use crate::{Error, Result, guards, outcome, queue, submissions};

/// What decides about the end of an attempt, read of its locked execution.
pub(crate) struct LockedExecution {
    pub(crate) id: ExecutionId,
    pub(crate) account: AccountId,
    pub(crate) status: Status,
    pub(crate) retries: u32,
    pub(crate) retry_on: Vec<u8>,
    pub(crate) cancelled_by: Option<CancelledBy>,
    /// It is given standard input.
    pub(crate) stdin: bool,
    /// By what it answers another submission.
    pub(crate) asked: Option<Asked>,
    /// Below these, or these, are its outputs.
    pub(crate) places: Vec<AbsolutePath>,
}

pub(crate) async fn lock_execution(
    connection: &mut PgConnection,
    id: ExecutionId,
) -> Result<Option<LockedExecution>> {
    let row = sqlx::query(include_str!("../queries/attempts/lock_execution.sql"))
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let cancelled_by: Option<&str> = row.try_get("cancel_requested_by")?;
    Ok(Some(LockedExecution {
        id,
        account: row.text("account_id")?,
        status: row.text("status")?,
        retries: row.number32("retries")?,
        retry_on: submissions::retry_on(&row)?,
        cancelled_by: cancelled_by.map(outcome::cancelled_by).transpose()?,
        stdin: row.try_get("stdin")?,
        asked: Asked::read(&row)?,
        places: row::all_parsed("output path", &row.try_get::<Vec<String>, _>("places")?)?,
    }))
}

/// Every byte that the script wrote must have been pushed: after this nothing is appended.
pub(crate) async fn logs_here(
    connection: &mut PgConnection,
    a: &AttemptAuth,
    finish: &FinishRow,
) -> Result<()> {
    let pushed = log_sizes(connection, a.execution_id, a.attempt).await?;
    let streams = [
        ("stdout_bytes", finish.stdout_bytes, pushed.stdout),
        ("stderr_bytes", finish.stderr_bytes, pushed.stderr),
    ];
    let missing = |written: u64, pushed: u64| written > pushed && guards::holds(&guards::LOGS_BEFORE_FINISH);
    match streams.into_iter().find(|(_, written, pushed)| missing(*written, *pushed)) {
        None => Ok(()),
        Some((field, written, pushed)) => {
            Err(Error::Invalid { field, reason: format!("{written} bytes were written and {pushed} pushed") })
        }
    }
}

/// Every output lies where outputs are looked for: which files of a person are written is for their submission to say,
/// not for a runner.
pub(crate) fn outputs_in_place(execution: &LockedExecution, outputs: &[OutputRow]) -> Result<()> {
    let is_in_place = |output: &OutputRow| execution.places.iter().any(|place| output.path.is_within(place));
    match outputs.iter().find(|output| !is_in_place(output) && guards::holds(&guards::OUTPUTS_IN_PLACE)) {
        None => Ok(()),
        Some(output) => {
            let reason = format!("{:?} lies where no outputs are looked for", output.path);
            Err(Error::Invalid { field: "outputs", reason })
        }
    }
}

/// All blobs of the outputs, which must be here.
pub(crate) async fn outputs_here(
    connection: &mut PgConnection,
    account: AccountId,
    outputs: &[OutputRow],
) -> Result<BlobsHere> {
    let blob =
        |output: &OutputRow| output.sha256.map(|sha256| BlobName { sha256, size_bytes: output.size_bytes });
    let named: BTreeSet<BlobName> = outputs.iter().filter_map(blob).collect();
    let named: Vec<BlobName> = named.into_iter().collect();
    let here = named_blobs::blobs_here(connection, account, &named).await?;
    match here.missing(&named)?.first().filter(|_| guards::holds(&guards::OUTPUTS_COMMITTED)) {
        None => Ok(here),
        Some(blob) => {
            Err(Error::Invalid { field: "outputs", reason: format!("blob {} is not committed", blob.sha256) })
        }
    }
}

pub(crate) async fn end_attempt(
    connection: &mut PgConnection,
    a: &AttemptAuth,
    finish: &FinishRow,
    manifest_sha256: [u8; 32],
) -> Result<()> {
    sqlx::query(include_str!("../queries/attempts/end.sql"))
        .bind(a.execution_id.to_string())
        .bind(row::integer(a.attempt))
        .bind(finish.outcome.kind())
        .bind(Json(outcome::to_json(&finish.outcome)))
        .bind(manifest_sha256.as_slice())
        .bind(row::bigint(finish.stdout_bytes))
        .bind(row::bigint(finish.stderr_bytes))
        .bind(finish.peak_memory_bytes.map(row::bigint))
        .bind(finish.cpu_ms.map(row::bigint))
        .execute(connection)
        .await?;
    Ok(())
}

/// Ends an execution that is running. An outcome that the table does not allow there is refused.
pub(crate) async fn end_execution(
    connection: &mut PgConnection,
    id: ExecutionId,
    outcome: &Outcome,
    finish: Option<&FinishRow>,
) -> Result<Status> {
    let refused = || {
        let reason = format!("a running execution does not end as {}", outcome.kind());
        Error::Invalid { field: "outcome", reason }
    };
    let step = outcome.step();
    let status = execution::next(Status::Running, step).ok_or_else(refused)?;
    let outputs = finish.map_or(&[][..], |finish| &finish.outputs);
    let files = outputs.iter().filter(|output| output.sha256.is_some());
    let (count, bytes) = files.fold((0, 0u64), |(count, bytes), file| (count + 1, bytes + file.size_bytes));
    sqlx::query(include_str!("../queries/attempts/end_execution.sql"))
        .bind(id.to_string())
        .bind(status.as_str())
        .bind(outcome.kind())
        .bind(Json(outcome::to_json(outcome)))
        .bind(count)
        .bind(row::bigint(bytes))
        .bind(finish.map_or(&[][..], |finish| &finish.not_brought_back))
        .bind(queue::statuses(step))
        .execute(&mut *connection)
        .await?;
    clear_stdin(connection, id).await?;
    Ok(status)
}

pub(crate) async fn insert_outputs(
    connection: &mut PgConnection,
    id: ExecutionId,
    outputs: &[OutputRow],
) -> Result<()> {
    if outputs.is_empty() {
        return Ok(());
    }
    sqlx::query(include_str!("../queries/attempts/insert_outputs.sql"))
        .bind(id.to_string())
        .bind(outputs.iter().map(|output| output.path.to_string()).collect::<Vec<_>>())
        .bind(outputs.iter().map(|output| output.sha256.map(|hash| hash.0.to_vec())).collect::<Vec<_>>())
        .bind(outputs.iter().map(|output| row::bigint(output.size_bytes)).collect::<Vec<_>>())
        .bind(outputs.iter().map(|output| row::integer(output.mode)).collect::<Vec<_>>())
        .bind(outputs.iter().map(|output| output.modified_ns).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

/// Takes a current attempt away and does what `core::retry` decides. One that somebody asked to end is not tried again.
pub(crate) async fn leave(
    connection: &mut PgConnection,
    execution: &LockedExecution,
    number: u32,
    loss: Loss,
) -> Result<Status> {
    let state = match loss {
        Loss::Lost => AttemptState::Lost,
        Loss::HandedBack => AttemptState::HandedBack,
    };
    sqlx::query(include_str!("../queries/attempts/leave.sql"))
        .bind(execution.id.to_string())
        .bind(row::integer(number))
        .bind(state.as_str())
        .execute(&mut *connection)
        .await?;
    let lost_workers: Vec<String> = sqlx::query_scalar(include_str!("../queries/attempts/lost_workers.sql"))
        .bind(execution.id.to_string())
        .fetch_all(&mut *connection)
        .await?;
    let lost_workers = row::all_parsed("worker id", &lost_workers)?;
    let cancelled_by = execution.cancelled_by.filter(|_| guards::holds(&guards::CANCELLED_NOT_RETRIED));
    let retries = if guards::holds(&guards::RETRIES_END) { execution.retries } else { u32::MAX };
    let decision = match cancelled_by {
        Some(by) => Decision::End(Outcome::Cancelled { by }),
        None => retry::after_loss(loss, retries, &lost_workers),
    };
    match decision {
        Decision::Requeue => {
            queue::requeue(connection, execution.id).await?;
            Ok(Status::Queued)
        }
        Decision::End(outcome) => end_execution(connection, execution.id, &outcome, None).await,
    }
}

/// Takes an attempt away from outside; `None` when it is not current, or not overdue for the reason that `overdue` names.
pub(crate) async fn take_away(
    connection: &mut PgConnection,
    id: ExecutionId,
    number: u32,
    loss: Loss,
    overdue: Option<Overdue>,
) -> Result<Option<Status>> {
    let Some(execution) = lock_execution(connection, id).await? else { return Ok(None) };
    let row = sqlx::query(guards::sql(
        &[&guards::LEASE_OVER, &guards::OUTAGE_GRACE, &guards::OUTAGE_NOW, &guards::UNNAMED_RECHECK],
        guards::sql(
            &[&guards::LEASE_OVER, &guards::OUTAGE_GRACE, &guards::OUTAGE_NOW, &guards::UNNAMED_RECHECK],
            include_str!("../queries/attempts/overdue.sql"),
        ),
    ))
    .bind(id.to_string())
    .bind(row::integer(number))
    .bind(row::millis(limits::UNNAMED_AFTER))
    .bind(row::millis(limits::LEASE))
    .bind(row::millis(limits::OUTAGE_GAP))
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let holds = match overdue {
        None => true,
        Some(Overdue::Lost) => row.try_get("lost")?,
        Some(Overdue::Unnamed) => row.try_get("unnamed")?,
    };
    if !holds {
        return Ok(None);
    }
    leave(connection, &execution, number, loss).await.map(Some)
}

/// What must still be so when an attempt is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// Its lease has ended or its worker is not alive.
    Lost,
    /// Its worker never named it.
    Unnamed,
}
