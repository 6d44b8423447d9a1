//! Whom to release, and the way out of each worker that is not wanted any more. A worker with an open attempt is
//! never terminated. The hour's edge of paid servers comes with the first provider that bills.

use std::time::Duration;

use crate::Timestamp;
use crate::fleet::{Action, Backing, FleetPolicy, FleetView, Machine, Reason, since};
use crate::worker::WorkerStatus;

/// A dead process of ours that is still there is given this long, from its last heartbeat, to come back.
const LOCAL_HANG: Duration = Duration::from_secs(60);

/// Plans the duty.
pub fn plan(view: &FleetView, policy: &FleetPolicy, now: Timestamp) -> Vec<(Action, Reason)> {
    let mut actions = Vec::new();
    for worker in &view.workers {
        let holds_nothing = worker.open_attempts == 0;
        let idle = worker.idle_since.map(|start| since(now, start));
        match worker.status {
            // A policy without workers is how a grid of one machine makes way for a newer one.
            WorkerStatus::Active if worker.backing == Backing::Local && policy.workers_max == 0 => {
                actions.push((Action::Drain(worker.id), Reason::NotWanted));
            }
            WorkerStatus::Active => {
                if let (Backing::Local, Some(time)) = (worker.backing, idle)
                    && holds_nothing
                    && time >= policy.local_idle
                    && view.demand.is_empty()
                {
                    actions.push((Action::Drain(worker.id), Reason::Idle(time)));
                }
            }
            WorkerStatus::Draining if holds_nothing && worker.backing != Backing::Static => {
                actions.push((Action::Terminate(worker.id), Reason::Drained));
            }
            WorkerStatus::Failed if holds_nothing => {
                actions.push((Action::Terminate(worker.id), Reason::Useless))
            }
            // A process that ended does not come back, and one that hangs is in the way of the next one. A silent
            // server may come back, and is looked at by its provider's rules.
            WorkerStatus::Dead if holds_nothing && worker.backing == Backing::Local => {
                let silent =
                    since(now, worker.last_heartbeat_at.or(worker.joined_at).unwrap_or(worker.created_at));
                if worker.machine == Machine::Absent {
                    actions.push((Action::Terminate(worker.id), Reason::MachineGone));
                } else if silent >= LOCAL_HANG {
                    actions.push((Action::Terminate(worker.id), Reason::Silent(silent)));
                }
            }
            WorkerStatus::Terminating => match worker.machine {
                Machine::Absent => actions.push((Action::MarkTerminated(worker.id), Reason::Gone)),
                Machine::Present => actions.push((Action::DeleteMachine(worker.id), Reason::StillThere)),
                Machine::Unknown => {}
            },
            WorkerStatus::Provisioning
            | WorkerStatus::Draining
            | WorkerStatus::Dead
            | WorkerStatus::Failed
            | WorkerStatus::Terminated => {}
        }
    }
    actions
}
