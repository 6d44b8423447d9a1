//! A stand-in for the Hetzner Cloud API, as `hetzner-sim` and as a library for tests: the provider's shapes, errors,
//! limits and delays, a clock that can be stepped, a bill in millionths of a euro, a journal of requests, and faults.
//!
//! Everything that is decided is in a world that reads no clock and waits for nothing; the rest carries it over HTTP.
//! None of our other crates is under it: what it says of money and servers is independent of what they think.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use hetzner_sim::{Deed, Options, Stand};
//! let stand = Stand::start(Options::default()).await?;
//! // ... talk to stand.endpoint() with stand.token() ...
//! stand.step(std::time::Duration::from_secs(3600));
//! stand.happen(Deed::Drain { left: 0 })?;
//! assert_eq!(stand.ledger().micros, 0);
//! stand.stop().await;
//! # Ok(()) }
//! ```
#![warn(missing_docs)]

mod actions;
mod agenda;
mod body;
mod budget;
mod call;
mod catalog;
mod control;
mod dice;
mod errors;
mod fates;
mod faults;
mod firewalls;
mod guests;
mod journal;
mod labels;
mod ledger;
mod listing;
mod metadata;
mod money;
mod networks;
mod options;
mod placement_groups;
mod primary_ips;
mod servers;
mod shell;
mod ssh_keys;
mod stand;
mod state_file;
mod world;

pub use fates::Fate;
pub use faults::{Deed, Effect, Fault, Matching, Standing};
pub use journal::Request;
pub use ledger::{Bill, Billed, Line};
pub use options::{Guests, Limits, Options, Pace, Profile, Timings, Token};
pub use servers::{Guest, Status};
pub use stand::{Error, ServerView, Stand};
