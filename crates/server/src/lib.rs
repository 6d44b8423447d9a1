//! Answers HTTP: routes, authentication and the readable API pages.
//!
//! A replica keeps nothing that another would miss: waiting polls, collected heartbeats and open follows live in its
//! memory, and all of them may be cut at any time. Nothing is decided here; what is asked goes to the store, what
//! the store says goes out in the words of `rgrid-api`.

mod auth;
mod bodies;
mod connections;
mod containers;
mod drains;
mod error;
mod follow;
#[doc(hidden)]
pub mod fuzzing;
mod guards;
mod heartbeats;
mod metrics;
mod nudges;
mod parse;
mod polls;
mod rates;
mod routes;
mod signing;
mod sizes;
mod state;
mod version;
mod waiting;

use std::path::PathBuf;
use std::time::Duration;

use rgrid_core::runtime::{Images, SandboxKind};
use rgrid_core::worker::Capacity;
use rgrid_store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use crate::connections::Bounds;
pub use crate::error::Error;

/// Where a worker that can run container images could come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Docker {
    /// Workers are this machine, and have it when an engine listens at this socket.
    Here(PathBuf),
    /// One that is added or that joins may have it.
    OfWorkers,
}

/// What a server is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where users and workers reach this grid; `None` when only this machine does.
    pub public_url: Option<String>,
    /// The version it names, and measures callers by.
    pub version: String,
    /// How many and how slow connections may be.
    pub bounds: Bounds,
    /// The largest worker that could be added; `None` when none can. What is larger than that and than every worker is
    /// refused.
    pub largest_type: Option<Capacity>,
    /// The container images it takes.
    pub images: Images,
    /// What isolates scripts that name no image.
    pub sandbox: SandboxKind,
    /// Where a worker with Docker could come from, when none that is there has it.
    pub docker: Docker,
}

/// At shutdown, requests that are still being answered get this long.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves until `shutdown`; then ends long polls and follows at once, lets every other request finish, and returns.
///
/// # Errors
/// When the store cannot give what the server needs to start.
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
    let bounds = config.bounds;
    let app = state::start(config, store, shutdown.clone(), &duties, duties_end.clone()).await?;
    let router = routes::router(app);

    let serving = connections::serve(listener, router, bounds, shutdown.clone());
    let deadline = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        () = serving => {}
        () = deadline => tracing::warn!(seconds = DRAIN.as_secs(), "some requests were cut at shutdown"),
    }
    duties_end.cancel();
    duties.close();
    if tokio::time::timeout(DRAIN, duties.wait()).await.is_err() {
        tracing::warn!(seconds = DRAIN.as_secs(), "some duties were cut at shutdown");
    }
    Ok(())
}
