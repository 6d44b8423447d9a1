//! Whom to release, and the way out of each worker that is not wanted any more. A worker with an open attempt is
//! never terminated. Paid servers go at the edge of the hour that is paid: idle until then costs nothing.

use std::time::Duration;

use crate::Timestamp;
use crate::fleet::provisioning::standing;
use crate::fleet::{Action, Backing, FleetPolicy, FleetView, Machine, Reason, WorkerView, health, since};
use crate::money::paid_until;
use crate::worker::WorkerStatus;
use crate::{guards, limits};

/// A dead process of ours that is still there is given this long, from its last heartbeat, to come back.
const LOCAL_HANG: Duration = Duration::from_secs(60);
/// A server that has been idle for this long while work waits is evidently not what that work waits for.
const NOT_FOR_IT: Duration = Duration::from_secs(60);

/// Plans the duty.
pub fn plan(view: &FleetView, policy: &FleetPolicy, now: Timestamp) -> Vec<(Action, Reason)> {
    let barred = health::deletions_barred_until(view, now).is_some() && guards::holds(&guards::MASS_SILENCE);
    let mut actions = Vec::new();
    for worker in &view.workers {
        let step = match worker.status {
            WorkerStatus::Active => no_more_work(worker, view, policy, now),
            WorkerStatus::Draining
            | WorkerStatus::Failed
            | WorkerStatus::Dead
            | WorkerStatus::Terminating => way_out(worker, policy, now),
            WorkerStatus::Provisioning | WorkerStatus::Terminated => None,
        };
        let deletes = |action: &Action| match action {
            Action::Terminate(_) | Action::DeleteMachine(_) => worker.backing == Backing::Server,
            Action::LoseAttempt { .. }
            | Action::MarkDead(_)
            | Action::MarkFailed(_)
            | Action::AddWorker
            | Action::AddServer(_)
            | Action::Drain(_)
            | Action::MarkTerminated(_) => false,
        };
        actions.extend(step.filter(|(action, _)| !(barred && deletes(action))));
    }
    too_many(&mut actions, view, policy, now);
    actions
}

/// Until when the server behind a worker is paid; `None` where nobody bills.
pub fn paid(worker: &WorkerView, now: Timestamp) -> Option<Timestamp> {
    worker.server.as_ref()?.created.map(|created| paid_until(created, now))
}

/// Whether an active worker shall take no new work.
fn no_more_work(
    worker: &WorkerView,
    view: &FleetView,
    policy: &FleetPolicy,
    now: Timestamp,
) -> Option<(Action, Reason)> {
    let idle = worker.idle_since.filter(|_| worker.open_attempts == 0).map(|start| since(now, start));
    let drain = |reason| Some((Action::Drain(worker.id), reason));
    match worker.backing {
        Backing::Static => None,
        // A policy without workers is how a grid of one machine makes way for a newer one.
        Backing::Local if policy.workers_max == 0 => drain(Reason::NotWanted),
        Backing::Local => match idle {
            Some(time) if time >= policy.local_idle && view.demand.is_empty() => drain(Reason::Idle(time)),
            Some(_) | None => None,
        },
        Backing::Server => {
            let created = worker.server.as_ref()?.created?;
            let servers = &policy.servers;
            let age = since(now, created);
            let edge = paid_until(created, now);
            let at_edge = since(edge, now) <= servers.edge_margin;
            if age + servers.edge_margin >= servers.age_max && guards::holds(&guards::AGE_MAX) {
                return drain(Reason::TooOld(age));
            }
            if !at_edge && guards::holds(&guards::HOUR_EDGE) {
                return None;
            }
            if let Some(limit) = servers.spend_per_month_max.filter(|max| {
                let hour = worker.server.as_ref().map(|server| server.price.hour()).unwrap_or_default();
                view.market.spent_this_month + hour > *max && guards::holds(&guards::MONTH_SPENT_DRAINS)
            }) {
                return drain(Reason::MonthSpent(limit));
            }
            let waits = || view.demand.iter().any(|demand| worker.capacity.holds(&demand.wanted));
            match idle {
                Some(time) if time >= NOT_FOR_IT || !waits() => drain(Reason::HourEdge(edge)),
                Some(_) | None => None,
            }
        }
    }
}

/// The next step of a worker that is not wanted any more.
fn way_out(worker: &WorkerView, policy: &FleetPolicy, now: Timestamp) -> Option<(Action, Reason)> {
    let holds_nothing = worker.open_attempts == 0 || !guards::holds(&guards::BUSY_STAYS);
    let terminate = |reason| Some((Action::Terminate(worker.id), reason));
    match worker.status {
        WorkerStatus::Draining if holds_nothing && worker.backing != Backing::Static => {
            terminate(Reason::Drained)
        }
        WorkerStatus::Failed if holds_nothing => terminate(Reason::Useless),
        WorkerStatus::Dead if holds_nothing => {
            let heard = worker.last_heartbeat_at.or(worker.joined_at).unwrap_or(worker.created_at);
            let silent = since(now, heard);
            let hopeless = match worker.backing {
                // A process that hangs is in the way of the next one.
                Backing::Local => silent >= LOCAL_HANG,
                // A silent server may come back, and is paid until its hour's edge.
                Backing::Server => {
                    let edge =
                        paid(worker, now).is_some_and(|edge| since(edge, now) <= policy.servers.edge_margin);
                    silent >= limits::SILENT_SERVER || edge || !guards::holds(&guards::SILENT_MAY_RETURN)
                }
                // Never by silence.
                Backing::Static if guards::holds(&guards::STATIC_STAYS) => return None,
                Backing::Static => true,
            };
            // What is gone does not come back.
            if worker.machine == Machine::Absent {
                terminate(Reason::MachineGone)
            } else if hopeless {
                terminate(Reason::Silent(silent))
            } else {
                None
            }
        }
        WorkerStatus::Terminating => match worker.machine {
            Machine::Absent => Some((Action::MarkTerminated(worker.id), Reason::Gone)),
            Machine::Present if guards::holds(&guards::ASKED_UNTIL_GONE) => {
                Some((Action::DeleteMachine(worker.id), Reason::StillThere))
            }
            Machine::Unknown if !guards::holds(&guards::UNSEEN_IS_NOT_GONE) => {
                Some((Action::MarkTerminated(worker.id), Reason::Gone))
            }
            // Asking again does no harm, and until a listing can be had its next hour may have begun.
            Machine::Unknown if worker.server.as_ref().is_some_and(|server| server.created.is_some()) => {
                Some((Action::DeleteMachine(worker.id), Reason::Unseen))
            }
            Machine::Present | Machine::Unknown => None,
        },
        WorkerStatus::Provisioning
        | WorkerStatus::Active
        | WorkerStatus::Draining
        | WorkerStatus::Dead
        | WorkerStatus::Failed
        | WorkerStatus::Terminated => None,
    }
}

/// Where there are more servers than there may be, idle ones go, the cheapest to release first.
fn too_many(actions: &mut Vec<(Action, Reason)>, view: &FleetView, policy: &FleetPolicy, now: Timestamp) {
    let workers = standing(view);
    let leaving = view.workers.iter().filter(|worker| leaves(worker.status)).count() + actions.len();
    let over = (workers.saturating_sub(policy.workers_max) as usize).saturating_sub(leaving);
    if over == 0 || policy.backing != Backing::Server {
        return;
    }
    let idle = |w: &&WorkerView| {
        w.status == WorkerStatus::Active && w.open_attempts == 0 && w.backing == Backing::Server
    };
    let drained: Vec<_> = actions.iter().filter_map(|(action, _)| drained(action)).collect();
    let mut idle: Vec<_> = view.workers.iter().filter(idle).filter(|w| !drained.contains(&w.id)).collect();
    idle.sort_by_key(|worker| cost_of_release(worker, now));
    for worker in idle.into_iter().take(over) {
        let reason = Reason::TooMany { workers, workers_max: policy.workers_max };
        actions.push((Action::Drain(worker.id), reason));
    }
}

/// What is thrown away with a server: money that is paid for time to come. The cheapest goes first.
pub fn cost_of_release(worker: &WorkerView, now: Timestamp) -> (u128, Timestamp) {
    let left = paid(worker, now).map_or(Duration::ZERO, |edge| since(edge, now));
    let hour = worker.server.as_ref().map_or(0, |server| server.price.hour().0.max(0).unsigned_abs());
    (left.as_millis() * u128::from(hour), worker.created_at)
}

fn leaves(status: WorkerStatus) -> bool {
    match status {
        WorkerStatus::Draining | WorkerStatus::Failed | WorkerStatus::Terminating => true,
        WorkerStatus::Provisioning | WorkerStatus::Active | WorkerStatus::Dead | WorkerStatus::Terminated => {
            false
        }
    }
}

fn drained(action: &Action) -> Option<crate::id::WorkerId> {
    match action {
        Action::Drain(worker) => Some(*worker),
        Action::LoseAttempt { .. }
        | Action::MarkDead(_)
        | Action::MarkFailed(_)
        | Action::AddWorker
        | Action::AddServer(_)
        | Action::Terminate(_)
        | Action::DeleteMachine(_)
        | Action::MarkTerminated(_) => None,
    }
}
