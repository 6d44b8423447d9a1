//! The API's own beats: only time in which heartbeats could be accepted counts against leases and workers.

use rgrid_core::{Timestamp, limits};
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::{Result, Store, row};

/// When heartbeats could not be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outages {
    /// The newest beat of any replica.
    pub last_beat_at: Option<Timestamp>,
    /// The end of the newest gap above `limits::OUTAGE_GAP`. No lease ends and no worker is called dead earlier than
    /// one full period after it.
    pub last_gap_end: Option<Timestamp>,
}

impl Outages {
    pub(crate) fn read(row: &PgRow) -> Result<Self> {
        Ok(Self { last_beat_at: row.try_get("last_beat_at")?, last_gap_end: row.try_get("last_gap_end")? })
    }
}

impl Store {
    /// A replica of the API lives and accepts heartbeats; once a second.
    pub async fn beat(&self, replica: &str) -> Result<()> {
        sqlx::query(include_str!("../queries/outages/beat.sql"))
            .bind(replica)
            .bind(row::millis(limits::OUTAGE_GAP))
            .execute(self.pool())
            .await?;
        Ok(())
    }

    /// What the beats say.
    pub async fn outages(&self) -> Result<Outages> {
        let row = sqlx::query(include_str!("../queries/outages/read.sql")).fetch_one(self.pool()).await?;
        Outages::read(&row)
    }
}
