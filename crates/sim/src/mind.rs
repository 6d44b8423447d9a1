//! RGrid's own policy in the simulated world: core's functions, called as the API and the orchestrator call them. A
//! claim hands out what waits, a round plans and acts; nothing is decided here.

use std::time::Duration;

use rgrid_core::fleet::{Action, health, lifecycle, provisioning};
use rgrid_core::id::{AccountId, ExecutionId};
use rgrid_core::limits;
use rgrid_core::money::paid_until;
use rgrid_core::placement::{self, Candidate, Load, Offer, Paid};
use rgrid_core::worker::{Capacity, WorkerStatus, WorkerStep};

use crate::clock::{at, ms, span};
use crate::world::{NOTHING, World};

/// A round is made this often while something waits.
const ROUND: i64 = 1000;

/// Hands out what waits, plans when there is reason to, and hands out again.
pub(crate) fn act(world: &mut World) {
    claim(world);
    if !world.nudged {
        return;
    }
    world.nudged = false;
    if round(world) {
        world.look_again(world.now + ROUND);
    }
    if !world.queue.is_empty() {
        world.look_again(world.now + ROUND);
    }
    if let Some(edge) = next_edge(world) {
        world.look_again(edge);
    }
}

/// The next moment at which a server comes within the margin of its hour's edge.
fn next_edge(world: &World) -> Option<i64> {
    let now = at(world.now);
    let margin = world.policy.servers.edge_margin;
    let created = world.view.workers.iter().filter_map(|worker| worker.server.as_ref()?.created);
    created
        .map(|created| ms(paid_until(created, now + margin)) - span(margin))
        .filter(|time| *time > world.now)
        .min()
}

/// Serves the workers that have room, as the API's claimer does.
fn claim(world: &mut World) {
    while !world.queue.is_empty() {
        let now = at(world.now);
        let mut places = 0;
        let mut offers = Vec::new();
        for (worker, machine) in world.view.workers.iter().zip(&world.machines) {
            let slots = worker.slots.saturating_sub(worker.open_attempts);
            if worker.status != WorkerStatus::Active || slots == 0 {
                continue;
            }
            places += slots;
            let created = worker.server.as_ref().and_then(|server| server.created);
            let oldest = machine.held.iter().map(|held| held.started).min();
            offers.push(Offer {
                worker: worker.id,
                slots,
                free: Capacity {
                    cpu_millis: worker.capacity.cpu_millis - worker.used.cpu_millis,
                    ..worker.capacity
                },
                whole: worker.capacity,
                docker: false,
                paid: created.map(|created| Paid {
                    left: (paid_until(created, now) - now).to_std().unwrap_or_default(),
                    held_for: oldest
                        .map(|started| Duration::from_millis((world.now - started).unsigned_abs())),
                }),
            });
        }
        if places == 0 {
            return;
        }
        let numbers: Vec<usize> =
            world.queue.oldest().take(limits::CLAIM_ATTEMPTS_MAX.min(places as usize)).collect();
        let candidates: Vec<Candidate> =
            numbers.iter().enumerate().map(|(n, number)| candidate(world, n, *number)).collect();
        let placed = placement::place(&offers, &candidates, &Load::default(), now);
        if placed.is_empty() {
            return;
        }
        for (execution, worker) in placed {
            let place = candidates.iter().position(|candidate| candidate.execution == execution);
            let (Some(place), Some(index)) = (place, world.find(worker)) else { continue };
            world.start(numbers[place], index);
        }
    }
}

fn candidate(world: &World, n: usize, number: usize) -> Candidate {
    let execution = &world.executions[number];
    let mut random = [0; 10];
    random[2..].copy_from_slice(&(n as u64).to_be_bytes());
    Candidate {
        execution: ExecutionId::new(0, random),
        account: AccountId::new(0, [0; 10]),
        batch: None,
        priority: 0,
        since: at(execution.submitted),
        wanted: Capacity { cpu_millis: execution.cpu_millis, ..NOTHING },
        docker: false,
    }
}

/// One round of the orchestrator: the three duties over one view. True when something was done.
fn round(world: &mut World) -> bool {
    let now = at(world.now);
    world.view.demand = world.queue.demand(world.now, span(world.policy.patience));
    for worker in &mut world.view.workers {
        if worker.joined_at.is_some() {
            worker.last_heartbeat_at = Some(now);
        }
    }
    let (view, policy) = (&world.view, &world.policy);
    let mut actions = health::plan(view, policy, now, None);
    actions.extend(provisioning::plan(view, policy, now));
    actions.extend(lifecycle::plan(view, policy, now));
    let acted = !actions.is_empty();
    for (action, _) in actions {
        apply(world, &action);
    }
    acted
}

fn apply(world: &mut World, action: &Action) {
    match action {
        Action::AddServer(order) => {
            world.order(order);
        }
        Action::Drain(worker) => {
            if let Some(index) = world.find(*worker) {
                world.step(index, WorkerStep::Drain);
            }
        }
        Action::Terminate(worker) => {
            if let Some(index) = world.find(*worker) {
                world.step(index, WorkerStep::Terminate);
                world.delete(index);
            }
        }
        Action::LoseAttempt { .. }
        | Action::MarkDead(_)
        | Action::MarkFailed(_)
        | Action::AddWorker
        | Action::DeleteMachine(_)
        | Action::MarkTerminated(_) => panic!("in a world without faults nobody says {action:?}"),
    }
}
