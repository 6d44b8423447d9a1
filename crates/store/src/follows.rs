//! Follows: one question about all executions that a replica's followers watch.

use rgrid_core::execution::Status;
use rgrid_core::id::ExecutionId;

use sqlx::Row;

use crate::row::Columns;
use crate::{Result, Store};

/// Where an execution stands, as far as a follower must know to look closer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its status.
    pub status: Status,
    /// The number of its newest attempt.
    pub attempt: u32,
    /// The newest attempt has not started its script yet, and says what it does.
    pub preparing: bool,
    /// Bytes of standard output of the newest attempt.
    pub stdout_bytes: u64,
    /// Bytes of standard error of the newest attempt.
    pub stderr_bytes: u64,
}

impl Store {
    /// Where these executions stand, in one indexed query; those that are gone are left out. Whose they are is checked
    /// when a follow begins.
    pub async fn standings(&self, executions: &[ExecutionId]) -> Result<Vec<(ExecutionId, Standing)>> {
        let rows = sqlx::query(include_str!("../queries/follows/standings.sql"))
            .bind(executions.iter().map(ExecutionId::to_string).collect::<Vec<_>>())
            .fetch_all(self.pool())
            .await?;
        rows.iter()
            .map(|row| {
                let standing = Standing {
                    status: row.text("status")?,
                    attempt: row.number32("attempt")?,
                    preparing: row.try_get("preparing")?,
                    stdout_bytes: row.number64("stdout_bytes")?,
                    stderr_bytes: row.number64("stderr_bytes")?,
                };
                Ok((row.text("id")?, standing))
            })
            .collect()
    }
}
