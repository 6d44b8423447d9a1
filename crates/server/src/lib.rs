//! Answers HTTP: routes, authentication and the readable API pages.
//!
//! A replica keeps nothing that another would miss: waiting polls, collected heartbeats and open follows live in its
//! memory, and all of them may be cut at any time. Nothing is decided here; what is asked goes to the store, what
//! the store says goes out in the words of `rgrid-api`.

mod auth;
mod bodies;
mod drains;
mod error;
mod follow;
mod guards;
mod heartbeats;
mod metrics;
mod nudges;
mod parse;
mod polls;
mod rates;
mod routes;
mod signing;
mod state;
mod version;
mod waiting;

use std::time::Duration;

use axum::serve::ListenerExt;
use rgrid_store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use crate::error::Error;

/// What a server is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where users and workers reach this grid; `None` when only this machine does.
    pub public_url: Option<String>,
    /// The version it names, and measures callers by.
    pub version: String,
}

/// At shutdown, requests that are still being answered get this long.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves until `shutdown`; then ends long polls and follows at once, lets every other request finish, and returns.
///
/// # Errors
/// When the store cannot give what the server needs to start, or the socket fails.
pub async fn run(
    config: Config,
    store: Store,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    // The background duties end after the last request, so that none waits for an answer that nobody writes.
    let duties_end = CancellationToken::new();
    let _ends_duties_on_any_return = duties_end.clone().drop_guard();
    let duties = TaskTracker::new();
    let app = state::start(config, store, shutdown.clone(), &duties, duties_end.clone()).await?;
    let router = routes::router(app);

    // Log lines are small and must not wait for each other's acknowledgement.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delay");
        }
    });
    let drained = shutdown.clone();
    let graceful = async move { drained.cancelled().await };
    let serving = axum::serve(listener, router).with_graceful_shutdown(graceful).into_future();
    let deadline = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    let served = tokio::select! {
        served = serving => served.map_err(Error::Listen),
        () = deadline => {
            tracing::warn!(seconds = DRAIN.as_secs(), "some requests were cut at shutdown");
            Ok(())
        }
    };
    duties_end.cancel();
    duties.close();
    if tokio::time::timeout(DRAIN, duties.wait()).await.is_err() {
        tracing::warn!(seconds = DRAIN.as_secs(), "some duties were cut at shutdown");
    }
    served
}
