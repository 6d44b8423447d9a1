//! The simulator against traces and scenarios: what it reads, that anyone can recompute what it says, what the policy
//! reaches, and that the rules hold when servers fail.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod runs;
mod scenarios;
mod traces;
