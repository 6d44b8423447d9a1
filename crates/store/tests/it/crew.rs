//! Workers of a stage: they join, claim and hold attempts through the calls that a server makes for real ones.

use std::time::Duration;

use rgrid_core::id::WorkerId;
use rgrid_core::outcome::Outcome;
use rgrid_core::submission::{Draft, Submission};
use rgrid_core::worker::{Capacity, LimitGrade};
use rgrid_store::attempts::{AttemptAuth, FinishRow};
use rgrid_store::claim::{Claimed, Poll};
use rgrid_store::directives::Held;
use rgrid_store::workers::{HeartbeatRow, JoinRow, SandboxRow};

use crate::stage::{self, Stage};

/// What a worker of these tests has.
pub(crate) const WHOLE: Capacity =
    Capacity { cpu_millis: 64_000, memory_bytes: 64 << 30, disk_bytes: 64 << 30 };

/// What a runner says when it joins.
pub(crate) fn join(token: &str, nonce: &str) -> JoinRow {
    JoinRow {
        token: token.to_owned(),
        nonce: nonce.to_owned(),
        version: "0.1.0".to_owned(),
        hostname: "ada".to_owned(),
        slots: 1000,
        capacity: WHOLE,
        sandbox: SandboxRow {
            kind: "process".to_owned(),
            network: "veth".to_owned(),
            limits: LimitGrade::Hard,
            disk: LimitGrade::Watched,
        },
        docker: false,
    }
}

/// A poll for so many attempts.
pub(crate) fn poll(worker_id: WorkerId, slots: u32) -> Poll {
    Poll { worker_id, slots, free: WHOLE }
}

/// A submission that is changed before it is checked.
pub(crate) fn changed(change: impl FnOnce(&mut Draft)) -> Submission {
    let mut draft = (*stage::submission(&[], false)).clone();
    change(&mut draft);
    draft.parse().unwrap()
}

/// What the claimed attempt proves itself with.
pub(crate) fn auth(claimed: &Claimed) -> AttemptAuth {
    AttemptAuth {
        execution_id: claimed.attempt.execution_id,
        attempt: claimed.attempt.number,
        token: claimed.token.clone(),
        worker_id: claimed.worker_id,
    }
}

/// How a runner names the claimed attempt.
pub(crate) fn held(claimed: &Claimed) -> Held {
    Held {
        execution_id: claimed.attempt.execution_id,
        attempt: claimed.attempt.number,
        token: claimed.token.clone(),
        directive: claimed.directive.version,
    }
}

/// A finish without outputs.
pub(crate) fn finish(outcome: Outcome) -> FinishRow {
    FinishRow {
        outcome,
        outputs: Vec::new(),
        not_brought_back: vec!["/tmp/out.csv".to_owned()],
        stdout_bytes: 0,
        stderr_bytes: 0,
        peak_memory_bytes: Some(1 << 20),
        cpu_ms: Some(7),
        platform: None,
    }
}

impl Stage {
    /// A static worker that joined.
    pub(crate) async fn joined(&self) -> WorkerId {
        let token = self.store.create_join_token(None, Duration::from_secs(60)).await.unwrap();
        self.store.join(&join(&token, "nonce")).await.unwrap().0
    }

    /// Claims one execution for the worker.
    pub(crate) async fn claim_one(&self, worker: WorkerId) -> Claimed {
        let mut claimed = self.store.claim(&[poll(worker, 1)]).await.unwrap();
        assert_eq!(claimed.len(), 1);
        claimed.remove(0)
    }

    /// The worker says that it lives and holds these.
    pub(crate) async fn heartbeat(&self, worker: WorkerId, holding: &[&Claimed]) {
        let beat = HeartbeatRow {
            worker_id: worker,
            holding: holding.iter().map(|claimed| held(claimed)).collect(),
        };
        self.store.heartbeats(&[beat]).await.unwrap();
    }
}
