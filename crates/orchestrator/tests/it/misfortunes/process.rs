//! An orchestrator as a process of its own: a thread with a runtime and a store, which can be killed, and stopped as by
//! SIGSTOP: while it is, nothing of it moves, its calls to the provider included.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rgrid_orchestrator::Period;
use rgrid_orchestrator::run;
use rgrid_store::{Store, StoreConfig};
use tokio::sync::{mpsc as messages, oneshot};
use tokio_util::sync::CancellationToken;

use crate::bought::Market;

/// Connections of one orchestrator's store.
const CONNECTIONS: u32 = 4;
/// Between two tries to start.
const AGAIN: Duration = Duration::from_millis(50);
/// Each round asks what there is, and every other one what is sold.
const PERIOD: Period = Period { list: Duration::ZERO, catalog: Duration::from_millis(400) };

pub(super) struct Process {
    shutdown: CancellationToken,
    killed: CancellationToken,
    stops: messages::UnboundedSender<mpsc::Receiver<()>>,
    /// Held while it is stopped.
    stopped: Option<mpsc::Sender<()>>,
    ended: oneshot::Receiver<()>,
}

impl Process {
    pub(super) fn start(market: &Market, holder: &str) -> Self {
        let store = StoreConfig { max_connections: CONNECTIONS, ..market.grid.database.config() };
        let config = market.config(holder, PERIOD);
        let provider = market.provider_config(None);
        let (shutdown, killed) = (CancellationToken::new(), CancellationToken::new());
        let (stops, mut stopped) = messages::unbounded_channel::<mpsc::Receiver<()>>();
        let (end, ended) = oneshot::channel();
        let (until, dead) = (shutdown.clone(), killed.clone());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let work = async {
                    // Whoever runs it starts it again while there is no database.
                    let store = loop {
                        match Store::connect(&store).await {
                            Ok(store) => break store,
                            Err(_) => tokio::time::sleep(AGAIN).await,
                        }
                    };
                    let provider = rgrid_orchestrator::cloud::hetzner::Hetzner::new(provider).unwrap();
                    run(config, store, provider, until).await.unwrap();
                };
                let stop = async {
                    while let Some(go_on) = stopped.recv().await {
                        // The whole runtime stands still.
                        let _ = go_on.recv();
                        tokio::task::yield_now().await;
                    }
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    biased;
                    () = dead.cancelled() => {}
                    () = stop => {}
                    () = work => {}
                }
            });
            runtime.shutdown_background();
            let _ = end.send(());
        });
        Self { shutdown, killed, stops, stopped: None, ended }
    }

    /// As `kill -9` would.
    pub(super) fn kill(self) {
        self.killed.cancel();
    }

    /// As SIGSTOP would.
    pub(super) fn pause(&mut self) {
        let (go_on, waits) = mpsc::channel();
        let _ = self.stops.send(waits);
        self.stopped = Some(go_on);
    }

    /// As SIGCONT would.
    pub(super) fn go_on(&mut self) {
        self.stopped = None;
    }

    pub(super) fn is_paused(&self) -> bool {
        self.stopped.is_some()
    }

    /// Asks it to end, and waits until it has.
    pub(super) async fn stop(mut self) {
        self.go_on();
        self.shutdown.cancel();
        let _ = self.ended.await;
    }
}
