//! The API's own beats: only time in which heartbeats could be accepted counts against leases and workers.

use rgrid_core::Timestamp;

use crate::{Result, Store};

/// When heartbeats could not be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outages {
    /// The newest beat of any replica.
    pub last_beat_at: Option<Timestamp>,
    /// The end of the newest gap above `limits::OUTAGE_GAP`. No lease ends and no worker is called dead earlier than
    /// one full period after it.
    pub last_gap_end: Option<Timestamp>,
}

impl Store {
    /// A replica of the API lives and accepts heartbeats; once a second.
    pub async fn beat(&self, replica: &str) -> Result<()> {
        let _ = replica;
        todo!()
    }

    /// What the beats say.
    pub async fn outages(&self) -> Result<Outages> {
        todo!()
    }
}
