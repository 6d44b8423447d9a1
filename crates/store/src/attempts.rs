//! Attempts: what a runner says of one it holds. Every call is fenced by number and token: a stale one changes
//! nothing and is answered `Error::NotCurrent`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use rgrid_core::execution::{self, Status};
use rgrid_core::id::{AccountId, ExecutionId, WorkerId};
use rgrid_core::outcome::{CancelledBy, Outcome};
use rgrid_core::path::AbsolutePath;
use rgrid_core::retry::{self, Decision, Loss};
use rgrid_core::submission::Sha256;
use rgrid_core::{Timestamp, limits};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

pub use crate::artifacts::{ArtifactKind, ArtifactRow};
use crate::executions::{self, BlobName, BlobsHere};
use crate::logs::log_sizes;
use crate::notify::Nudge;
use crate::row::{self, Columns};
use crate::stdin::clear_stdin;
use crate::{Error, Result, Store, outcome, queue, secret, submissions};

/// Where an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttemptState {
    /// A worker holds it.
    Running,
    /// Its worker said how it ended.
    Ended,
    /// Its worker fell silent.
    Lost,
    /// Its worker gave it back, or never named it.
    HandedBack,
}

impl AttemptState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Running, Self::Ended, Self::Lost, Self::HandedBack];

    /// The one spelling: in rows and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ended => "ended",
            Self::Lost => "lost",
            Self::HandedBack => "handed_back",
        }
    }
}

impl fmt::Display for AttemptState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AttemptState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not the state of an attempt"))
    }
}

/// One try at an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// The execution.
    pub execution_id: ExecutionId,
    /// 1, 2, ...
    pub number: u32,
    /// Who runs it.
    pub worker_id: WorkerId,
    /// Who placed it: `pool` or `ray`.
    pub placed_by: String,
    /// When it was handed out.
    pub claimed_at: Timestamp,
    /// When the runner began with it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Where it stands.
    pub state: AttemptState,
    /// How it ended.
    pub outcome: Option<Outcome>,
}

/// What a call of an attempt proves itself with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptAuth {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The attempt's number.
    pub attempt: u32,
    /// The attempt's token, as the claim gave it.
    pub token: String,
    /// The worker whose credential made the call.
    pub worker_id: WorkerId,
}

/// One file or folder that came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputRow {
    /// Where it lies on the user's machine.
    pub path: AbsolutePath,
    /// Hash of its bytes; `None` for an empty folder.
    pub sha256: Option<Sha256>,
    /// Its size.
    pub size_bytes: u64,
    /// Its permission bits.
    pub mode: u32,
    /// When it was last changed, in nanoseconds of Unix time.
    pub modified_ns: i64,
}

/// How an attempt ended, as its runner says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishRow {
    /// How.
    pub outcome: Outcome,
    /// Everything that comes back, as one set. Every blob it names must be committed.
    pub outputs: Vec<OutputRow>,
    /// Files that it wrote where nothing is brought back from.
    pub not_brought_back: Vec<String>,
    /// Bytes of standard output.
    pub stdout_bytes: u64,
    /// Bytes of standard error.
    pub stderr_bytes: u64,
    /// Most memory that was seen.
    pub peak_memory_bytes: Option<u64>,
    /// CPU time that was used, in milliseconds.
    pub cpu_ms: Option<u64>,
}

/// What decides about the end of an attempt, read of its locked execution.
struct LockedExecution {
    id: ExecutionId,
    account: AccountId,
    status: Status,
    retries: u32,
    retry_on: Vec<u8>,
    cancelled_by: Option<CancelledBy>,
}

impl Store {
    /// The attempt this proves to be, or `Error::NotCurrent`; with the account it works for.
    pub async fn check_attempt(&self, a: &AttemptAuth) -> Result<AccountId> {
        let account: Option<String> = sqlx::query_scalar(include_str!("../queries/attempts/check.sql"))
            .bind(a.execution_id.to_string())
            .bind(row::integer(a.attempt))
            .bind(secret::hash(&a.token).as_slice())
            .bind(a.worker_id.to_string())
            .fetch_optional(self.pool())
            .await?;
        row::parsed("account id", &account.ok_or(Error::NotCurrent)?)
    }

    /// The runner began with it. Repeating it is harmless.
    pub async fn attempt_started(&self, a: &AttemptAuth) -> Result<()> {
        let updated = sqlx::query(include_str!("../queries/attempts/start.sql"))
            .bind(a.execution_id.to_string())
            .bind(row::integer(a.attempt))
            .bind(secret::hash(&a.token).as_slice())
            .bind(a.worker_id.to_string())
            .execute(self.pool())
            .await?;
        if updated.rows_affected() == 0 { Err(Error::NotCurrent) } else { Ok(()) }
    }

    /// The runner says how it ended. Idempotent by the attempt and `manifest_sha256`, the hash of the request's body.
    /// Answers the execution's status: terminal, or `queued` when it is tried again.
    pub async fn finish(
        &self,
        a: &AttemptAuth,
        finish: &FinishRow,
        manifest_sha256: [u8; 32],
    ) -> Result<Status> {
        let mut transaction = self.pool().begin().await?;
        let execution = lock_execution(&mut transaction, a.execution_id).await?.ok_or(Error::NotCurrent)?;
        match fence(&mut transaction, a).await? {
            (AttemptState::Running, _) => {}
            (AttemptState::Ended, Some(manifest)) if manifest == manifest_sha256 => {
                return Ok(execution.status);
            }
            (AttemptState::Ended | AttemptState::Lost | AttemptState::HandedBack, _) => {
                return Err(Error::NotCurrent);
            }
        }
        logs_here(&mut transaction, a, finish).await?;
        let here = outputs_here(&mut transaction, execution.account, &finish.outputs).await?;
        let ended_before: i64 = sqlx::query_scalar(include_str!("../queries/attempts/ended_before.sql"))
            .bind(a.execution_id.to_string())
            .fetch_one(&mut *transaction)
            .await?;
        end_attempt(&mut transaction, a, finish, manifest_sha256).await?;
        let retry_on: &[u8] = if execution.cancelled_by.is_some() { &[] } else { &execution.retry_on };
        let ended_before = u32::try_from(ended_before).unwrap_or(u32::MAX);
        let decision = retry::after_end(finish.outcome.clone(), retry_on, execution.retries, ended_before);
        let status = match decision {
            Decision::Requeue => {
                queue::requeue(&mut transaction, execution.id).await?;
                Status::Queued
            }
            Decision::End(outcome) => {
                let status = end_execution(&mut transaction, execution.id, &outcome, Some(finish)).await?;
                insert_outputs(&mut transaction, execution.id, &finish.outputs).await?;
                status
            }
        };
        transaction.commit().await?;
        self.touch_blobs(execution.account, &here).await;
        self.nudge_after(status);
        Ok(status)
    }

    /// The runner gives it back unharmed: it is queued again and no retry is used up. One that is to be cancelled ends.
    pub async fn hand_back(&self, a: &AttemptAuth) -> Result<Status> {
        let mut transaction = self.pool().begin().await?;
        let execution = lock_execution(&mut transaction, a.execution_id).await?.ok_or(Error::NotCurrent)?;
        match fence(&mut transaction, a).await? {
            (AttemptState::Running, _) => {}
            // Its first answer was lost.
            (AttemptState::HandedBack, _) => return Ok(execution.status),
            (AttemptState::Ended | AttemptState::Lost, _) => return Err(Error::NotCurrent),
        }
        let status = leave(&mut transaction, &execution, a.attempt, Loss::HandedBack).await?;
        transaction.commit().await?;
        self.nudge_after(status);
        Ok(status)
    }

    /// Tells who waits for what an attempt's end has brought.
    pub(crate) fn nudge_after(&self, status: Status) {
        if status == Status::Queued {
            self.nudge(Nudge::Queue);
            self.nudge(Nudge::Fleet);
        }
        self.nudge(Nudge::Executions);
    }

    /// All attempts, oldest first.
    pub async fn attempts(&self, account: AccountId, id: ExecutionId) -> Result<Vec<AttemptRow>> {
        let rows = sqlx::query(include_str!("../queries/attempts/list.sql"))
            .bind(account.to_string())
            .bind(id.to_string())
            .fetch_all(self.pool())
            .await?;
        rows.iter().map(AttemptRow::read).collect()
    }
}

impl AttemptRow {
    fn read(row: &PgRow) -> Result<Self> {
        Ok(Self {
            execution_id: row.text("execution_id")?,
            number: row.number32("number")?,
            worker_id: row.text("worker_id")?,
            placed_by: row.try_get("placed_by")?,
            claimed_at: row.try_get("claimed_at")?,
            started_at: row.try_get("started_at")?,
            ended_at: row.try_get("ended_at")?,
            state: row.text("state")?,
            outcome: outcome::read(row)?,
        })
    }
}

async fn lock_execution(connection: &mut PgConnection, id: ExecutionId) -> Result<Option<LockedExecution>> {
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
    }))
}

/// Where the attempt stands that a call proves to be, and the manifest that ended it.
async fn fence(connection: &mut PgConnection, a: &AttemptAuth) -> Result<(AttemptState, Option<Vec<u8>>)> {
    let row = sqlx::query(include_str!("../queries/attempts/fence.sql"))
        .bind(a.execution_id.to_string())
        .bind(row::integer(a.attempt))
        .bind(secret::hash(&a.token).as_slice())
        .bind(a.worker_id.to_string())
        .fetch_optional(connection)
        .await?
        .ok_or(Error::NotCurrent)?;
    Ok((row.text("state")?, row.try_get("manifest_sha256")?))
}

/// Every byte that the script wrote must have been pushed: after this nothing is appended.
async fn logs_here(connection: &mut PgConnection, a: &AttemptAuth, finish: &FinishRow) -> Result<()> {
    let pushed = log_sizes(connection, a.execution_id, a.attempt).await?;
    let streams = [
        ("stdout_bytes", finish.stdout_bytes, pushed.stdout),
        ("stderr_bytes", finish.stderr_bytes, pushed.stderr),
    ];
    match streams.into_iter().find(|(_, written, pushed)| written > pushed) {
        None => Ok(()),
        Some((field, written, pushed)) => {
            Err(Error::Invalid { field, reason: format!("{written} bytes were written and {pushed} pushed") })
        }
    }
}

/// All blobs of the outputs, which must be here.
async fn outputs_here(
    connection: &mut PgConnection,
    account: AccountId,
    outputs: &[OutputRow],
) -> Result<BlobsHere> {
    let blob =
        |output: &OutputRow| output.sha256.map(|sha256| BlobName { sha256, size_bytes: output.size_bytes });
    let named: BTreeSet<BlobName> = outputs.iter().filter_map(blob).collect();
    let named: Vec<BlobName> = named.into_iter().collect();
    let here = executions::blobs_here(connection, account, &named).await?;
    match here.missing(&named)?.first() {
        None => Ok(here),
        Some(blob) => {
            Err(Error::Invalid { field: "outputs", reason: format!("blob {} is not committed", blob.sha256) })
        }
    }
}

async fn end_attempt(
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
async fn end_execution(
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

async fn insert_outputs(connection: &mut PgConnection, id: ExecutionId, outputs: &[OutputRow]) -> Result<()> {
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
async fn leave(
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
    let decision = match execution.cancelled_by {
        Some(by) => Decision::End(Outcome::Cancelled { by }),
        None => retry::after_loss(loss, execution.retries, &lost_workers),
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
    let row = sqlx::query(include_str!("../queries/attempts/overdue.sql"))
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
