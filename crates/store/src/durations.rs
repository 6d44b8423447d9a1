//! How long executions take: what core's forecast needs to know of those that run and of those that ended. A place is held
//! from the claim to the end, what comes before the script's first line included: that is what is measured here.

use std::time::Duration;

use rgrid_core::Timestamp;
use rgrid_core::id::WorkerId;
use rgrid_core::worker::Capacity;
use sqlx::{PgConnection, Row};

use crate::row::Columns;
use crate::{Result, Store, workers};

/// What runs is read to this: what runs beyond is not expected to make room.
const RUNNING_MAX: i64 = 10_000;
/// Of what ended since the last reading so much is read, the newest: a forecast needs a few ends of each script, not all.
const ENDS_MAX: i64 = 2000;

/// An attempt that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningRow {
    /// Where.
    pub worker_id: WorkerId,
    /// Whose durations its own is like: those of one script of one account.
    pub kind: u64,
    /// Since when it holds its place.
    pub claimed_at: Timestamp,
    /// What it asked for; 0 means the worker's share.
    pub wanted: Capacity,
}

/// An attempt that ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndRow {
    /// Whose durations its own is like.
    pub kind: u64,
    /// For how long it held its place.
    pub held_for: Duration,
    /// When its execution ended.
    pub finished_at: Timestamp,
}

impl Store {
    /// The newest attempts that ended by themselves after `since`, the oldest of them first. One whose transaction took
    /// longer than that of a later one may be missed: it is a sample.
    pub async fn ends(&self, since: Option<Timestamp>) -> Result<Vec<EndRow>> {
        let rows = sqlx::query(include_str!("../queries/durations/ends.sql"))
            .bind(since)
            .bind(ENDS_MAX)
            .fetch_all(self.pool())
            .await?;
        rows.iter()
            .rev()
            .map(|row| {
                Ok(EndRow {
                    kind: row.try_get::<i64, _>("kind")?.cast_unsigned(),
                    held_for: row.duration("held_for_ms")?,
                    finished_at: row.try_get("finished_at")?,
                })
            })
            .collect()
    }
}

/// What runs.
pub(crate) async fn running(connection: &mut PgConnection) -> Result<Vec<RunningRow>> {
    let rows = sqlx::query(include_str!("../queries/durations/running.sql"))
        .bind(RUNNING_MAX)
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(RunningRow {
                worker_id: row.text("worker_id")?,
                kind: row.try_get::<i64, _>("kind")?.cast_unsigned(),
                claimed_at: row.try_get("claimed_at")?,
                wanted: workers::capacity(row)?,
            })
        })
        .collect()
}
