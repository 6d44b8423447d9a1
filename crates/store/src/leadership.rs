//! Which orchestrator leads: a row with holder, term and deadline. Each fleet write checks the term in its own
//! transaction.

use rgrid_core::{Timestamp, limits};
use sqlx::{PgConnection, Row};

use crate::{Error, Result, Store, guards, row};

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
        let row =
            sqlx::query(guards::sql(&[&guards::ONE_LEADER], include_str!("../queries/leadership/lead.sql")))
                .bind(holder)
                .bind(row::millis(limits::LEADER_TTL))
                .fetch_optional(self.pool())
                .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Term { number: row.try_get("term")?, deadline: row.try_get("deadline")? }))
    }

    /// Gives leadership up, so that another need not wait for the deadline.
    pub async fn resign(&self, holder: &str) -> Result<()> {
        sqlx::query(include_str!("../queries/leadership/resign.sql"))
            .bind(holder)
            .execute(self.pool())
            .await?;
        Ok(())
    }
}

/// Checks the term in the transaction that is about to write, and holds it to its end.
pub(crate) async fn check(connection: &mut PgConnection, term: &Term) -> Result<()> {
    let leads = sqlx::query(guards::sql(
        &[&guards::LEADER_TERM, &guards::LEADER_DEADLINE],
        include_str!("../queries/leadership/check.sql"),
    ))
    .bind(term.number)
    .fetch_optional(connection)
    .await?;
    if leads.is_some() { Ok(()) } else { Err(Error::NotLeader) }
}
