//! The simulator against traces: what it reads, that anyone can recompute what it says, and what the policy reaches.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod runs;
mod traces;
