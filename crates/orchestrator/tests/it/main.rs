//! The orchestrator over a real database, with a cloud that the test moves by hand.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod audit;
mod bought;
mod calls;
mod foresight;
mod local;
mod metadata;
mod misfortunes;
mod orders;
mod rounds;
mod ssh_key;
mod stage;
