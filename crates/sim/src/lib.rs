//! A seeded world with a virtual clock that runs core's decisions in fast time: what a policy costs, how long work
//! waits, and whether the rules hold at every step.
//!
//! It may use core and nothing else of ours: it proves that core is enough.
#![warn(missing_docs)]

mod baselines;
mod clock;
pub mod faults;
pub mod json;
mod mind;
mod queue;
pub mod random;
pub mod report;
pub mod rules;
pub mod setup;
pub mod svg;
pub mod table;
pub mod trace;
pub mod workload;
mod world;

use crate::faults::Scenario;
use crate::report::Run;
use crate::setup::Setup;
use crate::trace::Execution;

/// Runs one policy over executions, which are in the order of their submission.
pub fn run(setup: &Setup, executions: &[Execution]) -> Run {
    world::World::new(setup, executions, &[]).run()
}

/// Runs RGrid's own policy over a scenario, in which servers and the provider fail.
pub fn run_scenario(setup: &Setup, scenario: &Scenario) -> Run {
    world::World::new(setup, &scenario.executions, &scenario.faults).run()
}
