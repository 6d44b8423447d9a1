//! How many workers to add: what waits, as limits would let it run, against what is there or on its way.

use std::time::Duration;

use crate::Timestamp;
use crate::fleet::{Action, Backing, Demand, FleetPolicy, FleetView, Reason, WorkerView, since};
use crate::worker::{Capacity, WorkerStatus};

/// Plans the duty.
pub fn plan(view: &FleetView, policy: &FleetPolicy, now: Timestamp) -> Vec<(Action, Reason)> {
    let patient = view.demand.iter().all(|demand| since(now, demand.oldest_queued_at) < policy.patience);
    let resting = view.failed_at.is_some_and(|failed| since(now, failed) < rest_after(view.failed_in_a_row));
    if patient || resting {
        return Vec::new();
    }
    let waiting = fitting(&view.demand, policy);
    let places: u32 = view.workers.iter().map(|worker| places_on(worker, &view.demand)).sum();
    let standing = view
        .workers
        .iter()
        .filter(|w| w.backing != Backing::Static && w.status != WorkerStatus::Terminated)
        .count();
    let allowed = (policy.workers_max as usize).saturating_sub(standing);
    let per_worker = places_in(policy.new_worker, policy.new_worker_slots, &view.demand).max(1);
    let wanted = waiting.saturating_sub(places).div_ceil(per_worker) as usize;
    (0..wanted.min(allowed))
        .map(|_| (Action::AddWorker, Reason::Waiting { executions: waiting, places }))
        .collect()
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
    let (mut cpu, mut memory, mut slots_left) = (capacity.cpu_millis, capacity.memory_bytes, slots);
    for class in classes {
        let by_cpu = cpu.checked_div(class.wanted.cpu_millis).unwrap_or(u32::MAX);
        let by_memory = memory
            .checked_div(class.wanted.memory_bytes)
            .map_or(u32::MAX, |n| n.min(u64::from(u32::MAX)) as u32);
        let count = class.executions.min(by_cpu).min(by_memory).min(slots_left);
        cpu -= count * class.wanted.cpu_millis;
        memory -= u64::from(count) * class.wanted.memory_bytes;
        slots_left -= count;
    }
    slots - slots_left
}
