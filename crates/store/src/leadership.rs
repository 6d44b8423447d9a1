//! Which orchestrator leads: a row with holder, term and deadline. Each fleet write checks the term in its own
//! transaction.

use rgrid_core::Timestamp;

use crate::{Result, Store};

/// Leadership, as it was given. A new holder has a higher term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// The number that every write checks.
    pub number: i64,
    /// Until when, by PostgreSQL's clock.
    pub deadline: Timestamp,
}

impl Store {
    /// Takes or renews leadership for `limits::LEADER_TTL`; `None` when another holds it.
    pub async fn lead(&self, holder: &str) -> Result<Option<Term>> {
        let _ = holder;
        todo!()
    }

    /// Gives leadership up, so that another need not wait for the deadline.
    pub async fn resign(&self, holder: &str) -> Result<()> {
        let _ = holder;
        todo!()
    }
}
