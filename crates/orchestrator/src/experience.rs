//! How long the scripts of this grid ran, for core's forecast: learnt from what ended, kept from round to round, and read
//! anew by whoever leads next.

use rgrid_core::Timestamp;
use rgrid_core::fleet::forecast::{History, Kind};
use rgrid_store::Store;

use crate::error::Error;

/// What is known of durations, and by when.
#[derive(Debug, Default)]
pub(crate) struct Experience {
    pub(crate) history: History,
    /// The newest end that was read.
    until: Option<Timestamp>,
}

impl Experience {
    /// Reads what ended since the last time.
    pub(crate) async fn learn(&mut self, store: &Store) -> Result<(), Error> {
        for end in store.ends(self.until).await? {
            self.history.record(Kind(end.kind), end.held_for, end.finished_at);
            self.until = Some(end.finished_at);
        }
        Ok(())
    }
}
