//! How many there are: what a monitor asks every few seconds.

use rgrid_core::execution::Status;
use rgrid_core::worker::WorkerStatus;
use sqlx::Row;

use crate::row::Columns;
use crate::{Error, Result, Store};

/// How many there are of what is not final.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// Executions by status.
    pub executions: Vec<(Status, u64)>,
    /// Workers by status.
    pub workers: Vec<(WorkerStatus, u64)>,
}

impl Store {
    /// Counts what is not final, over all accounts.
    pub async fn census(&self) -> Result<Census> {
        let rows = sqlx::query(include_str!("../queries/census/take.sql")).fetch_all(self.pool()).await?;
        let mut census = Census::default();
        for row in &rows {
            let number = row.number64("number")?;
            match row.try_get::<&str, _>("what")? {
                "execution" => census.executions.push((row.text("status")?, number)),
                "worker" => census.workers.push((row.text("status")?, number)),
                other => return Err(Error::corrupt("census", other)),
            }
        }
        Ok(census)
    }
}
