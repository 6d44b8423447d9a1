//! A grid without an API: the store, a cloud whose machines are moved by hand, and orchestrators over both.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rgrid_core::fleet::catalog::Catalog;
use rgrid_core::fleet::{Backing, FleetPolicy};
use rgrid_core::id::{ExecutionId, WorkerId};
use rgrid_core::outcome::Outcome;
use rgrid_core::runtime::DEFAULT_RUNTIME;
use rgrid_core::submission::{Draft, Program, Submission, Wanted};
use rgrid_core::worker::{Capacity, LimitGrade, WorkerStatus};
use rgrid_core::{limits, path::AbsolutePath};
use rgrid_orchestrator::cloud::{Cloud, Deletion, Error, Listing, Server, Target, Wish};
use rgrid_orchestrator::{Config, Period, Spending, run};
use rgrid_store::Store;
use rgrid_store::attempts::{AttemptAuth, FinishRow};
use rgrid_store::claim::{Claimed, Poll};
use rgrid_store::testing::TestDatabase;
use rgrid_store::workers::{JoinRow, SandboxRow, WorkerRow};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What a worker of these tests has.
pub(crate) const WHOLE: Capacity = Capacity { cpu_millis: 2000, memory_bytes: 8 << 30, disk_bytes: 50 << 30 };
/// A condition that does not come true within this never will.
const DEADLINE: Duration = Duration::from_secs(20);

/// Machines that are there only because the test says so. It calls itself `local`: absence is certain.
#[derive(Clone, Default)]
pub(crate) struct Hand {
    machines: Arc<Mutex<Machines>>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Machines {
    tokens: HashMap<WorkerId, String>,
    last_words: HashMap<WorkerId, String>,
    broken: bool,
}

impl Hand {
    pub(crate) fn created(&self) -> Vec<WorkerId> {
        let mut created: Vec<WorkerId> = self.machines.lock().unwrap().tokens.keys().copied().collect();
        created.sort();
        created
    }

    pub(crate) fn token(&self, worker: WorkerId) -> String {
        self.machines.lock().unwrap().tokens[&worker].clone()
    }

    /// The machine is gone, with these last words.
    pub(crate) fn lose(&self, worker: WorkerId, words: &str) {
        let mut machines = self.machines.lock().unwrap();
        machines.tokens.remove(&worker);
        machines.last_words.insert(worker, words.to_owned());
        drop(machines);
        self.changed.notify_one();
    }

    /// Nothing can be created from now on, or again.
    pub(crate) fn set_broken(&self, broken: bool) {
        self.machines.lock().unwrap().broken = broken;
    }
}

impl Cloud for Hand {
    fn name(&self) -> &'static str {
        "local"
    }

    fn backing(&self) -> Backing {
        Backing::Local
    }

    async fn list(&self, expected: &[Target]) -> Result<Listing, Error> {
        let machines = self.machines.lock().unwrap();
        let absent = |target: &&Target| !machines.tokens.contains_key(&target.worker);
        Ok(Listing {
            present: machines.tokens.keys().copied().collect(),
            gone: expected.iter().filter(absent).map(|target| target.worker).collect(),
            last_words: machines.last_words.clone(),
            ..Listing::default()
        })
    }

    async fn create(&self, wish: &Wish) -> Result<Option<Server>, Error> {
        let mut machines = self.machines.lock().unwrap();
        if machines.broken {
            return Err(Error::Spawn(std::io::ErrorKind::PermissionDenied.into()));
        }
        machines.tokens.insert(wish.worker, wish.join_token.clone());
        Ok(None)
    }

    async fn delete(&self, target: &Target) -> Result<Deletion, Error> {
        self.machines.lock().unwrap().tokens.remove(&target.worker);
        self.changed.notify_one();
        Ok(Deletion::Asked(chrono::Utc::now()))
    }

    async fn catalog(&self) -> Result<Catalog, Error> {
        Ok(Catalog::default())
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }

    async fn close(&self) {}
}

/// An orchestrator at work; it ends as it should when this is stopped, and at once when it is dropped.
pub(crate) struct Orchestrator {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), rgrid_orchestrator::Error>>,
}

impl Orchestrator {
    pub(crate) fn start(
        store: &Store,
        hand: &Hand,
        holder: &str,
        change: impl FnOnce(&mut FleetPolicy),
    ) -> Self {
        let shutdown = CancellationToken::new();
        let mut policy = FleetPolicy::embedded(WHOLE, 2);
        change(&mut policy);
        let config = Config {
            holder: holder.to_owned(),
            policy,
            retire: CancellationToken::new(),
            spending: Spending::On,
            period: Period::default(),
        };
        let task = tokio::spawn(run(config, store.clone(), hand.clone(), shutdown.clone()));
        Self { shutdown, task }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// As `kill -9` would: it resigns from nothing.
    pub(crate) fn kill(self) {
        self.task.abort();
    }
}

/// A database in which heartbeats are accepted: the API's beats go on until the value is dropped.
pub(crate) struct Grid {
    pub(crate) store: Store,
    pub(crate) database: TestDatabase,
    beats: JoinHandle<()>,
}

impl Grid {
    pub(crate) async fn new() -> Self {
        let database = rgrid_store::testing::database().await;
        let store = database.store();
        Self::over(database, store)
    }

    /// The same over a database that was made otherwise.
    pub(crate) fn over(database: TestDatabase, store: Store) -> Self {
        let beating = store.clone();
        let beats = tokio::spawn(async move {
            loop {
                let _ = beating.beat("replica").await;
                tokio::time::sleep(limits::HEARTBEAT_FLUSH).await;
            }
        });
        Self { store, database, beats }
    }

    pub(crate) async fn submit(&self) -> ExecutionId {
        self.try_submit().await.unwrap()
    }

    pub(crate) async fn try_submit(&self) -> Result<ExecutionId, rgrid_store::Error> {
        let account = self.store.default_account().await?.id;
        Ok(self.store.create_execution(account, &submission(), false, None).await?.execution.id)
    }

    /// What a runner does when it has read its token.
    pub(crate) async fn join(&self, hand: &Hand, worker: WorkerId) {
        assert_eq!(self.join_by(hand.token(worker)).await, worker);
    }

    /// The worker that a token makes.
    pub(crate) async fn join_by(&self, token: String) -> WorkerId {
        let row = join_row(token);
        self.store.join(&row).await.unwrap().0
    }

    pub(crate) async fn claim(&self, worker_id: WorkerId) -> Vec<Claimed> {
        self.store.claim(&[Poll { worker_id, slots: 2, free: WHOLE }]).await.unwrap()
    }

    pub(crate) async fn worker(&self, worker: WorkerId) -> WorkerRow {
        self.store.workers().await.unwrap().into_iter().find(|row| row.id == worker).unwrap()
    }

    pub(crate) async fn status(&self, worker: WorkerId) -> WorkerStatus {
        self.worker(worker).await.status
    }
}

impl Drop for Grid {
    fn drop(&mut self) {
        self.beats.abort();
    }
}

/// What a runner of this size says.
pub(crate) fn join_row(token: String) -> JoinRow {
    JoinRow {
        token,
        nonce: "nonce".to_owned(),
        version: "1".to_owned(),
        hostname: "here".to_owned(),
        slots: 2,
        capacity: WHOLE,
        sandbox: SandboxRow {
            kind: "process".to_owned(),
            network: "veth".to_owned(),
            limits: LimitGrade::Hard,
            disk: LimitGrade::Watched,
        },
        docker: false,
    }
}

fn submission() -> Submission {
    let folder: AbsolutePath = "/home/me/project".parse().unwrap();
    Draft {
        name: None,
        program: Program::Module("tool".to_owned()),
        args: Vec::new(),
        cwd: folder.clone(),
        project_root: folder,
        inputs: Vec::new(),
        runtime: DEFAULT_RUNTIME,
        interpreter: None,
        interpreter_state: None,
        environment: std::collections::BTreeMap::new(),
        stdin: false,
        wanted: Wanted::default(),
        timeout: limits::TIMEOUT,
        grace: limits::GRACE,
        retries: 20,
        retry_on: Vec::new(),
        network: true,
        output_roots: Vec::new(),
        outputs: Vec::new(),
        priority: 0,
        metadata: std::collections::BTreeMap::new(),
        umask: rgrid_core::submission::UMASK,
        dependencies: None,
    }
    .parse()
    .unwrap()
}

/// Looks until the condition is true.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < DEADLINE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What an attempt's calls prove themselves with.
pub(crate) fn auth(worker_id: WorkerId, claimed: &Claimed) -> AttemptAuth {
    AttemptAuth {
        execution_id: claimed.attempt.execution_id,
        attempt: claimed.attempt.number,
        token: claimed.token.clone(),
        worker_id,
    }
}

/// Exit code 0 and no output.
pub(crate) fn finished() -> FinishRow {
    FinishRow {
        outcome: Outcome::Exited { code: 0 },
        outputs: Vec::new(),
        not_brought_back: Vec::new(),
        stdout_bytes: 0,
        stderr_bytes: 0,
        peak_memory_bytes: None,
        cpu_ms: None,
        platform: None,
    }
}
