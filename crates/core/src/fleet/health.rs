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

/// Workers that fall silent within this time fell silent together: two heartbeats apart.
const ROUND: chrono::TimeDelta = chrono::TimeDelta::seconds(10);

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
                if let Some(reason) = given_up(worker, policy, now) {
                    actions.push((Action::MarkFailed(worker.id), reason));
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

/// Why a worker that has not joined is given up.
fn given_up(worker: &WorkerView, policy: &FleetPolicy, now: Timestamp) -> Option<Reason> {
    let asked = since(now, worker.created_at);
    match worker.backing {
        Backing::Static => None,
        Backing::Local if is_gone(worker) => Some(Reason::MachineGone),
        Backing::Local => (asked >= policy.join_deadline).then_some(Reason::NotJoined(asked)),
        Backing::Server => match worker.server.as_ref().and_then(|server| server.created) {
            None => (asked >= limits::CREATE_DEADLINE).then_some(Reason::NotCreated(asked)),
            // It was there, and is not any more.
            Some(_) if worker.machine == Machine::Absent => Some(Reason::MachineGone),
            Some(created) => {
                let waited = since(now, created);
                (waited >= policy.join_deadline).then_some(Reason::NotJoined(waited))
            }
        },
    }
}

/// Until when no server is deleted, because more than half of at least four workers fell silent within one round: rather
/// the network's fault than theirs. A worker that is silent now counts, whether it is called dead already or not; one
/// that returned does not.
pub fn deletions_barred_until(view: &FleetView, now: Timestamp) -> Option<Timestamp> {
    let judged = |worker: &&WorkerView| match worker.status {
        WorkerStatus::Active | WorkerStatus::Draining | WorkerStatus::Dead => worker.joined_at.is_some(),
        WorkerStatus::Provisioning
        | WorkerStatus::Failed
        | WorkerStatus::Terminating
        | WorkerStatus::Terminated => false,
    };
    // When each that is silent became so.
    let mut fell: Vec<Timestamp> = Vec::new();
    let mut heard = 0usize;
    for worker in view.workers.iter().filter(judged) {
        let silent_from = worker.last_heartbeat_at.or(worker.joined_at).map(|at| at + limits::DEAD_AFTER);
        match silent_from {
            Some(from) if from <= now || worker.status == WorkerStatus::Dead => fell.push(from.min(now)),
            Some(_) | None => heard += 1,
        }
    }
    fell.sort_unstable();
    // For each group that fell within one round: those that were there when it did.
    let mut newest = None;
    let mut first = 0;
    for last in 0..fell.len() {
        while fell[last] - fell[first] > ROUND {
            first += 1;
        }
        let group = last + 1 - first;
        let there = fell.len() - first + heard;
        if there >= limits::MASS_SILENCE_WORKERS && 2 * group > there {
            newest = Some(fell[last] + limits::MASS_SILENCE_REST);
        }
    }
    newest.filter(|until| *until > now)
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
