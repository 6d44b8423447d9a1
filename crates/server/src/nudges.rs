//! The store's nudges, sorted: one task per replica listens to all of them, and whoever waits listens to one kind.
//! Thousands of polls sleep through the nudges of log bytes.

use rgrid_store::notify::Nudge;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::state::App;

/// One bell for each kind.
#[derive(Default)]
pub(crate) struct Nudges {
    queue: watch::Sender<()>,
    directives: watch::Sender<()>,
    logs: watch::Sender<()>,
    executions: watch::Sender<()>,
    fleet: watch::Sender<()>,
}

/// Hears one kind of nudge; several that come while nobody waits count as one.
pub(crate) struct Bell(watch::Receiver<()>);

impl Nudges {
    fn bell(&self, nudge: Nudge) -> &watch::Sender<()> {
        match nudge {
            Nudge::Queue => &self.queue,
            Nudge::Directives => &self.directives,
            Nudge::Logs => &self.logs,
            Nudge::Executions => &self.executions,
            Nudge::Fleet => &self.fleet,
        }
    }

    /// Hears what is rung from now on.
    pub(crate) fn listen(&self, nudge: Nudge) -> Bell {
        Bell(self.bell(nudge).subscribe())
    }
}

impl Bell {
    /// Comes back when it was rung since the last time.
    pub(crate) async fn rung(&mut self) {
        if self.0.changed().await.is_err() {
            // The replica is ending: whoever waits is told so by other means.
            std::future::pending::<()>().await;
        }
    }
}

/// The duty that rings the bells.
pub(crate) async fn ring_all(app: App, end: CancellationToken) {
    let mut nudges = app.store.nudges();
    loop {
        let nudge = tokio::select! {
            () = end.cancelled() => return,
            nudge = nudges.recv() => nudge,
        };
        match nudge {
            Ok(nudge) => app.nudges.bell(nudge).send_replace(()),
            Err(RecvError::Lagged(_)) => {
                Nudge::ALL.into_iter().for_each(|nudge| app.nudges.bell(nudge).send_replace(()));
            }
            // The store is closing: polling goes on alone until we are told to end.
            Err(RecvError::Closed) => return,
        }
    }
}
