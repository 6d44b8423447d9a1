//! Workers: joining, heartbeats, and the list for people.

use std::time::Duration;

use rgrid_core::Timestamp;
use rgrid_core::id::WorkerId;
use rgrid_core::worker::{Capacity, LimitGrade, WorkerStatus};

use crate::directives::{Directives, Held};
use crate::{Result, Store};

/// How a worker isolates and limits, as its probe found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxRow {
    /// `process` or `docker`.
    pub kind: String,
    /// `veth`, `pasta` or `none`.
    pub network: String,
    /// For memory, CPU and processes.
    pub limits: LimitGrade,
    /// For disk.
    pub disk: LimitGrade,
}

/// What a runner says when it joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRow {
    /// The single-use token.
    pub token: String,
    /// Drawn once by the runner.
    pub nonce: String,
    /// The runner's version.
    pub version: String,
    /// Its machine's name.
    pub hostname: String,
    /// Attempts it can run at once.
    pub slots: u32,
    /// What it has for attempts.
    pub capacity: Capacity,
    /// How it isolates.
    pub sandbox: SandboxRow,
}

/// One worker's heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatRow {
    /// Whose.
    pub worker_id: WorkerId,
    /// Every attempt that the runner holds: only named ones keep their leases.
    pub holding: Vec<Held>,
}

/// A worker, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerRow {
    /// Its id.
    pub id: WorkerId,
    /// Where it stands.
    pub status: WorkerStatus,
    /// What stands behind it: `local`, `static`, or a cloud provider's name.
    pub provider: String,
    /// Its machine's name; empty before it joined.
    pub hostname: String,
    /// Its version; empty before it joined.
    pub version: String,
    /// Attempts it runs.
    pub running: u32,
    /// Attempts it can run at once.
    pub slots: u32,
    /// What it has for attempts.
    pub capacity: Capacity,
    /// How it isolates; `None` before it joined.
    pub sandbox: Option<SandboxRow>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was last heard of.
    pub last_heartbeat_at: Option<Timestamp>,
    /// Why it is in this state, in a sentence.
    pub reason: Option<String>,
}

impl Store {
    /// Makes a single-use token: for the given `provisioning` worker, or for a static one whose row the join makes.
    pub async fn create_join_token(&self, worker: Option<WorkerId>, ttl: Duration) -> Result<String> {
        let _ = (worker, ttl);
        todo!()
    }

    /// Redeems a token. The same token with the same nonce gives a fresh credential until the first heartbeat.
    pub async fn join(&self, join: &JoinRow) -> Result<(WorkerId, String)> {
        let _ = join;
        todo!()
    }

    /// Writes all heartbeats in one statement, renews the leases of named attempts, and answers each in order. A dead
    /// worker returns to active.
    pub async fn heartbeats(&self, batch: &[HeartbeatRow]) -> Result<Vec<Directives>> {
        let _ = batch;
        todo!()
    }

    /// All that are not terminated, and those terminated within the last hour; oldest first.
    pub async fn workers(&self) -> Result<Vec<WorkerRow>> {
        todo!()
    }
}
