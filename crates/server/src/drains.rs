//! Which workers shall leave: one look per replica for all polls, at most once a second. A worker's heartbeat tells
//! it the same, later.

use std::collections::HashSet;
use std::time::Duration;

use rgrid_core::id::WorkerId;
use rgrid_store::notify::Nudge;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::Causes;
use crate::state::App;

/// Word that workers changed comes with every submission.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// The workers that shall take nothing new.
#[derive(Default)]
pub(crate) struct Drains(watch::Sender<HashSet<WorkerId>>);

impl Drains {
    /// Comes back when `worker` shall leave.
    pub(crate) async fn wait_for(&self, worker: WorkerId) {
        let mut drains = self.0.subscribe();
        if drains.wait_for(|draining| draining.contains(&worker)).await.is_err() {
            // The replica is ending: whoever waits is told so by other means.
            std::future::pending::<()>().await;
        }
    }
}

/// The duty that looks.
pub(crate) async fn watch_all(app: App, end: CancellationToken) {
    let mut fleet = app.nudges.listen(Nudge::Fleet);
    loop {
        match app.store.workers_leaving().await {
            Ok(workers) => {
                let now: HashSet<WorkerId> = workers.into_iter().collect();
                app.drains.0.send_if_modified(|before| {
                    let changed = *before != now;
                    *before = now;
                    changed
                });
            }
            Err(error) => {
                tracing::warn!(error = %Causes(&error), "it is not known which workers shall leave")
            }
        }
        tokio::select! {
            () = end.cancelled() => return,
            () = async { tokio::join!(fleet.rung(), tokio::time::sleep(LOOK_PERIOD)); } => {}
        }
    }
}
