//! What RGrid is: its words as types, the two tables of transitions, and every decision.
//!
//! Nothing here waits, reads a clock, draws a random number or touches a file: time, ids and randomness come in
//! as arguments, so that the simulator and the tests can be exact. The wire format is `rgrid-api`'s and the row
//! format `rgrid-store`'s; neither belongs here.
#![warn(missing_docs)]

pub mod cost;
pub mod dependencies;
pub mod environment;
pub mod execution;
pub mod fleet;
mod guards;
pub mod hint;
pub mod id;
pub mod limits;
pub mod money;
pub mod outcome;
pub mod path;
pub mod placement;
pub mod quantity;
pub mod requires_python;
pub mod retry;
pub mod reuse;
pub mod runtime;
pub mod secret;
pub mod sizes;
pub mod submission;
pub mod worker;

/// A moment, as PostgreSQL's clock tells it.
pub type Timestamp = chrono::DateTime<chrono::Utc>;
