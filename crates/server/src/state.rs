//! What every handler can reach, and the start of the duties that run beside the handlers.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use metrics_exporter_prometheus::PrometheusHandle;
use rgrid_core::runtime::{Images, SandboxKind};
use rgrid_store::Store;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Docker;
use crate::auth::Remembered;
use crate::connections::Bounds;
use crate::drains::Drains;
use crate::error::Error;
use crate::follow::Follows;
use crate::heartbeats::Heartbeats;
use crate::nudges::Nudges;
use crate::polls::Polls;
use crate::rates::Rates;
use crate::signing::Signer;
use crate::sizes::Sizes;
use crate::{Config, drains, follow, heartbeats, metrics, nudges, polls, routes};

/// A handle to the state of one replica.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) images: Images,
    pub(crate) sandbox: SandboxKind,
    pub(crate) docker: Docker,
    pub(crate) version: String,
    pub(crate) bounds: Bounds,
    pub(crate) sizes: Sizes,
    pub(crate) signer: Signer,
    pub(crate) remembered: Remembered,
    pub(crate) rates: Rates,
    pub(crate) nudges: Nudges,
    pub(crate) drains: Drains,
    pub(crate) polls: Polls,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) follows: Follows,
    pub(crate) metrics: PrometheusHandle,
    /// The OpenAPI document.
    pub(crate) openapi: Bytes,
    /// Long polls and follows end when this is cancelled.
    pub(crate) shutdown: CancellationToken,
}

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// What the signing key is derived for.
const SIGNING: &str = "signed blob addresses";

/// Makes the state and starts the duties: nudges, claiming, heartbeats, watching what is followed. They end with
/// `duties_end`.
pub(crate) async fn start(
    config: Config,
    store: Store,
    shutdown: CancellationToken,
    duties: &TaskTracker,
    duties_end: CancellationToken,
) -> Result<App, Error> {
    let (heartbeats, arriving) = Heartbeats::new();
    let app = App(Arc::new(Shared {
        signer: Signer::new(&store.derived_keys(SIGNING)),
        sizes: Sizes::new(config.largest_type),
        store,
        remembered: Remembered::default(),
        rates: Rates::default(),
        nudges: Nudges::default(),
        drains: Drains::default(),
        polls: Polls::default(),
        heartbeats,
        follows: Follows::default(),
        metrics: metrics::recorder(),
        openapi: routes::openapi(&config).into(),
        images: config.images,
        sandbox: config.sandbox,
        docker: config.docker,
        version: config.version,
        bounds: config.bounds,
        shutdown,
    }));
    duties.spawn(nudges::ring_all(app.clone(), duties_end.clone()));
    duties.spawn(drains::watch_all(app.clone(), duties_end.clone()));
    duties.spawn(polls::claim_for_all(app.clone(), duties_end.clone()));
    duties.spawn(heartbeats::flush_all(app.clone(), arriving, duties_end.clone()));
    duties.spawn(follow::watch_all(app.clone(), duties_end));
    Ok(app)
}
