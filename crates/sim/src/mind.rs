//! RGrid's own policy in the simulated world: core's functions, called as the API and the orchestrator call them. A
//! claim hands out what waits, a round plans and acts; nothing is decided here.

use std::time::Duration;

use rgrid_core::fleet::ladder::Refusal;
use rgrid_core::fleet::{Action, health, lifecycle, provisioning};
use rgrid_core::id::{AccountId, ExecutionId, WorkerId};
use rgrid_core::limits;
use rgrid_core::money::paid_until;
use rgrid_core::placement::{self, Candidate, Load, Offer, Paid};
use rgrid_core::worker::{Capacity, WorkerStatus, WorkerStep};

use crate::clock::{at, ms, span};
use crate::world::{NOTHING, World};

/// A killed worker's executions are queued again within this: dead after 25 s, and a round.
const REQUEUE_MAX: i64 = 26_000;
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
    let failing = !world.faults.is_empty() && !world.view.workers.is_empty();
    if failing || !world.queue.is_empty() {
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
            // Who is not heard of asks for no work.
            let asks = machine.died.is_none() && machine.silent_until <= world.now;
            if worker.status != WorkerStatus::Active || slots == 0 || !asks {
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
    hear(world);
    let (view, policy) = (&world.view, &world.policy);
    let mut actions = health::plan(view, policy, now, None);
    let decision = provisioning::decide(view, policy, now);
    let told = decision.outlook.is_some();
    actions.extend(decision.actions);
    actions.extend(lifecycle::plan(view, policy, now));
    let acted = !actions.is_empty();
    let free = view.workers.iter().any(|w| w.status == WorkerStatus::Active && w.open_attempts < w.slots);
    let explained = world.queue.is_empty() || free || told;
    world.checks.check("4: what waits is claimable or waits for a reason with a name", explained, world.now);
    for (action, _) in actions {
        apply(world, &action);
    }
    acted
}

/// Heartbeats arrive; a worker that was called dead and is heard of takes work again.
fn hear(world: &mut World) {
    let now = at(world.now);
    for index in 0..world.view.workers.len() {
        let machine = &world.machines[index];
        let heard = machine.died.is_none() && machine.silent_until <= world.now;
        let worker = &mut world.view.workers[index];
        if worker.joined_at.is_some() && heard {
            worker.last_heartbeat_at = Some(now);
            if worker.status == WorkerStatus::Dead {
                world.step(index, WorkerStep::Return);
            }
        }
    }
}

fn apply(world: &mut World, action: &Action) {
    match action {
        Action::AddServer(order) => {
            let sold_out = world.sold_out.get(&order.location).is_some_and(|until| *until > world.now);
            let refusals = &mut world.view.market.refusals;
            let cell =
                |r: &&mut Refusal| r.machine_type == order.machine_type && r.location == order.location;
            match (sold_out, refusals.iter_mut().find(cell)) {
                (true, Some(refusal)) => {
                    refusal.in_a_row += 1;
                    refusal.at = at(world.now);
                }
                (true, None) => refusals.push(Refusal {
                    machine_type: order.machine_type.clone(),
                    location: order.location.clone(),
                    in_a_row: 1,
                    at: at(world.now),
                }),
                (false, _) => {
                    refusals.retain(|refusal| refusal.location != order.location);
                    world.order(order);
                }
            }
        }
        Action::Drain(worker) => step(world, *worker, WorkerStep::Drain),
        Action::MarkFailed(worker) => {
            step(world, *worker, WorkerStep::NeverJoined);
            world.view.failed_in_a_row += 1;
            world.view.failed_at = Some(at(world.now));
        }
        Action::MarkDead(worker) => {
            step(world, *worker, WorkerStep::FallSilent);
            if let Some(index) = world.find(*worker) {
                let in_time = world.machines[index].died.is_none_or(|died| world.now - died <= REQUEUE_MAX);
                world.checks.check(
                    "5: a killed worker's executions are queued again in time",
                    in_time,
                    world.now,
                );
                world.lose_attempts(index);
            }
        }
        Action::Terminate(worker) => {
            step(world, *worker, WorkerStep::Terminate);
            if let Some(index) = world.find(*worker) {
                let idle = world.machines[index].held.is_empty();
                world.checks.check("7: no server with work is deleted", idle, world.now);
                world.delete(index);
            }
        }
        Action::LoseAttempt { .. }
        | Action::AddWorker
        | Action::DeleteMachine(_)
        | Action::MarkTerminated(_) => panic!("in this world nobody says {action:?}"),
    }
}

fn step(world: &mut World, worker: WorkerId, step: WorkerStep) {
    if let Some(index) = world.find(worker) {
        world.step(index, step);
    }
}
