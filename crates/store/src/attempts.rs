//! Attempts: what a runner says of one it holds. Every call is fenced by number and token: a stale one changes
//! nothing and is answered `Error::NotCurrent`.

use std::fmt;
use std::str::FromStr;

use rgrid_core::Timestamp;
use rgrid_core::execution::Status;
use rgrid_core::id::{AccountId, ExecutionId, WorkerId};
use rgrid_core::outcome::Outcome;
use rgrid_core::path::AbsolutePath;
use rgrid_core::retry::{self, Decision, Loss};
use rgrid_core::submission::Sha256;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

pub use crate::artifacts::{ArtifactKind, ArtifactRow};
use crate::endings::{
    end_attempt, end_execution, insert_outputs, leave, lock_execution, logs_here, outputs_here,
    outputs_in_place,
};
use crate::notify::Nudge;
use crate::row::{self, Columns};
use crate::{Error, Result, Store, combined_cache, guards, outcome, queue, secret};

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
    /// Exactly which container image it runs in.
    pub image: Option<String>,
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
    /// Hash of what ran it; `None`: its outputs answer no other submission.
    pub platform: Option<Sha256>,
}

impl Store {
    /// The attempt this proves to be, or `Error::NotCurrent`; with the account it works for.
    pub async fn check_attempt(&self, a: &AttemptAuth) -> Result<AccountId> {
        let account: Option<String> = sqlx::query_scalar(guards::sql(
            &[&guards::FENCE_TOKEN, &guards::FENCE_WORKER],
            include_str!("../queries/attempts/check.sql"),
        ))
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
        let updated = sqlx::query(guards::sql(
            &[&guards::FENCE_TOKEN, &guards::FENCE_WORKER, &guards::START_CURRENT],
            include_str!("../queries/attempts/start.sql"),
        ))
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
        let mut transaction = self.begin().await?;
        let execution = lock_execution(&mut transaction, a.execution_id).await?.ok_or(Error::NotCurrent)?;
        match fence(&mut transaction, a).await? {
            (AttemptState::Running, _) => {}
            (AttemptState::Ended, Some(manifest))
                if manifest == manifest_sha256 && guards::holds(&guards::FINISH_REPEATED) =>
            {
                transaction.rollback().await?;
                return Ok(execution.status);
            }
            (AttemptState::Ended | AttemptState::Lost | AttemptState::HandedBack, _) => {
                if guards::holds(&guards::FINISH_ONCE) {
                    return Err(Error::NotCurrent);
                }
            }
        }
        logs_here(&mut transaction, a, finish).await?;
        outputs_in_place(&execution, &finish.outputs)?;
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
                let streamed = combined_cache::streamed(&mut transaction, &execution).await?;
                let status = end_execution(&mut transaction, execution.id, &outcome, Some(finish)).await?;
                insert_outputs(&mut transaction, execution.id, &finish.outputs).await?;
                if status == Status::Completed {
                    combined_cache::keep(&mut transaction, &execution, finish.platform, streamed).await?;
                }
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
        let mut transaction = self.begin().await?;
        let execution = lock_execution(&mut transaction, a.execution_id).await?.ok_or(Error::NotCurrent)?;
        match fence(&mut transaction, a).await? {
            (AttemptState::Running, _) => {}
            // Its first answer was lost.
            (AttemptState::HandedBack, _) => {
                transaction.rollback().await?;
                return Ok(execution.status);
            }
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
            image: row.try_get("image")?,
        })
    }
}

/// Where the attempt stands that a call proves to be, and the manifest that ended it.
async fn fence(connection: &mut PgConnection, a: &AttemptAuth) -> Result<(AttemptState, Option<Vec<u8>>)> {
    let row = sqlx::query(guards::sql(
        &[&guards::FENCE_TOKEN, &guards::FENCE_WORKER],
        include_str!("../queries/attempts/fence.sql"),
    ))
    .bind(a.execution_id.to_string())
    .bind(row::integer(a.attempt))
    .bind(secret::hash(&a.token).as_slice())
    .bind(a.worker_id.to_string())
    .fetch_optional(connection)
    .await?
    .ok_or(Error::NotCurrent)?;
    Ok((row.text("state")?, row.try_get("manifest_sha256")?))
}
