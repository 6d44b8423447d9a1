//! Who is lost, and what becomes of its attempts.
//!
//! Only time in which heartbeats could be accepted counts. After an outage, or a gap in the caller's own ticks,
//! nobody is judged by silence for one full period; what is known for certain (a child process that ended) is acted
//! on at once.

use crate::Timestamp;
use crate::fleet::{Action, Backing, FleetPolicy, FleetView, Machine, Reason, WorkerView, since};
use crate::limits;
use crate::retry::Loss;
use crate::worker::WorkerStatus;

/// Plans the duty. Nobody is judged by silence before `judge_after`.
pub fn plan(
    view: &FleetView,
    policy: &FleetPolicy,
    now: Timestamp,
    judge_after: Option<Timestamp>,
) -> Vec<(Action, Reason)> {
    // A lease that ended in an outage is worth one full period after it, and so is a heartbeat.
    let outage = view.outage_until;
    let leases_count =
        outage.is_none_or(|end| since(now, end) >= limits::LEASE) && judge_after.is_none_or(|t| now >= t);
    let silence_counts = outage.is_none_or(|end| since(now, end) >= limits::DEAD_AFTER)
        && judge_after.is_none_or(|t| now >= t);

    let mut actions = Vec::new();
    for attempt in view.overdue.iter().filter(|_| leases_count) {
        let lost = if !attempt.named && since(now, attempt.claimed_at) >= limits::UNNAMED_AFTER {
            Some((Loss::HandedBack, Reason::NeverNamed))
        } else if attempt.named && now >= attempt.lease_until {
            Some((Loss::Lost, Reason::LeaseOver))
        } else {
            None
        };
        if let Some((loss, reason)) = lost {
            actions.push((
                Action::LoseAttempt { execution: attempt.execution, number: attempt.number, loss },
                reason,
            ));
        }
    }
    for worker in &view.workers {
        let gone = is_gone(worker);
        let silent = silence_counts.then(|| silence(worker, now)).flatten();
        match worker.status {
            WorkerStatus::Active | WorkerStatus::Draining => {
                if gone {
                    actions.push((Action::MarkDead(worker.id), Reason::MachineGone));
                } else if let Some(time) = silent {
                    actions.push((Action::MarkDead(worker.id), Reason::Silent(time)));
                }
            }
            WorkerStatus::Provisioning => {
                let waited = since(now, worker.created_at);
                if gone {
                    actions.push((Action::MarkFailed(worker.id), Reason::MachineGone));
                } else if waited >= policy.join_deadline && worker.backing != Backing::Static {
                    actions.push((Action::MarkFailed(worker.id), Reason::NotJoined(waited)));
                }
            }
            WorkerStatus::Dead
            | WorkerStatus::Failed
            | WorkerStatus::Terminating
            | WorkerStatus::Terminated => {}
        }
    }
    actions
}

/// True when what is behind the worker is known to be gone. A server may be created an instant before the listing
/// shows it, so absence counts only for a process of ours, whose parent we are.
fn is_gone(worker: &WorkerView) -> bool {
    match (worker.backing, worker.machine) {
        (Backing::Local, Machine::Absent) => true,
        (Backing::Local, Machine::Present | Machine::Unknown)
        | (Backing::Server | Backing::Static, Machine::Present | Machine::Absent | Machine::Unknown) => false,
    }
}

/// How long the worker has been silent, once that is longer than it may be.
fn silence(worker: &WorkerView, now: Timestamp) -> Option<std::time::Duration> {
    let heard = worker.last_heartbeat_at.or(worker.joined_at)?;
    Some(since(now, heard)).filter(|time| *time >= limits::DEAD_AFTER)
}
