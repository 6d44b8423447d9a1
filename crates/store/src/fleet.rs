//! What the orchestrator reads in one view and writes under its term. Every write checks the term in its own
//! transaction and answers `Error::NotLeader` when it has passed on.

use std::time::Duration;

use rgrid_core::execution::Status;
use rgrid_core::id::{AccountId, BatchId, ExecutionId, IntentId, WorkerId};
use rgrid_core::outcome::Outcome;
use rgrid_core::retry::Loss;
use rgrid_core::worker::{Capacity, WorkerStatus, WorkerStep, next, sources};
use rgrid_core::{Timestamp, limits};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, Row, Transaction};

use crate::durations::{self, RunningRow};
use crate::endings::{self, Overdue};
use crate::leadership::{self, Term};
use crate::notify::Nudge;
use crate::outages::Outages;
use crate::row::{self, Columns};
use crate::workers::{self, statuses};
use crate::{Result, Store, claim, guards, outcome, secret};

/// A worker, as decisions need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetWorkerRow {
    /// Its id.
    pub id: WorkerId,
    /// The intent behind it; `None` for a static worker.
    pub intent_id: Option<IntentId>,
    /// `local`, `static`, or a cloud provider's name.
    pub provider: String,
    /// Where it stands.
    pub status: WorkerStatus,
    /// Since when.
    pub status_since: Timestamp,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it joined.
    pub joined_at: Option<Timestamp>,
    /// When it was last heard of.
    pub last_heartbeat_at: Option<Timestamp>,
    /// When it last had an open attempt; `joined_at` when never.
    pub idle_since: Option<Timestamp>,
    /// Attempts it can run at once.
    pub slots: u32,
    /// What it has for attempts.
    pub capacity: Capacity,
    /// Attempts it runs.
    pub open_attempts: u32,
    /// What its open attempts ask for together.
    pub used: Capacity,
    /// While it drains: the latest end of its open attempts, uploads included.
    pub drain_deadline: Option<Timestamp>,
}

/// Queued work of one class that limits would let run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemandRow {
    /// Whose.
    pub account_id: AccountId,
    /// Of which batch.
    pub batch_id: Option<BatchId>,
    /// Higher goes first.
    pub priority: i16,
    /// What one of them asks for; 0 means the worker's share.
    pub wanted: Capacity,
    /// How many would run if there were room (counted to [`DEMAND_COUNT_MAX`]).
    pub count: u32,
    /// Of them, those that have waited for the patience that was asked about.
    pub impatient: u32,
    /// When the first of them was accepted.
    pub oldest: Timestamp,
    /// Whose durations theirs are like; `None` where more than one script waits.
    pub kind: Option<u64>,
}

/// Demand of one lane is not counted beyond this: no fleet grows by more in one round.
pub const DEMAND_COUNT_MAX: u32 = 10_000;

/// An attempt whose lease has ended, or that its worker never named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverdueRow {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The attempt's number.
    pub attempt: u32,
    /// Who holds it.
    pub worker_id: WorkerId,
    /// When its lease ended, or will.
    pub lease_until: Timestamp,
    /// When it was handed out.
    pub claimed_at: Timestamp,
    /// True when its worker has named it.
    pub named: bool,
}

/// Everything the orchestrator decides by, read in one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetRows {
    /// PostgreSQL's clock at the reading.
    pub now: Timestamp,
    /// All workers that are not terminated.
    pub workers: Vec<FleetWorkerRow>,
    /// Queued work that limits would let run.
    pub demand: Vec<DemandRow>,
    /// What runs on workers that take work; read only while something waits.
    pub running: Vec<RunningRow>,
    /// Attempts whose lease has run out by `now`, or that were not named in time.
    pub overdue: Vec<OverdueRow>,
    /// When heartbeats could not be accepted.
    pub outages: Outages,
    /// Executions that are not terminal.
    pub open_executions: u64,
    /// Executions that somebody follows.
    pub followed_executions: u64,
    /// The newest moment at which an execution was made, an attempt ended or a blob moved; for the idle stop.
    pub last_activity_at: Option<Timestamp>,
}

/// Why a worker's attempt is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requeue {
    /// Its lease ran out, or its worker is dead: uses up a retry.
    Lost,
    /// Its worker never named it: uses up none.
    Unnamed,
}

/// Lanes whose demand is read.
const DEMAND_LANES_MAX: i64 = 1000;
/// Queued executions are not counted beyond this: it is only asked whether there are any.
const OPEN_COUNT_MAX: i64 = 10_000;

impl Store {
    /// Reads the fleet, the demand, what runs and the overdue attempts in one snapshot. Work that has waited for `patience`
    /// is counted as impatient.
    pub async fn fleet(&self, patience: Duration) -> Result<FleetRows> {
        let mut transaction =
            self.begin_with(Some("begin isolation level repeatable read, read only")).await?;
        let activity = sqlx::query(include_str!("../queries/fleet/activity.sql"))
            .bind(OPEN_COUNT_MAX)
            .fetch_one(&mut *transaction)
            .await?;
        let workers = sqlx::query(include_str!("../queries/fleet/workers.sql"))
            .bind(row::millis(limits::UPLOAD_PATIENCE))
            .fetch_all(&mut *transaction)
            .await?;
        let demand = sqlx::query(guards::sql(
            &[&guards::DEMAND_WITHIN_LIMITS],
            include_str!("../queries/fleet/demand.sql"),
        ))
        .bind(i64::from(DEMAND_COUNT_MAX))
        .bind(DEMAND_LANES_MAX)
        .bind(row::millis(patience))
        .fetch_all(&mut *transaction)
        .await?;
        let running =
            if demand.is_empty() { Vec::new() } else { durations::running(&mut transaction).await? };
        let overdue = sqlx::query(include_str!("../queries/fleet/overdue.sql"))
            .bind(row::millis(limits::UNNAMED_AFTER))
            .fetch_all(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(FleetRows {
            now: activity.try_get("now")?,
            workers: workers.iter().map(FleetWorkerRow::read).collect::<Result<_>>()?,
            demand: demand.iter().map(DemandRow::read).collect::<Result<_>>()?,
            running,
            overdue: overdue.iter().map(OverdueRow::read).collect::<Result<_>>()?,
            outages: Outages::read(&activity)?,
            open_executions: activity.number64("open_executions")?,
            followed_executions: activity.number64("followed_executions")?,
            last_activity_at: activity.try_get("last_activity_at")?,
        })
    }

    /// Takes an attempt away from its worker and lets `core::retry` decide what becomes of the execution. Rechecks in
    /// its own transaction that the attempt is still current and still overdue (`Lost`: its lease has ended or its
    /// worker is not alive; `Unnamed`: it was never named). False when that is no longer so.
    pub async fn requeue(
        &self,
        term: &Term,
        execution: ExecutionId,
        attempt: u32,
        why: Requeue,
    ) -> Result<bool> {
        let (loss, overdue) = match why {
            Requeue::Lost => (Loss::Lost, Overdue::Lost),
            Requeue::Unnamed if guards::holds(&guards::UNNAMED_FREE) => (Loss::HandedBack, Overdue::Unnamed),
            Requeue::Unnamed => (Loss::Lost, Overdue::Unnamed),
        };
        let mut transaction = self.write(term).await?;
        let status = endings::take_away(&mut transaction, execution, attempt, loss, Some(overdue)).await?;
        transaction.commit().await?;
        if let Some(status) = status {
            self.nudge_after(status);
        }
        Ok(status.is_some())
    }

    /// Writes the intent and its `provisioning` worker before anything is created.
    pub async fn provision_intent(
        &self,
        term: &Term,
        provider: &str,
        reason: &str,
    ) -> Result<(IntentId, WorkerId)> {
        let intent = IntentId::new(secret::unix_ms(), secret::random());
        let worker = WorkerId::new(secret::unix_ms(), secret::random());
        let mut transaction = self.write(term).await?;
        sqlx::query(include_str!("../queries/fleet/make_intent.sql"))
            .bind(intent.to_string())
            .bind(provider)
            .bind(reason)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(include_str!("../queries/fleet/make_worker.sql"))
            .bind(worker.to_string())
            .bind(intent.to_string())
            .bind(provider)
            .bind(reason)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok((intent, worker))
    }

    /// The worker's heartbeats stopped: `dead`, and its attempts are requeued as lost. False when a heartbeat newer than
    /// `seen` came meanwhile or the step is not legal.
    pub async fn mark_dead(
        &self,
        term: &Term,
        worker: WorkerId,
        seen: Option<Timestamp>,
        reason: &str,
    ) -> Result<bool> {
        let mut transaction = self.write(term).await?;
        let marked = sqlx::query(guards::sql(
            &[&guards::DEAD_RECHECK],
            include_str!("../queries/fleet/fall_silent.sql"),
        ))
        .bind(worker.to_string())
        .bind(WorkerStatus::Dead.as_str())
        .bind(reason)
        .bind(statuses(WorkerStep::FallSilent))
        .bind(seen)
        .execute(&mut *transaction)
        .await?
        .rows_affected()
            > 0;
        if !marked {
            transaction.rollback().await?;
            return Ok(false);
        }
        let ended = if guards::holds(&guards::DEAD_REQUEUED) {
            lose_all(&mut transaction, worker).await?
        } else {
            Vec::new()
        };
        transaction.commit().await?;
        ended.into_iter().for_each(|status| self.nudge_after(status));
        self.nudge(Nudge::Fleet);
        Ok(true)
    }

    /// The worker did not join in time.
    pub async fn mark_failed(&self, term: &Term, worker: WorkerId, reason: &str) -> Result<bool> {
        let mut transaction = self.write(term).await?;
        let marked = set_status(&mut transaction, worker, WorkerStep::NeverJoined, reason).await?;
        transaction.commit().await?;
        self.nudge_if(marked, Nudge::Fleet);
        Ok(marked)
    }

    /// The worker takes no new work; under the claim lock.
    pub async fn mark_draining(&self, term: &Term, worker: WorkerId, reason: &str) -> Result<bool> {
        let mut transaction = self.write(term).await?;
        leave_lock(&mut transaction).await?;
        let marked = set_status(&mut transaction, worker, WorkerStep::Drain, reason).await?;
        transaction.commit().await?;
        self.nudge(Nudge::Directives);
        Ok(marked)
    }

    /// The worker is to be removed, for good; under the claim lock, and only when no attempt of it is open (re-read in
    /// the same transaction). Its credential dies with it. False when it may not be.
    pub async fn mark_terminating(&self, term: &Term, worker: WorkerId, reason: &str) -> Result<bool> {
        let mut transaction = self.write(term).await?;
        leave_lock(&mut transaction).await?;
        let marked = sqlx::query(guards::sql(
            &[&guards::NO_OPEN_ATTEMPT, &guards::CREDENTIAL_DIES],
            include_str!("../queries/fleet/terminate.sql"),
        ))
        .bind(worker.to_string())
        .bind(WorkerStatus::Terminating.as_str())
        .bind(reason)
        .bind(statuses(WorkerStep::Terminate))
        .execute(&mut *transaction)
        .await?
        .rows_affected()
            > 0;
        transaction.commit().await?;
        Ok(marked)
    }

    /// The worker's machine is gone.
    pub async fn mark_terminated(&self, term: &Term, worker: WorkerId) -> Result<bool> {
        let mut transaction = self.write(term).await?;
        let marked = sqlx::query(include_str!("../queries/fleet/gone.sql"))
            .bind(worker.to_string())
            .bind(WorkerStatus::Terminated.as_str())
            .bind(statuses(WorkerStep::Gone))
            .fetch_optional(&mut *transaction)
            .await?
            .is_some();
        transaction.commit().await?;
        // Its place is free.
        self.nudge_if(marked, Nudge::Fleet);
        Ok(marked)
    }

    /// A worker whose process is known to be gone (the `local` provider is its parent): dead at once, or failed when it
    /// never joined, its attempts requeued as lost, without waiting for any silence. False when nothing changed.
    pub async fn worker_exited(&self, term: &Term, worker: WorkerId, reason: &str) -> Result<bool> {
        let mut transaction = self.write(term).await?;
        let marked = set_status(&mut transaction, worker, WorkerStep::FallSilent, reason).await?
            || set_status(&mut transaction, worker, WorkerStep::NeverJoined, reason).await?;
        let ended = lose_all(&mut transaction, worker).await?;
        transaction.commit().await?;
        let changed = marked || !ended.is_empty();
        ended.into_iter().for_each(|status| self.nudge_after(status));
        self.nudge_if(changed, Nudge::Fleet);
        Ok(changed)
    }

    /// Ends pending executions whose last byte is older than `limits::PENDING_EXPIRES`. Answers how many.
    pub async fn expire_pending(&self, term: &Term) -> Result<u64> {
        let mut transaction = self.write(term).await?;
        let expired = sqlx::query(include_str!("../queries/fleet/expire_pending.sql"))
            .bind(row::millis(limits::PENDING_EXPIRES))
            .bind(Outcome::Expired.kind())
            .bind(Json(outcome::to_json(&Outcome::Expired)))
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        transaction.commit().await?;
        if expired > 0 {
            self.nudge(Nudge::Executions);
        }
        Ok(expired)
    }

    /// Begins a transaction of the leader.
    pub(crate) async fn write(&self, term: &Term) -> Result<Transaction<'static, Postgres>> {
        let mut transaction = self.begin().await?;
        leadership::check(&mut transaction, term).await?;
        Ok(transaction)
    }
}

/// Takes a worker by a step of the table, from wherever that is legal.
async fn set_status(
    connection: &mut PgConnection,
    worker: WorkerId,
    step: WorkerStep,
    reason: &str,
) -> Result<bool> {
    let from = sources(step);
    let to =
        from.first().and_then(|status| next(*status, step)).expect("every step of the table leads somewhere");
    let marked = sqlx::query(include_str!("../queries/fleet/set_status.sql"))
        .bind(worker.to_string())
        .bind(to.as_str())
        .bind(reason)
        .bind(statuses(step))
        .execute(connection)
        .await?;
    Ok(marked.rows_affected() > 0)
}

/// Takes every attempt away from a worker that is not alive; answers what became of their executions.
async fn lose_all(connection: &mut PgConnection, worker: WorkerId) -> Result<Vec<Status>> {
    let open = sqlx::query(include_str!("../queries/fleet/open_attempts.sql"))
        .bind(worker.to_string())
        .fetch_all(&mut *connection)
        .await?;
    let mut ended = Vec::with_capacity(open.len());
    for row in &open {
        let (id, number) = (row.text("execution_id")?, row.number32("number")?);
        ended.extend(endings::take_away(connection, id, number, Loss::Lost, None).await?);
    }
    Ok(ended)
}

/// Nothing is claimed for a worker while it changes to where it takes no more.
async fn leave_lock(connection: &mut PgConnection) -> Result<()> {
    if guards::holds(&guards::LEAVES_UNDER_THE_CLAIM_LOCK) {
        claim::lock(connection).await?;
    }
    Ok(())
}

impl FleetWorkerRow {
    fn read(row: &PgRow) -> Result<Self> {
        let count = |column| -> Result<u32> { Ok(u32::try_from(row.number64(column)?).unwrap_or(u32::MAX)) };
        Ok(Self {
            id: row.text("id")?,
            intent_id: row.text_or_null("intent_id")?,
            provider: row.try_get("provider")?,
            status: row.text("status")?,
            status_since: row.try_get("status_since")?,
            created_at: row.try_get("created_at")?,
            joined_at: row.try_get("joined_at")?,
            last_heartbeat_at: row.try_get("last_heartbeat_at")?,
            idle_since: row.try_get("idle_since")?,
            slots: row.number32("slots")?,
            capacity: workers::capacity(row)?,
            open_attempts: count("open_attempts")?,
            used: Capacity {
                cpu_millis: count("used_cpu_millis")?,
                memory_bytes: row.number64("used_memory_bytes")?,
                disk_bytes: row.number64("used_disk_bytes")?,
            },
            drain_deadline: row.try_get("drain_deadline")?,
        })
    }
}

impl DemandRow {
    fn read(row: &PgRow) -> Result<Self> {
        Ok(Self {
            account_id: row.text("account_id")?,
            batch_id: row.text_or_null("batch_id")?,
            priority: row.try_get("priority")?,
            wanted: workers::capacity(row)?,
            count: u32::try_from(row.number64("count")?).unwrap_or(u32::MAX),
            impatient: u32::try_from(row.number64("impatient")?).unwrap_or(u32::MAX),
            oldest: row.try_get("oldest")?,
            kind: row.try_get::<Option<i64>, _>("kind")?.map(i64::cast_unsigned),
        })
    }
}

impl OverdueRow {
    fn read(row: &PgRow) -> Result<Self> {
        Ok(Self {
            execution_id: row.text("execution_id")?,
            attempt: row.number32("number")?,
            worker_id: row.text("worker_id")?,
            lease_until: row.try_get("lease_until")?,
            claimed_at: row.try_get("claimed_at")?,
            named: row.try_get("named")?,
        })
    }
}
