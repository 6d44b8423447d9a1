//! Directives: what is wanted of a running attempt, as a whole. A newer version replaces an older one.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use rgrid_core::id::{ExecutionId, WorkerId};
use rgrid_core::outcome::CancelledBy;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use crate::row::{self, Columns};
use crate::{Result, Store, outcome, secret};

/// An attempt that a runner says it holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Held {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The attempt's number.
    pub attempt: u32,
    /// The attempt's token.
    pub token: String,
    /// Version of the newest directive the runner has seen for it; 0 for none.
    pub directive: u64,
}

/// What is wanted of a running attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectiveRow {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The attempt's number.
    pub attempt: u32,
    /// Grows with each change; 1 at the claim.
    pub version: u64,
    /// End it, because this one asked.
    pub cancel: Option<CancelledBy>,
    /// How long it may run in all.
    pub timeout: Duration,
    /// Somebody follows: push log bytes at once.
    pub followed: bool,
}

/// What a runner does not know yet of what it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directives {
    /// Directives newer than those it has seen.
    pub directives: Vec<DirectiveRow>,
    /// What it holds and must end: it is not current.
    pub not_current: Vec<Held>,
    /// It shall finish what it holds and leave.
    pub drain: bool,
}

impl Store {
    /// Answers a poll or a heartbeat of a worker.
    pub async fn directives(&self, worker: WorkerId, holding: &[Held]) -> Result<Directives> {
        let mut connection = self.pool().acquire().await?;
        let mut answers = read(&mut connection, &[(worker, holding)]).await?;
        Ok(answers.pop().unwrap_or_default())
    }

    /// True when the worker shall finish what it holds and leave.
    pub async fn worker_drain(&self, worker: WorkerId) -> Result<bool> {
        Ok(self.directives(worker, &[]).await?.drain)
    }
}

/// What each worker does not know yet of what it holds, in the same order.
pub(crate) async fn read(
    connection: &mut PgConnection,
    workers: &[(WorkerId, &[Held])],
) -> Result<Vec<Directives>> {
    let ids: Vec<String> = workers.iter().map(|(worker, _)| worker.to_string()).collect();
    let staying: HashSet<String> = sqlx::query_scalar(include_str!("../queries/directives/drains.sql"))
        .bind(&ids)
        .fetch_all(&mut *connection)
        .await?
        .into_iter()
        .collect();
    let held = HeldColumns::of(workers);
    let mut current: HashMap<i64, DirectiveRow> = HashMap::with_capacity(held.ids.len());
    if !held.ids.is_empty() {
        let rows = sqlx::query(include_str!("../queries/directives/read.sql"))
            .bind(&held.ids)
            .bind(&held.numbers)
            .bind(&held.hashes)
            .bind(&held.workers)
            .fetch_all(connection)
            .await?;
        for row in &rows {
            current.insert(row.try_get("position")?, DirectiveRow::read(row)?);
        }
    }
    // Positions count the attempts of all workers, from 1.
    let mut position = 0;
    let mut answers = Vec::with_capacity(workers.len());
    for ((_, holding), id) in workers.iter().zip(&ids) {
        let mut answer = Directives { drain: !staying.contains(id), ..Directives::default() };
        for held in *holding {
            position += 1;
            match current.get(&position) {
                None => answer.not_current.push(held.clone()),
                Some(directive) if directive.version > held.directive => answer.directives.push(*directive),
                Some(_) => {}
            }
        }
        answers.push(answer);
    }
    Ok(answers)
}

impl DirectiveRow {
    fn read(row: &PgRow) -> Result<Self> {
        let cancel: Option<&str> = row.try_get("cancel_requested_by")?;
        Ok(Self {
            execution_id: row.text("execution_id")?,
            attempt: row.number32("number")?,
            version: row.number64("directive_version")?,
            cancel: cancel.map(outcome::cancelled_by).transpose()?,
            timeout: row.duration("timeout_ms")?,
            followed: row.try_get("followed")?,
        })
    }
}

/// Held attempts of all workers, as columns.
#[derive(Default)]
pub(crate) struct HeldColumns {
    pub(crate) ids: Vec<String>,
    pub(crate) numbers: Vec<i32>,
    pub(crate) hashes: Vec<Vec<u8>>,
    pub(crate) workers: Vec<String>,
}

impl HeldColumns {
    pub(crate) fn of(workers: &[(WorkerId, &[Held])]) -> Self {
        let mut columns = Self::default();
        for (worker, holding) in workers {
            for held in *holding {
                columns.ids.push(held.execution_id.to_string());
                columns.numbers.push(row::integer(held.attempt));
                columns.hashes.push(secret::hash(&held.token).to_vec());
                columns.workers.push(worker.to_string());
            }
        }
        columns
    }
}
