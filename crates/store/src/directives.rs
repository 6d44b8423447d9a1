//! Directives: what is wanted of a running attempt, as a whole. A newer version replaces an older one.

use std::time::Duration;

use rgrid_core::id::{ExecutionId, WorkerId};
use rgrid_core::outcome::CancelledBy;

use crate::{Result, Store};

/// An attempt that a runner says it holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Held {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The attempt's number.
    pub attempt: u32,
    /// The attempt's token.
    pub token: String,
    /// Version of the newest directive the runner has seen for it; 0 for none.
    pub directive: u64,
}

/// What is wanted of a running attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectiveRow {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The attempt's number.
    pub attempt: u32,
    /// Grows with each change; 1 at the claim.
    pub version: u64,
    /// End it, because this one asked.
    pub cancel: Option<CancelledBy>,
    /// How long it may run in all.
    pub timeout: Duration,
    /// Somebody follows: push log bytes at once.
    pub followed: bool,
}

/// What a runner does not know yet of what it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directives {
    /// Directives newer than those it has seen.
    pub directives: Vec<DirectiveRow>,
    /// What it holds and must end: it is not current.
    pub not_current: Vec<Held>,
    /// It shall finish what it holds and leave.
    pub drain: bool,
}

impl Store {
    /// Answers a poll or a heartbeat of a worker.
    pub async fn directives(&self, worker: WorkerId, holding: &[Held]) -> Result<Directives> {
        let _ = (worker, holding);
        todo!()
    }

    /// True when the worker shall finish what it holds and leave.
    pub async fn worker_drain(&self, worker: WorkerId) -> Result<bool> {
        let _ = worker;
        todo!()
    }
}
