//! What runs on servers. The world says when a guest starts and stops; a driver does it.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::options::Guests;
use crate::stand::Shared;
use crate::world::World;

/// What is to be done to a server's guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// Power has come on.
    Start { project: usize, server: i64 },
    /// It is to be gone at once.
    Stop { server: i64 },
    /// Its packets are to go nowhere.
    CutOff { server: i64 },
}

/// What carries orders out.
pub(crate) struct Drivers {
    guests: Guests,
}

impl Drivers {
    pub(crate) fn new(guests: Guests, _tasks: TaskTracker, _shutdown: CancellationToken) -> Self {
        Self { guests }
    }

    /// Begins to carry it out; the world is held meanwhile, so nothing is waited for.
    pub(crate) fn follow(&self, _shared: &Arc<Shared>, _world: &World, order: Order) {
        match self.guests {
            Guests::Pretend => tracing::debug!(?order, "pretended"),
        }
    }

    pub(crate) async fn stop_all(&self) {}
}
