//! What runs on servers. The world says when a guest starts and stops; a driver does it, one task for each server, so
//! that what one of them takes long over keeps no other waiting.

mod container;
mod metadata_service;
mod process;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::options::Guests;
use crate::stand::{Error, Shared};
use crate::world::World;
use container::{Container, Engine};
use process::Process;

/// Orders that one server's task can be behind with; what comes then is dropped, and said.
const ORDERS_MAX: usize = 256;

/// What is to be done to a server's guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Power has come on.
    Start { project: usize, server: i64 },
    /// Power is gone: it is to be gone at once.
    Stop { server: i64 },
    /// Its packets are to go nowhere.
    CutOff { server: i64 },
    /// The server is deleted: nothing is to be left of it.
    Remove { server: i64 },
}

impl Order {
    fn server(self) -> i64 {
        match self {
            Self::Start { server, .. }
            | Self::Stop { server }
            | Self::CutOff { server }
            | Self::Remove { server } => server,
        }
    }
}

/// What a guest is started with.
#[derive(Debug, Clone)]
struct Facts {
    project: usize,
    server: i64,
    name: String,
    user_data: String,
    /// Whether it has a public address of either kind.
    ipv4: bool,
    ipv6: bool,
}

/// One server's guest. What fails is logged: the API would not say it either.
trait Machine: Send + 'static {
    fn start(&mut self, facts: Facts) -> impl Future<Output = anyhow::Result<()>> + Send;
    fn stop(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
    fn cut_off(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
    fn remove(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

enum Driver {
    Pretend,
    Process(String),
    Container(Arc<Engine>),
}

type Queue = mpsc::Sender<(Order, Option<Facts>)>;

/// What carries orders out.
pub(crate) struct Drivers {
    driver: Driver,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    queues: Mutex<HashMap<i64, Queue>>,
}

impl Drivers {
    pub(crate) async fn new(
        guests: Guests,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Result<Self, Error> {
        let driver = match guests {
            Guests::Pretend => Driver::Pretend,
            Guests::Process { command } => Driver::Process(command),
            Guests::Container { image, engine } => {
                Driver::Container(Arc::new(Engine::new(image, engine).await.map_err(Error::Engine)?))
            }
        };
        Ok(Self { driver, tasks, shutdown, queues: Mutex::default() })
    }

    /// Starts what serves all guests together.
    pub(crate) fn begin(&self, shared: &Arc<Shared>) {
        if let Driver::Container(engine) = &self.driver {
            engine.serve_metadata(shared, &self.tasks, &self.shutdown);
        }
    }

    /// Hands it to the server's task; the world is held meanwhile, so nothing is waited for.
    pub(crate) fn follow(&self, shared: &Arc<Shared>, world: &World, order: Order) {
        if matches!(self.driver, Driver::Pretend) {
            return;
        }
        let facts = match order {
            Order::Start { project, server } => world.projects[project].servers.get(&server).map(|found| {
                let (name, user_data) = (found.name.clone(), found.user_data.clone());
                let (ipv4, ipv6) = (found.ipv4.is_some(), found.ipv6.is_some());
                Facts { project, server, name, user_data, ipv4, ipv6 }
            }),
            Order::Stop { .. } | Order::CutOff { .. } | Order::Remove { .. } => None,
        };
        let mut queues = self.queues.lock().expect("no holder panics");
        let queue = queues.entry(order.server()).or_insert_with(|| self.spawn(shared));
        if queue.try_send((order, facts)).is_err() {
            tracing::error!(?order, "dropped: too many orders wait, or the stand-in ends");
        }
        if matches!(order, Order::Remove { .. }) {
            queues.remove(&order.server());
        }
    }

    fn spawn(&self, shared: &Arc<Shared>) -> Queue {
        let (queue, orders) = mpsc::channel(ORDERS_MAX);
        let shutdown = self.shutdown.clone();
        match &self.driver {
            Driver::Pretend => {}
            Driver::Process(command) => {
                let process = Process::new(command.clone(), Arc::downgrade(shared));
                self.tasks.spawn(live(process, orders, shutdown));
            }
            Driver::Container(engine) => {
                self.tasks.spawn(live(Container::new(engine.clone()), orders, shutdown));
            }
        }
        queue
    }
}

/// Carries out a server's orders until it is deleted or the stand-in ends; then nothing is left of it.
async fn live(
    mut machine: impl Machine,
    mut orders: mpsc::Receiver<(Order, Option<Facts>)>,
    shutdown: CancellationToken,
) {
    let mut removed = false;
    while let Some(Some((order, facts))) = shutdown.run_until_cancelled(orders.recv()).await {
        let done = match (order, facts) {
            (Order::Start { .. }, Some(facts)) => machine.start(facts).await,
            (Order::Start { .. }, None) => Ok(()),
            (Order::Stop { .. }, _) => machine.stop().await,
            (Order::CutOff { .. }, _) => machine.cut_off().await,
            (Order::Remove { .. }, _) => {
                removed = true;
                machine.remove().await
            }
        };
        if let Err(error) = done {
            tracing::error!(?order, error = format!("{error:#}"), "a guest");
        }
        if removed {
            return;
        }
    }
    if let Err(error) = machine.remove().await {
        tracing::error!(error = format!("{error:#}"), "a guest is left");
    }
}
