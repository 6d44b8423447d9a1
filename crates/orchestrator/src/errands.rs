//! Calls to a provider that bills take seconds, and half a minute when it is ill: they are made beside the rounds, each on
//! a task of its own, and what came of them is written by a later round. One that is lost does no harm: a create is found
//! by its name, a delete is asked for again, a listing is made anew.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rgrid_core::fleet::Order;
use rgrid_core::fleet::catalog::Catalog;
use rgrid_core::id::IntentId;
use rgrid_store::servers::Ordered;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cloud::{Cloud, Deletion, Error, Listing, Server, ServerWish, Target, Wish};
use crate::lease::Lease;

/// Calls that are under way at once; what is wanted beyond that waits for a later round.
const ERRANDS_MAX: usize = 16;
/// A delete is asked for again after this, doubled with each time,
const DELETE_AGAIN_MIN: Duration = Duration::from_secs(1);
/// to this.
const DELETE_AGAIN_MAX: Duration = Duration::from_secs(10);
/// At the end, what is under way is waited for so long.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// What came of a call.
#[derive(Debug)]
pub(crate) enum Done {
    Created { ordered: Ordered, order: Order, result: Result<Option<Server>, Error> },
    Deleted { intent: IntentId, target: Target, result: Result<Deletion, Error> },
    Listed { result: Result<Listing, Error> },
    Catalog { result: Result<Catalog, Error> },
}

/// The calls that are under way.
#[derive(Debug, Default)]
pub(crate) struct Errands {
    /// Under which all of them go.
    pub(crate) lease: Lease,
    tasks: JoinSet<Done>,
    finished: Vec<Done>,
    deleting: HashSet<IntentId>,
    /// When a delete may be asked for again, and how long the pause after that is.
    again: HashMap<IntentId, (Instant, Duration)>,
    listing: bool,
    catalog: bool,
}

impl Errands {
    /// Whether one more may be sent out.
    pub(crate) fn has_room(&self) -> bool {
        self.tasks.len() < ERRANDS_MAX
    }

    pub(crate) fn create<C: Cloud>(&mut self, cloud: &Arc<C>, ordered: Ordered, order: Order) {
        let server = ServerWish {
            intent: ordered.intent,
            name: ordered.name.clone(),
            machine_type: order.machine_type.clone(),
            location: order.location.clone(),
        };
        let wish =
            Wish { worker: ordered.worker, join_token: ordered.join_token.clone(), server: Some(server) };
        let cloud = Arc::clone(cloud);
        let call = self.lease.covers(async move { cloud.create(&wish).await });
        self.tasks.spawn(async move { Done::Created { ordered, order, result: call.await } });
    }

    /// Asks for the end of a server, unless that was asked a moment ago.
    pub(crate) fn delete<C: Cloud>(&mut self, cloud: &Arc<C>, intent: IntentId, target: Target) {
        let resting = self.again.get(&intent).is_some_and(|(at, _)| *at > Instant::now());
        if resting || !self.deleting.insert(intent) {
            return;
        }
        let pause = self.again.get(&intent).map_or(DELETE_AGAIN_MIN, |(_, pause)| *pause);
        self.again.insert(intent, (Instant::now() + pause, (pause * 2).min(DELETE_AGAIN_MAX)));
        let (cloud, wanted) = (Arc::clone(cloud), target.clone());
        let call = self.lease.covers(async move { cloud.delete(&wanted).await });
        self.tasks.spawn(async move { Done::Deleted { intent, target, result: call.await } });
    }

    pub(crate) fn list<C: Cloud>(&mut self, cloud: &Arc<C>, expected: Vec<Target>) {
        if std::mem::replace(&mut self.listing, true) {
            return;
        }
        let cloud = Arc::clone(cloud);
        let call = self.lease.covers(async move { cloud.list(&expected).await });
        self.tasks.spawn(async move { Done::Listed { result: call.await } });
    }

    pub(crate) fn catalog<C: Cloud>(&mut self, cloud: &Arc<C>) {
        if std::mem::replace(&mut self.catalog, true) {
            return;
        }
        let cloud = Arc::clone(cloud);
        let call = self.lease.covers(async move { cloud.catalog().await });
        self.tasks.spawn(async move { Done::Catalog { result: call.await } });
    }

    /// Returns when one has come back; never, when none is out. Nothing is lost when it is dropped.
    pub(crate) async fn wait(&mut self) {
        match self.tasks.join_next().await {
            Some(Ok(done)) => self.finished.push(done),
            Some(Err(panic)) => {
                tracing::error!(error = &panic as &dyn std::error::Error, "an errand ended badly")
            }
            None => std::future::pending().await,
        }
    }

    /// What has come back.
    pub(crate) fn take(&mut self) -> Vec<Done> {
        while let Some(joined) = self.tasks.try_join_next() {
            match joined {
                Ok(done) => self.finished.push(done),
                Err(panic) => {
                    tracing::error!(error = &panic as &dyn std::error::Error, "an errand ended badly");
                }
            }
        }
        let finished = std::mem::take(&mut self.finished);
        for done in &finished {
            match done {
                Done::Created { .. } => {}
                Done::Deleted { intent, result, .. } => {
                    self.deleting.remove(intent);
                    if matches!(result, Ok(Deletion::Gone(_))) {
                        self.again.remove(intent);
                    }
                }
                Done::Listed { .. } => self.listing = false,
                Done::Catalog { .. } => self.catalog = false,
            }
        }
        finished
    }

    /// Waits a little for what is under way.
    pub(crate) async fn finish(&mut self) {
        let deadline = Instant::now() + END_PATIENCE;
        while !self.tasks.is_empty() && tokio::time::timeout_at(deadline, self.wait()).await.is_ok() {}
    }
}
