//! Thousands of workers at one API: one process speaks the workers' protocol for all of them, as runners do. `RGRID_SOAK=1`
//! has 10,000 of them for `RGRID_SOAK_MINUTES`; without it a tenth, for just longer than it takes to be called dead.
//!
//! What the API takes of the machine is printed. It is not asserted: what else runs beside it is not ours to say.
#![expect(clippy::print_stdout, reason = "what was measured is printed")]

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rgrid_api::attempts::Finish;
use rgrid_api::client::{AttemptRef, Client, ClientError};
use rgrid_api::outcome::OutcomeBody;
use rgrid_api::workers::{CapacityBody, Heartbeat, Held, Join, LeaseRequest, SandboxBody};
use rgrid_core::limits::{DEAD_AFTER, HEARTBEAT_PERIOD, LEASE_POLL_WAIT};
use rgrid_core::worker::WorkerStatus;
use rgrid_store::Store;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::outages::{patiently, sized};
use crate::server_grid::{Role, ServerGrid};

/// Workers that join at once.
const JOINING_MAX: usize = 64;
/// What a worker has.
const CAPACITY: CapacityBody =
    CapacityBody { cpu_millis: 4000, memory_bytes: 8 << 30, disk_bytes: 100 << 30 };
/// A worker that is refused tries again after this.
const PAUSE: Duration = Duration::from_secs(1);
/// The API's use of the machine is printed this often.
const REPORT_EVERY: usize = 30;
/// Linux counts time of a process in these for programs, on every machine.
const TICKS_PER_SECOND: f64 = 100.0;

/// What all workers have seen.
#[derive(Default)]
struct Seen {
    heartbeats: AtomicU64,
    polls: AtomicU64,
    failures: AtomicU64,
    /// The numbers of the attempts that were handed out, by execution.
    leases: Mutex<BTreeMap<String, Vec<u32>>>,
}

impl Seen {
    fn leased(&self, attempt: &AttemptRef) {
        let mut leases = self.leases.lock().unwrap();
        leases.entry(attempt.execution_id.clone()).or_default().push(attempt.attempt);
    }

    fn failed(&self, error: &ClientError) {
        if self.failures.fetch_add(1, Ordering::Relaxed) < 10 {
            println!("thousands: {error}: {:?}", std::error::Error::source(error).map(ToString::to_string));
        }
    }
}

/// One worker: heartbeats and polls, and every attempt ends at once.
#[derive(Clone)]
struct Worker {
    client: Client,
    held: Arc<Mutex<Vec<Held>>>,
    seen: Arc<Seen>,
}

impl Worker {
    async fn join(grid: &Client, store: &Store, seen: &Arc<Seen>) -> Self {
        let token = store.create_join_token(None, Duration::from_secs(600)).await.unwrap();
        let join = Join {
            nonce: token.clone(),
            token,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            hostname: "simulated".to_owned(),
            slots: 1,
            capacity: CAPACITY,
            sandbox: SandboxBody {
                kind: "process".to_owned(),
                network: "none".to_owned(),
                limits: "hard".to_owned(),
                disk: "hard".to_owned(),
            },
            docker: false,
        };
        let joined = grid.join(&join).await.unwrap();
        Self { client: grid.with_key(&joined.credential), held: Arc::default(), seen: Arc::clone(seen) }
    }

    fn holding(&self) -> Vec<Held> {
        self.held.lock().unwrap().clone()
    }

    async fn beats(self) {
        let mut period = tokio::time::interval(HEARTBEAT_PERIOD);
        loop {
            period.tick().await;
            match self.client.heartbeat(&Heartbeat { holding: self.holding() }).await {
                Ok(_) => drop(self.seen.heartbeats.fetch_add(1, Ordering::Relaxed)),
                Err(error) => self.seen.failed(&error),
            }
        }
    }

    async fn polls(self) {
        loop {
            let request = LeaseRequest {
                slots: 1,
                free: CAPACITY,
                holding: self.holding(),
                wait_ms: LEASE_POLL_WAIT.as_millis() as u64,
            };
            match self.client.lease(&request).await {
                Ok(answer) => {
                    self.seen.polls.fetch_add(1, Ordering::Relaxed);
                    for lease in answer.leases {
                        let attempt = AttemptRef {
                            execution_id: lease.execution_id,
                            attempt: lease.attempt,
                            token: lease.token,
                        };
                        self.run(attempt, lease.directive.version).await;
                    }
                }
                Err(error) => {
                    self.seen.failed(&error);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn run(&self, attempt: AttemptRef, directive: u64) {
        self.seen.leased(&attempt);
        self.held.lock().unwrap().push(attempt.held(directive));
        let finish = Finish {
            outcome: OutcomeBody::Exited { code: 0 },
            outputs: Vec::new(),
            not_brought_back: Vec::new(),
            stdout_bytes: 0,
            stderr_bytes: 0,
            peak_memory_bytes: None,
            cpu_ms: None,
            platform: None,
        };
        let ended = async {
            self.client.started(&attempt).await?;
            self.client.finish(&attempt, &finish).await
        };
        if let Err(error) = ended.await {
            self.seen.failed(&error);
        }
        self.held.lock().unwrap().clear();
    }
}

/// CPU time and resident memory of a process since it began: seconds, and bytes now and at most.
fn taken(pid: u32) -> (f64, u64, u64) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // After the name, which may hold anything: user and system time are the 12th and 13th.
    let times: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: f64 = times[11].parse::<f64>().unwrap() + times[12].parse::<f64>().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_matches([':', '\t', ' ', 'k', 'B']).parse::<u64>().unwrap() * 1024
    };
    (ticks / TICKS_PER_SECOND, bytes("VmRSS"), bytes("VmHWM"))
}

fn report(what: &str, since: Instant, before: f64, pid: u32, seen: &Seen) {
    let (seconds, bytes, bytes_max) = taken(pid);
    let elapsed = since.elapsed().as_secs_f64();
    println!(
        "thousands: {what}: {elapsed:.0} s, api {:.2} cores, {} MB resident, {} MB at most; heartbeats {}, polls {}, \
         failures {}",
        (seconds - before) / elapsed,
        bytes >> 20,
        bytes_max >> 20,
        seen.heartbeats.load(Ordering::Relaxed),
        seen.polls.load(Ordering::Relaxed),
        seen.failures.load(Ordering::Relaxed),
    );
}

/// As many descriptors as the system allows: each poll has a connection.
fn raise_descriptors() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

fn submit(grid: &ServerGrid, port: u16) -> String {
    let body = serde_json::json!({ "program": { "kind": "module", "name": "this" }, "cwd": "/home",
        "project_root": "/home", "runtime": "python:3.12", "network": false });
    let (status, answer) = grid.post(port, "/executions", &body.to_string());
    assert_eq!(status, 201, "{answer}");
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    answer["execution"]["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_workers_stay_alive_and_each_execution_is_handed_out_once() {
    let minutes = std::env::var("RGRID_SOAK_MINUTES").map_or(10, |text| text.parse().unwrap());
    let (workers, time) =
        sized((1_000, DEAD_AFTER + Duration::from_secs(15)), (10_000, Duration::from_secs(minutes * 60)));
    raise_descriptors();
    // Another test of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let grid = ServerGrid::new().await;
    let port = ServerGrid::free_port();
    let api: Role = grid.api(port);
    let _orchestrator = grid.orchestrator();
    let client = Client::new(&format!("http://127.0.0.1:{port}"), "").unwrap();
    let (store, seen, end) = (grid.database.store(), Arc::new(Seen::default()), CancellationToken::new());
    let begun = Instant::now();
    let joining = Arc::new(Semaphore::new(JOINING_MAX));
    let mut living = JoinSet::new();
    for _ in 0..workers {
        let permit = Arc::clone(&joining).acquire_owned().await.unwrap();
        let (client, store, seen, end) = (client.clone(), store.clone(), Arc::clone(&seen), end.clone());
        living.spawn(async move {
            let worker = Worker::join(&client, &store, &seen).await;
            drop(permit);
            let life = async { tokio::join!(worker.clone().beats(), worker.polls()) };
            tokio::select! {
                () = end.cancelled() => {}
                _ = life => unreachable!("a worker lives until the end"),
            }
        });
    }
    let _all = joining.acquire_many(JOINING_MAX as u32).await.unwrap();
    report("all have joined", begun, 0.0, api.pid(), &seen);

    let (begun, (before, ..)) = (Instant::now(), taken(api.pid()));
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut submitted = Vec::new();
    while begun.elapsed() < time {
        second.tick().await;
        submitted.push(submit(&grid, port));
        if submitted.len().is_multiple_of(REPORT_EVERY) {
            report("so far", begun, before, api.pid(), &seen);
        }
    }
    report("in all", begun, before, api.pid(), &seen);
    patiently("every execution ends", || grid.count(port, "queued,running") == 0);

    let rows = store.fleet(Duration::ZERO).await.unwrap();
    assert_eq!(rows.workers.len(), workers);
    for worker in &rows.workers {
        // One that was called dead, and came back, has another state since.
        assert_eq!((worker.status, Some(worker.status_since)), (WorkerStatus::Active, worker.joined_at));
        let silent = rows.now - worker.last_heartbeat_at.unwrap();
        assert!(silent.to_std().unwrap_or_default() < DEAD_AFTER, "{worker:?}");
    }
    end.cancel();
    living.join_all().await;
    let leases = seen.leases.lock().unwrap();
    let once: BTreeMap<String, Vec<u32>> = submitted.into_iter().map(|id| (id, vec![1])).collect();
    assert_eq!(*leases, once, "{}", grid.log());
}
