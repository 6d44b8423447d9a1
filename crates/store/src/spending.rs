//! What was spent, and what ran for it: the lines of the ledger and the attempts on the servers they are of.

use rgrid_core::Timestamp;
use rgrid_core::cost::{Line, Used};
use rgrid_core::id::{AccountId, ExecutionId};
use rgrid_core::money::Micros;
use sqlx::Row;

use crate::row::Columns;
use crate::{Result, Store};

/// All of it since a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// The lines of hours that began since then.
    pub lines: Vec<Line>,
    /// Attempts that ended since then, or run; of executions that are kept.
    pub attempts: Vec<SpentAttempt>,
}

/// An attempt on a billed server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpentAttempt {
    /// Whose.
    pub account_id: AccountId,
    /// Its execution.
    pub execution_id: ExecutionId,
    /// Its number.
    pub number: u32,
    /// The execution's name; its program where it has none.
    pub name: String,
    /// The server's name.
    pub server: String,
    /// What it held, and when.
    pub used: Used,
}

impl Store {
    /// What was spent since a moment, and on what, in one snapshot.
    pub async fn spent(&self, since: Timestamp) -> Result<Spent> {
        let mut transaction =
            self.begin_with(Some("begin isolation level repeatable read, read only")).await?;
        let lines = sqlx::query(include_str!("../queries/ledger/hours.sql"))
            .bind(since)
            .fetch_all(&mut *transaction)
            .await?;
        let attempts = sqlx::query(include_str!("../queries/ledger/attempts.sql"))
            .bind(since)
            .fetch_all(&mut *transaction)
            .await?;
        transaction.commit().await?;
        let lines = lines.iter().map(|row| {
            Ok(Line {
                server: row.text("intent_id")?,
                hour_start: row.try_get("hour_start")?,
                amount: Micros(row.try_get("micros")?),
                cpu_millis: row.number32("cpu_millis")?,
            })
        });
        let attempts = attempts.iter().map(|row| {
            Ok(SpentAttempt {
                account_id: row.text("account_id")?,
                execution_id: row.text("execution_id")?,
                number: row.number32("number")?,
                name: row.try_get("name")?,
                server: row.try_get("server")?,
                used: Used {
                    server: row.text("intent_id")?,
                    cpu_millis: row.number32("cpu_millis")?,
                    from: row.try_get("held_from")?,
                    to: row.try_get("held_to")?,
                },
            })
        });
        Ok(Spent { lines: lines.collect::<Result<_>>()?, attempts: attempts.collect::<Result<_>>()? })
    }
}
