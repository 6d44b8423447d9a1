//! Nudges: "something of this kind has changed, look". In this process at once; to others by NOTIFY, at most one per
//! channel per `limits::NOTIFY_PERIOD`, after the commit, on a connection of its own, without payload. One that is lost
//! is covered by polling, so nothing here is ever waited for or retried.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rgrid_core::limits;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{Connection, PgConnection};
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinHandle;

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

    /// Its channel between processes.
    fn channel(self) -> &'static str {
        match self {
            Self::Queue => "rgrid_queue",
            Self::Directives => "rgrid_directives",
            Self::Logs => "rgrid_logs",
            Self::Executions => "rgrid_executions",
            Self::Fleet => "rgrid_fleet",
        }
    }

    /// Says it to other processes.
    fn statement(self) -> &'static str {
        match self {
            Self::Queue => "notify rgrid_queue",
            Self::Directives => "notify rgrid_directives",
            Self::Logs => "notify rgrid_logs",
            Self::Executions => "notify rgrid_executions",
            Self::Fleet => "notify rgrid_fleet",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Nudges that wait for a slow receiver; beyond, it is told that it lags.
const NUDGES_WAITING_MAX: usize = 256;

/// What the parts of a notifier share.
#[derive(Debug)]
struct Shared {
    nudges: broadcast::Sender<Nudge>,
    /// What other processes are still to be told: a bit each.
    unsent: AtomicU8,
    awake: Notify,
    /// The backend of our own connection for NOTIFY: what it sends, we know already. 0 while there is none.
    own_backend: std::sync::atomic::AtomicU32,
}

#[derive(Debug)]
pub(crate) struct Notifier {
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Notifier {
    /// Begins to tell and to listen, on two connections of its own.
    pub(crate) fn start(options: PgConnectOptions) -> Self {
        let shared = Arc::new(Shared {
            nudges: broadcast::channel(NUDGES_WAITING_MAX).0,
            unsent: AtomicU8::new(0),
            awake: Notify::new(),
            own_backend: 0.into(),
        });
        let tasks = [
            tokio::spawn(tell(Arc::clone(&shared), options.clone())),
            tokio::spawn(listen(Arc::clone(&shared), options)),
        ];
        Self { shared, tasks }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Nudge> {
        self.shared.nudges.subscribe()
    }

    pub(crate) fn nudge(&self, nudge: Nudge) {
        // No receiver is no fault.
        let _ = self.shared.nudges.send(nudge);
        self.shared.unsent.fetch_or(nudge.bit(), Ordering::Relaxed);
        self.shared.awake.notify_one();
    }
}

/// Tells other processes what this one has nudged. The first of a burst goes at once, the rest together.
async fn tell(shared: Arc<Shared>, options: PgConnectOptions) {
    let mut connection: Option<PgConnection> = None;
    loop {
        shared.awake.notified().await;
        let unsent = shared.unsent.swap(0, Ordering::Relaxed);
        let due: Vec<Nudge> = Nudge::ALL.into_iter().filter(|nudge| unsent & nudge.bit() != 0).collect();
        let mut open = match connection.take() {
            Some(open) => Ok(open),
            None => connect(&shared, &options).await,
        };
        if let Ok(open) = &mut open
            && send(open, &due).await.is_err()
        {
            shared.own_backend.store(0, Ordering::Relaxed);
            continue;
        }
        connection = open.ok();
        tokio::time::sleep(limits::NOTIFY_PERIOD).await;
    }
}

async fn connect(shared: &Shared, options: &PgConnectOptions) -> sqlx::Result<PgConnection> {
    let mut connection = PgConnection::connect_with(options).await?;
    let backend: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut connection).await?;
    shared.own_backend.store(backend.unsigned_abs(), Ordering::Relaxed);
    Ok(connection)
}

async fn send(connection: &mut PgConnection, due: &[Nudge]) -> sqlx::Result<()> {
    for nudge in due {
        sqlx::raw_sql(nudge.statement()).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Hands on what other processes tell. After a pause, in which something may have been missed, everything is nudged.
async fn listen(shared: Arc<Shared>, options: PgConnectOptions) {
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
    loop {
        if let Ok(mut listener) = PgListener::connect_with(&pool).await
            && listener.listen_all(Nudge::ALL.map(Nudge::channel)).await.is_ok()
        {
            for nudge in Nudge::ALL {
                let _ = shared.nudges.send(nudge);
            }
            while let Ok(Some(notification)) = listener.try_recv().await {
                if notification.process_id() == shared.own_backend.load(Ordering::Relaxed) {
                    continue;
                }
                let told = Nudge::ALL.into_iter().find(|nudge| nudge.channel() == notification.channel());
                if let Some(nudge) = told {
                    let _ = shared.nudges.send(nudge);
                }
            }
        }
        tokio::time::sleep(limits::POLL_FALLBACK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_what_is_listened_to() {
        let mut bits = 0;
        for nudge in Nudge::ALL {
            assert_eq!(nudge.statement(), format!("notify {}", nudge.channel()));
            assert_eq!(bits & nudge.bit(), 0);
            bits |= nudge.bit();
        }
    }
}
