//! The claim: which queued executions go to which waiting polls. SEMANTICS section 2 is its specification.

use rgrid_core::id::{AccountId, WorkerId};
use rgrid_core::submission::Submission;
use rgrid_core::worker::Capacity;

use crate::attempts::AttemptRow;
use crate::directives::DirectiveRow;
use crate::{Result, Store};

/// A runner that waits for work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Poll {
    /// Its worker.
    pub worker_id: WorkerId,
    /// Attempts it could start now.
    pub slots: u32,
    /// What it has left for them.
    pub free: Capacity,
}

/// An attempt that was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// To whom.
    pub worker_id: WorkerId,
    /// The owner of the execution.
    pub account_id: AccountId,
    /// The attempt.
    pub attempt: AttemptRow,
    /// Proves, with the number, that a call is this attempt's. Only its hash is stored.
    pub token: String,
    /// What to run, with the values of its variables.
    pub submission: Submission,
    /// What is wanted of it: time-out, cancel, follow.
    pub directive: DirectiveRow,
}

impl Store {
    /// Serves up to `limits::CLAIM_POLLS_MAX` polls in one transaction; polls beyond are not served. At most one poll
    /// per worker counts.
    pub async fn claim(&self, polls: &[Poll]) -> Result<Vec<Claimed>> {
        let _ = polls;
        todo!()
    }
}
