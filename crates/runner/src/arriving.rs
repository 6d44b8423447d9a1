//! What people are told while the files of an attempt are on their way to its worker. It is a courtesy: nothing hangs on
//! it, and files that are there soon are not talked about.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rgrid_api::client::AttemptRef;
use rgrid_core::quantity::format_bytes;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::environments::obtain::say;
use crate::job::Bench;

/// Files that are here within this are not talked about.
const QUIET: Duration = Duration::from_secs(2);
/// People are told at most this often.
const PERIOD: Duration = Duration::from_secs(1);

/// How much of what an attempt waits for has come.
#[derive(Debug, Default)]
pub(crate) struct Arriving {
    wanted_bytes: AtomicU64,
    come_bytes: AtomicU64,
}

impl Arriving {
    /// So much more is waited for.
    pub(crate) fn expect(&self, bytes: u64) {
        self.wanted_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So much more has come.
    pub(crate) fn come(&self, bytes: u64) {
        self.come_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn sentence(&self) -> String {
        let wanted = self.wanted_bytes.load(Ordering::Relaxed);
        // What came damaged comes a second time.
        let come = self.come_bytes.load(Ordering::Relaxed).min(wanted);
        let (come, wanted) = (format_bytes(come), format_bytes(wanted));
        format!("its files are brought to the worker first: {come} of {wanted}; then it starts")
    }

    /// Waits for what is fetched, and tells people of the attempt how far it is. The last thing that is said is nothing.
    pub(crate) async fn told<T>(
        &self,
        fetching: impl Future<Output = T>,
        (bench, attempt): (&Bench, &AttemptRef),
    ) -> T {
        let here = CancellationToken::new();
        let saying = async {
            let mut said = false;
            let mut ticks = tokio::time::interval_at(Instant::now() + QUIET, PERIOD);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while here.run_until_cancelled(ticks.tick()).await.is_some() {
                said = true;
                // Never given up half-way: it would be heard after what comes next.
                say(bench, attempt, Some(self.sentence())).await;
            }
            if said {
                say(bench, attempt, None).await;
            }
        };
        let fetching = async {
            let fetched = fetching.await;
            here.cancel();
            fetched
        };
        tokio::join!(fetching, saying).0
    }
}
