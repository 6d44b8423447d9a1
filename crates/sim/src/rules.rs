//! The rules that hold always (DESIGN section 10), as far as a world without rows and bytes can break them: checked at
//! every step, and counted, so that nobody mistakes a check that was never made for a rule that holds.

use std::collections::BTreeMap;

use rgrid_core::money::{Micros, ServerPrice};

use crate::clock::at;
use crate::report::Run;
use crate::world::World;

/// How often each rule was checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checks(pub BTreeMap<&'static str, u64>);

impl Checks {
    /// Counts a check of a rule, which must hold.
    pub(crate) fn check(&mut self, rule: &'static str, holds: bool, now: i64) {
        *self.0.entry(rule).or_default() += 1;
        assert!(holds, "at {} ms: {rule}", now);
    }
}

/// A long trace in a release build is looked at at each of so many steps; everything else at every one.
const SPARSE: u64 = 64;

/// What must hold after each step of a world.
pub(crate) fn after_step(world: &mut World, arrived: usize, finished: usize) {
    world.steps += 1;
    let all = cfg!(debug_assertions) || !world.faults.is_empty();
    if !all && !world.steps.is_multiple_of(SPARSE) {
        return;
    }
    let held: usize = world.machines.iter().map(|machine| machine.held.len()).sum();
    let known = world.queue.len() + held + finished;
    let one_attempt = held == world.view.running.len() && world.current_are_held();
    let within = world.view.workers.len() <= world.setup.workers_max as usize;
    let fits = world.view.workers.iter().all(|worker| {
        worker.open_attempts <= worker.slots && worker.used.cpu_millis <= worker.capacity.cpu_millis
    });
    let now = world.now;
    let checks = &mut world.checks;
    checks.check("1: no acknowledged submission is lost", known == arrived, now);
    checks.check("2: at most one current attempt per execution", one_attempt, now);
    checks.check("6: no more servers than are allowed", within, now);
    checks.check("16: no worker is given more than it holds", fits, now);
}

/// What must hold when all is over.
pub(crate) fn at_the_end(run: &mut Run, arrived: usize) {
    let end = run.servers.iter().map(|server| server.deleted).max().unwrap_or(0);
    let over = run.executions.iter().all(|e| e.finished < i64::MAX && e.started >= e.submitted);
    let gone = run.servers.iter().all(|server| server.deleted < i64::MAX);
    // Counted hour by hour, and not as the summary does it.
    let lines = |server: &crate::report::ServerRecord| {
        let price = u32::try_from(server.price.0).unwrap_or(u32::MAX);
        let rate =
            rgrid_core::money::Rate { hour: rgrid_core::money::Price::from_micros(price), month: None };
        ServerPrice { server: rate, ipv4: None }.bill(at(server.created), at(server.deleted))
    };
    let equal = !gone || run.servers.iter().map(lines).sum::<Micros>() == run.summary().bill;
    run.checks.check("1: every submission came to its end", over && run.executions.len() == arrived, end);
    run.checks.check("6: no server is left", gone, end);
    run.checks.check("8: the ledger equals an independent recomputation", equal, end);
}
