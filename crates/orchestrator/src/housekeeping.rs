//! What nobody needs any more goes: executions beyond their retention, blobs that no execution names, uploads that were
//! never committed, objects without a row. Safe in any number of processes; only the leader does it, to do it once.

use std::time::Duration;

use rgrid_core::limits;
use rgrid_store::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Garbage is collected this often.
const COLLECT_PERIOD: Duration = Duration::from_secs(3600);
/// Objects without a row are looked for once in so many collections: it lists the whole store.
const SWEEP_EVERY: u32 = 24;
/// The first collection waits this long: whoever has just started has better things to do.
const FIRST_AFTER: Duration = Duration::from_secs(300);

/// Keeps house until `shutdown`, while this process leads.
pub(crate) async fn run(store: Store, mut leads: watch::Receiver<bool>, shutdown: CancellationToken) {
    let mut wait = FIRST_AFTER;
    for round in 0u32.. {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = COLLECT_PERIOD;
        tokio::select! {
            () = shutdown.cancelled() => return,
            led = leads.wait_for(|leads| *leads) => if led.is_err() { return },
        }
        tidy_up(&store, round.is_multiple_of(SWEEP_EVERY)).await;
    }
}

async fn tidy_up(store: &Store, sweep: bool) {
    match store.collect_garbage(limits::RETENTION).await {
        Ok(gone) => tracing::info!(?gone, "garbage collected"),
        Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "garbage was not collected"),
    }
    if sweep {
        match store.sweep_objects(limits::OBJECTS_OUTLIVE_ROWS).await {
            Ok(objects) => tracing::info!(objects, "objects without a row deleted"),
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "objects were not swept"),
        }
    }
}
