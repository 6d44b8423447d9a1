//! Keeps the fleet right: observe, plan, apply. The deciding is core's; here it is read, written and called out.
//!
//! One leads, by a row with a term that every write checks; the others wait to take over. The loop has no input: it
//! looks at the whole state each time, on a timer and on a nudge, and what failed is tried again by the next round.

mod apply;
pub mod audit;
mod bought;
pub mod cloud;
mod errands;
mod error;
mod experience;
mod guards;
mod housekeeping;
mod lease;
mod observe;
mod rounds;

pub use bought::Period;
pub use error::Error;
pub use rounds::{Config, Spending, run};
