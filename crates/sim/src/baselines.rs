//! What RGrid's policy is compared with. Each uses the same servers, the same boot time and the same queue.

use rgrid_core::fleet::Order;
use rgrid_core::fleet::ladder;
use rgrid_core::worker::{WorkerStatus, WorkerStep};

use crate::clock::{at, ms};
use crate::world::World;

/// The earlier implementation looked once a minute.
const EARLIER_TICK: i64 = 60_000;
/// It assumed two executions on a server, whatever its size.
const EARLIER_PER_SERVER: usize = 2;
/// It deleted idle servers in the last minutes of each of their hours.
const EARLIER_LAST: i64 = 5 * 60_000;
/// Keep-alive deletes a server after this long without work.
const KEEP_ALIVE: i64 = 5 * 60_000;
/// Milliseconds of an hour.
const HOUR: i64 = 3_600_000;

/// What can be ordered: these worlds have one type.
fn order(world: &World) -> Option<Order> {
    let cells = ladder::cells(&world.view.market, &world.policy.servers, at(world.now));
    cells.into_iter().next().map(|cell| cell.order)
}

/// Gives what waits to the first servers with room, oldest first.
fn serve(world: &mut World) {
    let mut order: Vec<usize> = (0..world.view.workers.len()).collect();
    order.sort_by_key(|index| world.machines[*index].server);
    for index in order {
        loop {
            let worker = &world.view.workers[index];
            if worker.status != WorkerStatus::Active || worker.open_attempts >= worker.slots {
                break;
            }
            let free = worker.capacity.cpu_millis - worker.used.cpu_millis;
            let Some(number) = world.queue.oldest().next() else { return };
            if world.executions[number].cpu_millis > free {
                break;
            }
            world.start(number, index);
        }
    }
}

/// Places on servers that are there or on their way.
fn free(world: &World) -> usize {
    let places = |worker: &rgrid_core::fleet::WorkerView| (worker.slots - worker.open_attempts) as usize;
    world.view.workers.iter().map(places).sum()
}

fn buy(world: &mut World, wanted: usize) {
    let room = (world.setup.workers_max as usize).saturating_sub(world.view.workers.len());
    let Some(order) = order(world) else { return };
    for _ in 0..wanted.min(room) {
        world.order(&order);
    }
}

/// Deletes idle servers for which `due` says so.
fn release(world: &mut World, due: impl Fn(&World, usize) -> bool) {
    for index in (0..world.view.workers.len()).rev() {
        let worker = &world.view.workers[index];
        let idle = worker.status == WorkerStatus::Active && worker.open_attempts == 0;
        if idle && due(world, index) {
            world.step(index, WorkerStep::Drain);
            world.step(index, WorkerStep::Terminate);
            world.delete(index);
        }
    }
}

/// Every 60 s: ceil((queued - free) / 2) servers, up to the cap; idle ones are deleted in the last 5 minutes of each
/// of their hours. `more` says that executions are still to come.
pub(crate) fn earlier(world: &mut World, more: bool) {
    serve(world);
    if world.now % EARLIER_TICK != 0 {
        return;
    }
    let missing = world.queue.len().saturating_sub(free(world));
    buy(world, missing.div_ceil(EARLIER_PER_SERVER));
    release(world, |world, index| {
        let created = world.view.workers[index].created_at;
        (world.now - ms(created)) % HOUR >= HOUR - EARLIER_LAST
    });
    if more || !world.view.workers.is_empty() || !world.queue.is_empty() {
        world.look_again(world.now + EARLIER_TICK);
    }
}

/// A server at once for what finds no place; deleted after 5 minutes without work.
pub(crate) fn keep_alive(world: &mut World) {
    serve(world);
    let missing = world.queue.len().saturating_sub(free(world));
    buy(world, missing.div_ceil(world.setup.cpus_per_worker as usize));
    let idle_from = |world: &World, index: usize| world.view.workers[index].idle_since.map(ms);
    release(world, |world, index| idle_from(world, index).is_some_and(|from| world.now - from >= KEEP_ALIVE));
    let idle = (0..world.view.workers.len()).filter_map(|index| idle_from(world, index)).min();
    if let Some(from) = idle {
        world.look_again(from + KEEP_ALIVE);
    }
}
