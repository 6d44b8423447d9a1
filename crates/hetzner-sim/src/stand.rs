//! A stand-in that runs: its address, its clock, and what can be asked of it and done to it from the same process.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::faults::{Deed, Fault, Standing};
use crate::guests::Drivers;
use crate::journal::Request;
use crate::labels::Labels;
use crate::ledger::Bill;
use crate::options::{Guests, Options, Pace};
use crate::servers::{Guest, Status};
use crate::world::World;
use crate::{shell, state_file};

/// Why a stand-in did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or not of this machine.
    #[error("cannot listen on {0}")]
    Listen(std::net::SocketAddr, #[source] std::io::Error),
    /// The file cannot be read or written, or holds something else.
    #[error("cannot keep the state in {0}")]
    State(std::path::PathBuf, #[source] std::io::Error),
    /// Servers cannot be containers here.
    #[error("cannot run servers as containers")]
    Engine(#[source] anyhow::Error),
    /// There is no token.
    #[error("nobody could come in: there is no token")]
    NoToken,
}

/// A server as it is behind the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerView {
    /// Its id.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its project.
    pub project: String,
    /// Its labels now.
    pub labels: Labels,
    /// Its type's name.
    pub server_type: String,
    /// Where it stands.
    pub location: String,
    /// From when on it costs.
    pub created: DateTime<Utc>,
    /// What the API says.
    pub status: Status,
    /// What the API does not say.
    pub guest: Guest,
    /// Whether its packets go nowhere.
    pub cut_off: bool,
    /// What it was given to start with.
    pub user_data: String,
}

/// The clock: what was stepped, and what has passed besides.
#[derive(Debug)]
pub(crate) struct Clock {
    pace: Pace,
    base: DateTime<Utc>,
    since: Instant,
}

impl Clock {
    pub(crate) fn new(pace: Pace, base: DateTime<Utc>) -> Self {
        Self { pace, base, since: Instant::now() }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        match self.pace {
            Pace::Stepped => self.base,
            Pace::Running { speed } => {
                let passed = TimeDelta::from_std(self.since.elapsed()).unwrap_or_default();
                self.base + passed * i32::try_from(speed).unwrap_or(i32::MAX)
            }
        }
    }

    pub(crate) fn pace(&self) -> Pace {
        self.pace
    }

    pub(crate) fn set_pace(&mut self, pace: Pace) {
        *self = Self::new(pace, self.now());
    }

    pub(crate) fn step(&mut self, by: TimeDelta) {
        self.base += by.max(TimeDelta::zero());
    }
}

/// What the parts of a running stand-in share.
pub(crate) struct Shared {
    pub(crate) world: Mutex<World>,
    pub(crate) clock: Mutex<Clock>,
    pub(crate) drivers: Drivers,
    pub(crate) state: Option<std::path::PathBuf>,
}

impl Shared {
    /// The world, with everything done that is due by now.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        let now = self.clock.lock().expect("no holder panics").now();
        let mut world = self.world.lock().expect("no holder panics");
        world.advance(now);
        world
    }

    /// Works in the world; then guests follow, and the state is kept.
    pub(crate) fn with<T>(self: &Arc<Self>, work: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.world();
        let result = work(&mut world);
        for order in world.take_orders() {
            self.drivers.follow(self, &world, order);
        }
        if let Some(file) = &self.state
            && let Err(error) = state_file::keep(file, &world)
        {
            tracing::error!(file = %file.display(), %error, "the state could not be kept");
        }
        result
    }

    pub(crate) fn step(self: &Arc<Self>, by: TimeDelta) {
        self.clock.lock().expect("no holder panics").step(by);
        self.with(|_| ());
    }

    pub(crate) fn servers(&self) -> Vec<ServerView> {
        let world = self.world();
        let mut views = Vec::new();
        for project in &world.projects {
            for server in project.servers.values() {
                views.push(ServerView {
                    id: server.id,
                    name: server.name.clone(),
                    project: project.name.clone(),
                    labels: server.labels.clone(),
                    server_type: world.catalog.type_of(server.server_type).name.clone(),
                    location: server.location.clone(),
                    created: server.created,
                    status: server.status,
                    guest: server.guest,
                    cut_off: server.cut_off,
                    user_data: server.user_data.clone(),
                });
            }
        }
        views
    }
}

/// A stand-in that answers. It ends when it is stopped or dropped.
pub struct Stand {
    shared: Arc<Shared>,
    address: std::net::SocketAddr,
    token: String,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl Stand {
    /// Listens and answers from when this returns.
    ///
    /// # Errors
    /// When it cannot listen, read its state, or has no token.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let token = options.tokens.first().ok_or(Error::NoToken)?.token.clone();
        let listener =
            TcpListener::bind(options.listen).await.map_err(|e| Error::Listen(options.listen, e))?;
        let address = listener.local_addr().map_err(|e| Error::Listen(options.listen, e))?;
        let kept = match &options.state {
            None => None,
            Some(file) => state_file::read(file).map_err(|e| Error::State(file.clone(), e))?,
        };
        let start = options.start.unwrap_or_else(Utc::now);
        let mut world = match kept {
            Some(mut world) => {
                world.order_running();
                world
            }
            None => World::new(start, options.seed, options.profile, options.timings, options.limits),
        };
        world.fields_on_conflict = options.fields_on_conflict;
        for token in &options.tokens {
            world.admit(token);
        }
        // A world that was kept goes on where it was, unless its clock is the real one and has gone on.
        let base = if options.start.is_none() && options.pace != Pace::Stepped {
            world.now.max(start)
        } else {
            world.now
        };
        let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
        let shared = Arc::new(Shared {
            world: Mutex::new(world),
            clock: Mutex::new(Clock::new(options.pace, base)),
            drivers: Drivers::new(options.guests.clone(), tasks.clone(), shutdown.clone()).await?,
            state: options.state,
        });
        shared.drivers.begin(&shared);
        shared.with(|_| ());
        if options.guests != Guests::Pretend {
            tasks.spawn(shell::tick(shared.clone(), shutdown.clone()));
        }
        tasks.spawn(shell::serve(listener, shared.clone(), shutdown.clone(), tasks.clone()));
        Ok(Self { shared, address, token, shutdown, tasks })
    }

    /// The API's address, `/v1` and all.
    pub fn endpoint(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The address under which `/_sim/` lies.
    pub fn root(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The first token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// What time it is.
    pub fn now(&self) -> DateTime<Utc> {
        self.shared.world().now
    }

    /// Lets time pass, and everything happen that is due in it.
    pub fn step(&self, by: Duration) {
        self.shared.step(TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX));
    }

    /// Changes how the clock goes.
    pub fn set_pace(&self, pace: Pace) {
        self.shared.clock.lock().expect("no holder panics").set_pace(pace);
    }

    /// When something will happen by itself next; none if nothing will.
    pub fn next_event(&self) -> Option<DateTime<Utc>> {
        self.shared.world().agenda.next()
    }

    /// Sets a fault, and gives its number.
    ///
    /// # Errors
    /// When its selector cannot be read, or there are too many.
    pub fn inject(&self, fault: Fault) -> Result<u64, String> {
        self.shared.with(|world| {
            let now = world.now;
            world.faults.add(fault, now)
        })
    }

    /// Does something behind everybody's back.
    ///
    /// # Errors
    /// When it names something that is not there.
    pub fn happen(&self, deed: Deed) -> Result<(), String> {
        self.shared.with(|world| world.do_deed(deed))
    }

    /// All faults since they were last cleared, with how often they have hit.
    pub fn faults(&self) -> Vec<Standing> {
        self.shared.world().faults.all().to_vec()
    }

    /// No fault stands any more. What is doomed stays so.
    pub fn clear_faults(&self) {
        self.shared.with(|world| world.faults.clear());
    }

    /// The bill by now.
    pub fn ledger(&self) -> Bill {
        let world = self.shared.world();
        world.ledger.bill(world.now)
    }

    /// The requests after this number, 0 for all, of those that are still kept.
    pub fn requests(&self, after: u64) -> Vec<Request> {
        self.shared.world().journal.after(after).cloned().collect()
    }

    /// The servers that there are, as they are behind the API.
    pub fn servers(&self) -> Vec<ServerView> {
        self.shared.servers()
    }

    /// What a server would be told at this path of its metadata service; none if nothing answers.
    pub fn metadata(&self, server: i64, path: &str) -> Option<String> {
        let world = self.shared.world();
        let (p, id) = world.named_server(&server.to_string()).ok()?;
        world.metadata(p, id, path)
    }

    /// Ends it: no request is answered any more, every guest is gone.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
