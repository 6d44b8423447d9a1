//! What the orchestrator reads in one view and writes under its term. Every write checks the term in its own
//! transaction and answers `Error::NotLeader` when it has passed on.

use rgrid_core::Timestamp;
use rgrid_core::id::{AccountId, BatchId, ExecutionId, IntentId, WorkerId};
use rgrid_core::worker::{Capacity, WorkerStatus};

use crate::leadership::Term;
use crate::outages::Outages;
use crate::{Result, Store};

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
    /// When the first of them was accepted.
    pub oldest: Timestamp,
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

impl Store {
    /// Reads the fleet, the demand and the overdue attempts in one snapshot.
    pub async fn fleet(&self) -> Result<FleetRows> {
        todo!()
    }

    /// Takes an attempt away from its worker and lets `core::retry` decide what becomes of the execution. Rechecks in
    /// its own transaction that the attempt is still current and still overdue (`Lost`: its lease has ended or its
    /// worker is not alive; `Unnamed`: it was never named). False when that is no longer so.
    pub async fn requeue(&self, term: &Term, execution: ExecutionId, attempt: u32, why: Requeue) -> Result<bool> {
        let _ = (term, execution, attempt, why);
        todo!()
    }

    /// Writes the intent and its `provisioning` worker before anything is created.
    pub async fn provision_intent(&self, term: &Term, provider: &str, reason: &str) -> Result<(IntentId, WorkerId)> {
        let _ = (term, provider, reason);
        todo!()
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
        let _ = (term, worker, seen, reason);
        todo!()
    }

    /// The worker did not join in time.
    pub async fn mark_failed(&self, term: &Term, worker: WorkerId, reason: &str) -> Result<bool> {
        let _ = (term, worker, reason);
        todo!()
    }

    /// The worker takes no new work; under the claim lock.
    pub async fn mark_draining(&self, term: &Term, worker: WorkerId, reason: &str) -> Result<bool> {
        let _ = (term, worker, reason);
        todo!()
    }

    /// The worker is to be removed, for good; under the claim lock, and only when no attempt of it is open (re-read in
    /// the same transaction). Its credential dies with it. False when it may not be.
    pub async fn mark_terminating(&self, term: &Term, worker: WorkerId, reason: &str) -> Result<bool> {
        let _ = (term, worker, reason);
        todo!()
    }

    /// The worker's machine is gone.
    pub async fn mark_terminated(&self, term: &Term, worker: WorkerId) -> Result<bool> {
        let _ = (term, worker);
        todo!()
    }

    /// A worker whose process is known to be gone (the `local` provider is its parent): dead at once, its attempts
    /// requeued as lost, without waiting for any silence.
    pub async fn worker_exited(&self, term: &Term, worker: WorkerId, reason: &str) -> Result<bool> {
        let _ = (term, worker, reason);
        todo!()
    }

    /// Ends pending executions whose last byte is older than `limits::PENDING_EXPIRES`. Answers how many.
    pub async fn expire_pending(&self, term: &Term) -> Result<u64> {
        let _ = term;
        todo!()
    }
}
