//! Nudges: "something of this kind has changed, look". In this process at once; to others by NOTIFY, at most one per
//! channel per `limits::NOTIFY_PERIOD`, after the commit, on a connection of its own, without payload.

use sqlx::PgPool;
use tokio::sync::broadcast;

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Nudge {
    /// There is something to claim.
    Queue,
    /// Running attempts are to be told something.
    Directives,
    /// Log bytes arrived.
    Logs,
    /// Executions changed their status.
    Executions,
    /// Workers changed, or there is demand.
    Fleet,
}

impl Nudge {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Queue, Self::Directives, Self::Logs, Self::Executions, Self::Fleet];
}

/// Nudges that wait for a slow receiver; beyond it is told that it lags.
const NUDGES_WAITING_MAX: usize = 256;

#[derive(Debug)]
pub(crate) struct Notifier {
    nudges: broadcast::Sender<Nudge>,
}

impl Notifier {
    pub(crate) fn start(_pool: PgPool) -> Self {
        Self { nudges: broadcast::channel(NUDGES_WAITING_MAX).0 }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Nudge> {
        self.nudges.subscribe()
    }

    pub(crate) fn nudge(&self, nudge: Nudge) {
        // No receiver is no fault.
        let _ = self.nudges.send(nudge);
    }
}
