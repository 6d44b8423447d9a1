//! The store against a small model, in random order: what is submitted, claimed, named, finished, cancelled, handed
//! back, lost, and what dies or pauses meanwhile. After each step the rows are those of the model and the rules of
//! DESIGN section 10 hold; at the end everything comes to an end.
//!
//! `RGRID_RANDOM_CASES` says how many sequences are tried: few in CI, all under `cargo xtask soak --random`. Sequences
//! that failed once are kept in `proptest-regressions/random.txt` and are tried first; `RGRID_RANDOM_FORGET` keeps none.

mod act;
mod clock;
mod model;
mod rows;
mod step;
mod world;

use std::cell::RefCell;

use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestError, TestRunner};
use rgrid_core::execution::Status;

use step::{Leader, Said};
use world::World;

/// Sequences that are tried unless the environment says how many.
const CASES: u32 = 20;
/// Shorter sequences that are tried when one has failed.
const SHRINKS: u32 = 400;
/// Steps of a sequence.
const STEPS: std::ops::Range<usize> = 20..60;
/// Rounds in which everything must have ended once nothing is in its way.
const SETTLE_ROUNDS: usize = 40;

#[test]
fn whatever_happens_in_whatever_order_the_rows_are_those_of_the_model() {
    let cases = std::env::var("RGRID_RANDOM_CASES").ok().map(|text| text.parse().expect("a number of cases"));
    // Where a failure is wanted, it is neither kept nor made shorter.
    let (kept, max_shrink_iters) = match std::env::var_os("RGRID_RANDOM_FORGET") {
        Some(_) => (FileFailurePersistence::Off, 0),
        None => (FileFailurePersistence::Direct("proptest-regressions/random.txt"), SHRINKS),
    };
    let config = Config {
        cases: cases.unwrap_or(CASES),
        failure_persistence: Some(Box::new(kept)),
        max_shrink_iters,
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let steps = prop::collection::vec(step::step(), STEPS);
    // The world of the sequence before; one that has failed is not used again.
    let last: RefCell<Option<World>> = RefCell::new(None);
    let result = TestRunner::new(config).run(&steps, |steps| {
        let before = last.borrow_mut().take();
        let world = runtime.block_on(async {
            let mut world = match before {
                Some(world) => world.again().await,
                None => World::new().await,
            };
            for step in &steps {
                world.step(step).await;
            }
            settle(&mut world).await;
            world
        });
        last.replace(Some(world));
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(why, steps)) => panic!("{why}\nafter {steps:#?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

/// With heartbeats accepted, a leader and a worker, whatever has its inputs comes to an end.
async fn settle(world: &mut World) {
    for _ in 0..SETTLE_ROUNDS {
        let ended = |status: Status| status.is_terminal() || status == Status::Pending;
        if world.model.executions.values().all(|execution| ended(execution.status)) {
            return;
        }
        world.next_turn().await;
        world.tick(30, true).await;
        world.tick(30, true).await;
        let leader = Leader { holder: 0, renews: true };
        world.round(leader).await;
        world.compare().await;
        world.new_worker().await;
        let all: Vec<(usize, u32)> = (0..world.workers.len()).map(|worker| (worker, 9)).collect();
        world.claim(&all, true, None).await;
        let from = world.attempts.len();
        for _ in 0..from {
            world.finish(1, Said::Done, 0, None).await;
        }
        world.compare().await;
    }
    panic!("after {SETTLE_ROUNDS} rounds something still waits: {:#?}", world.model.executions);
}
