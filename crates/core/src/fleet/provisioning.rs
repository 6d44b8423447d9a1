//! How many workers to add: what waits, as limits would let it run, against what is there or on its way.
//!
//! A process of this machine is added by count (here); servers are bought for what no place will be free for before
//! they could be up (`purchase`).

mod outlook;
mod purchase;

use std::time::Duration;

use crate::Timestamp;
use crate::fleet::{Action, Backing, Demand, FleetPolicy, FleetView, Reason, WorkerView, since};
use crate::worker::{Capacity, WorkerStatus};

pub use outlook::{Note, Outlook};

/// What to do, and what people may be told of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decision {
    /// The actions, each with its reason.
    pub actions: Vec<(Action, Reason)>,
    /// Why work waits, and what happens next; `None` when nothing waits for a worker.
    pub outlook: Option<Outlook>,
}

/// Plans the duty.
pub fn plan(view: &FleetView, policy: &FleetPolicy, now: Timestamp) -> Vec<(Action, Reason)> {
    decide(view, policy, now).actions
}

/// Plans the duty, and says what keeps work waiting.
pub fn decide(view: &FleetView, policy: &FleetPolicy, now: Timestamp) -> Decision {
    match policy.backing {
        Backing::Server => purchase::decide(view, policy, now),
        Backing::Local | Backing::Static => Decision { actions: count_up(view, policy, now), outlook: None },
    }
}

/// Adds as many workers as what waits needs, all of one size.
fn count_up(view: &FleetView, policy: &FleetPolicy, now: Timestamp) -> Vec<(Action, Reason)> {
    let patient = view.demand.iter().all(|demand| since(now, demand.oldest_queued_at) < policy.patience);
    let resting = view.failed_at.is_some_and(|failed| since(now, failed) < rest_after(view.failed_in_a_row));
    if patient || resting {
        return Vec::new();
    }
    let waiting = fitting(&view.demand, policy);
    let places: u32 = view.workers.iter().map(|worker| places_on(worker, &view.demand)).sum();
    let allowed = policy.workers_max.saturating_sub(standing(view)) as usize;
    let per_worker = places_in(policy.new_worker, policy.new_worker_slots, &view.demand).max(1);
    let wanted = waiting.saturating_sub(places).div_ceil(per_worker) as usize;
    (0..wanted.min(allowed))
        .map(|_| (Action::AddWorker, Reason::Waiting { executions: waiting, places }))
        .collect()
}

/// Workers that count against the limit: all but static ones, those that are being removed included.
pub(super) fn standing(view: &FleetView) -> u32 {
    let counted = |w: &&WorkerView| w.backing != Backing::Static && w.status != WorkerStatus::Terminated;
    view.workers.iter().filter(counted).count() as u32
}

/// The longest rest after workers that failed.
const REST_MAX: Duration = Duration::from_secs(60);

/// How long no worker is added after `failures` in a row: one second, doubled each time.
fn rest_after(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        n => Duration::from_secs(1 << (n - 1).min(6)).min(REST_MAX),
    }
}

/// Waiting executions that a new worker could hold: for the others adding one is no help.
fn fitting(demand: &[Demand], policy: &FleetPolicy) -> u32 {
    demand
        .iter()
        .filter(|demand| policy.new_worker.holds(&demand.wanted))
        .fold(0, |sum, demand| sum.saturating_add(demand.executions))
}

/// Attempts that could be started on a worker that is there or on its way.
fn places_on(worker: &WorkerView, demand: &[Demand]) -> u32 {
    match worker.status {
        WorkerStatus::Provisioning | WorkerStatus::Active => {
            let free = worker.slots.saturating_sub(worker.open_attempts);
            places_in(worker.capacity, free, demand)
        }
        WorkerStatus::Draining
        | WorkerStatus::Dead
        | WorkerStatus::Failed
        | WorkerStatus::Terminating
        | WorkerStatus::Terminated => 0,
    }
}

/// Attempts of the waiting classes that `capacity` and `slots` hold at once, the smallest classes first.
fn places_in(capacity: Capacity, slots: u32, demand: &[Demand]) -> u32 {
    let mut classes: Vec<_> = demand.iter().filter(|demand| capacity.holds(&demand.wanted)).collect();
    classes.sort_by_key(|demand| (demand.wanted.cpu_millis, demand.wanted.memory_bytes));
    let mut room = Room { free: capacity, slots };
    for class in classes {
        room.take(&class.wanted, class.executions);
    }
    slots - room.slots
}

/// What is left of a worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) free: Capacity,
    pub(super) slots: u32,
}

impl Room {
    /// What is left of a worker beside what it runs.
    pub(super) fn of(worker: &WorkerView) -> Self {
        let (all, used) = (worker.capacity, worker.used);
        Self {
            free: Capacity {
                cpu_millis: all.cpu_millis.saturating_sub(used.cpu_millis),
                memory_bytes: all.memory_bytes.saturating_sub(used.memory_bytes),
                disk_bytes: all.disk_bytes.saturating_sub(used.disk_bytes),
            },
            slots: worker.slots.saturating_sub(worker.open_attempts),
        }
    }

    /// Gives room to as many of `count` attempts as it holds, and says how many.
    pub(super) fn take(&mut self, wanted: &Capacity, count: u32) -> u32 {
        if count == 0 || self.slots == 0 || !self.free.holds(wanted) {
            return 0;
        }
        let times = |has: u64, wants: u64| {
            has.checked_div(wants).map_or(u32::MAX, |n| n.min(u64::from(u32::MAX)) as u32)
        };
        let taken = count
            .min(self.slots)
            .min(times(u64::from(self.free.cpu_millis), u64::from(wanted.cpu_millis)))
            .min(times(self.free.memory_bytes, wanted.memory_bytes))
            .min(times(self.free.disk_bytes, wanted.disk_bytes));
        self.free.cpu_millis -= taken * wanted.cpu_millis;
        self.free.memory_bytes -= u64::from(taken) * wanted.memory_bytes;
        self.free.disk_bytes -= u64::from(taken) * wanted.disk_bytes;
        self.slots -= taken;
        taken
    }
}
