//! Facts about core that hold for any input.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod cost;
mod fleet;
mod hint;
mod money;
mod servers;
mod states;
mod transitions;
