//! A grid of one or more replicas on a database of its own, and the people and runners that speak to it.

use std::collections::BTreeMap;
use std::sync::Once;
use std::time::Duration;

use chrono::Utc;
use futures_util::StreamExt;
use rgrid_api::blobs::{BlobName, BlobsWanted, CommitBlob, CommitBlobs, Upload};
use rgrid_api::bytes64::Bytes64;
use rgrid_api::client::{AttemptRef, Client, ClientError};
use rgrid_api::error::ErrorCode;
use rgrid_api::events::FollowEvent;
use rgrid_api::executions::{CreateExecution, Created, Execution, InputBody, ProgramBody};
use rgrid_api::logs::{Cursor, LogChunk, Stream};
use rgrid_api::workers::{CapacityBody, Held, Join, Lease, LeaseAnswer, LeaseRequest, SandboxBody};
use rgrid_core::runtime::{Images, SandboxKind};
use rgrid_server::Bounds;
use rgrid_store::keys::Role;
use rgrid_store::objects::ObjectsConfig;
use rgrid_store::testing::TestDatabase;
use rgrid_store::{Store, StoreConfig};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Whatever is waited for has happened by then, or never will.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The image that these grids take, under the short name `data`.
pub(crate) const IMAGE: &str = "ghcr.io/me/data:1";
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// One replica of the server.
pub(crate) struct Replica {
    pub(crate) url: String,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serving: JoinHandle<Result<(), rgrid_server::Error>>,
}

impl Replica {
    async fn start(store: Store, bounds: Bounds, sandbox: SandboxKind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let config = rgrid_server::Config {
            public_url: None,
            version: VERSION.to_owned(),
            bounds,
            largest_type: None,
            images: Images::Listed(
                [("data", IMAGE), ("python-3.12", "python:3.12-slim")]
                    .map(|(short, image)| (short.to_owned(), image.parse().unwrap()))
                    .into(),
            ),
            sandbox,
            docker: rgrid_server::Docker::OfWorkers,
        };
        let serving = tokio::spawn(rgrid_server::run(config, store, listener, shutdown.clone()));
        Self { url, shutdown, serving }
    }
}

pub(crate) struct Grid {
    pub(crate) replica: Replica,
    pub(crate) store: Store,
    pub(crate) key: String,
    pub(crate) database: TestDatabase,
}

impl Grid {
    pub(crate) async fn start() -> Self {
        Self::start_bounded(Bounds::default()).await
    }

    /// A grid that bounds its connections otherwise.
    pub(crate) async fn start_bounded(bounds: Bounds) -> Self {
        static TLS: Once = Once::new();
        TLS.call_once(|| {
            // Where a test's S3 server was first, it is the same one.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let database = rgrid_store::testing::database().await;
        let store = database.store();
        Self::start_with(database, store, bounds, SandboxKind::Process).await
    }

    /// A grid that runs scripts in containers.
    pub(crate) async fn start_in_containers() -> Self {
        let database = rgrid_store::testing::database().await;
        let store = database.store();
        Self::start_with(database, store, Bounds::default(), SandboxKind::Docker).await
    }

    /// A grid whose objects lie elsewhere.
    pub(crate) async fn start_on(objects: ObjectsConfig) -> Self {
        // The server that holds them has set up TLS.
        let database = rgrid_store::testing::database().await;
        let config = StoreConfig { objects, ..database.config() };
        let store = Store::connect(&config).await.unwrap();
        Self::start_with(database, store, Bounds::default(), SandboxKind::Process).await
    }

    async fn start_with(database: TestDatabase, store: Store, bounds: Bounds, sandbox: SandboxKind) -> Self {
        let account = store.default_account().await.unwrap().id;
        let (_, key) = store.create_key(account, "test", Role::Admin).await.unwrap();
        let replica = Replica::start(store.clone(), bounds, sandbox).await;
        Self { replica, store, key, database }
    }

    /// Another replica, with a store of its own.
    pub(crate) async fn another_replica(&self) -> Replica {
        let store = Store::connect(&self.database.config()).await.unwrap();
        Replica::start(store, Bounds::default(), SandboxKind::Process).await
    }

    pub(crate) fn url(&self) -> &str {
        &self.replica.url
    }

    /// An admin of the default account.
    pub(crate) fn client(&self) -> Client {
        client(self.url(), &self.key)
    }

    /// A member of an account of its own.
    pub(crate) async fn stranger(&self, name: &str) -> Client {
        let account = self.store.create_account(name).await.unwrap().id;
        let (_, key) = self.store.create_key(account, name, Role::Member).await.unwrap();
        client(self.url(), &key)
    }

    /// A runner that has joined.
    pub(crate) async fn runner(&self) -> Runner {
        let token = self.store.create_join_token(None, Duration::from_secs(60)).await.unwrap();
        let joined = client(self.url(), "").join(&join(&token)).await.unwrap();
        let client = client(self.url(), &joined.credential);
        Runner { client, worker_id: joined.worker_id, credential: joined.credential }
    }
}

pub(crate) fn client(url: &str, key: &str) -> Client {
    Client::new(url, key).unwrap()
}

pub(crate) fn join(token: &str) -> Join {
    Join {
        token: token.to_owned(),
        nonce: "nonce".to_owned(),
        version: VERSION.to_owned(),
        hostname: "machine".to_owned(),
        slots: 2,
        capacity: CAPACITY,
        sandbox: SandboxBody {
            kind: "process".to_owned(),
            network: "pasta".to_owned(),
            limits: "watched".to_owned(),
            disk: "watched".to_owned(),
        },
        docker: false,
    }
}

pub(crate) const CAPACITY: CapacityBody =
    CapacityBody { cpu_millis: 4000, memory_bytes: 8 << 30, disk_bytes: 100 << 30 };

pub(crate) struct Runner {
    pub(crate) client: Client,
    pub(crate) worker_id: String,
    pub(crate) credential: String,
}

impl Runner {
    /// The same runner, as it speaks to another replica.
    pub(crate) fn at(&self, url: &str) -> Self {
        let client = client(url, &self.credential);
        Self { client, worker_id: self.worker_id.clone(), credential: self.credential.clone() }
    }

    pub(crate) async fn poll(&self, slots: u32, holding: Vec<Held>, wait: Duration) -> LeaseAnswer {
        let request = LeaseRequest { slots, free: CAPACITY, holding, wait_ms: wait.as_millis() as u64 };
        self.client.lease(&request).await.unwrap()
    }

    /// The next attempt.
    pub(crate) async fn lease(&self) -> Lease {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let mut answer = self.poll(1, Vec::new(), Duration::from_secs(20)).await;
            if let Some(lease) = answer.leases.pop() {
                return lease;
            }
            assert!(tokio::time::Instant::now() < deadline, "no attempt came");
        }
    }

    pub(crate) async fn push(&self, attempt: &AttemptRef, stream: Stream, offset: u64, bytes: &[u8]) {
        let chunk = chunk(attempt.attempt, stream, offset, bytes);
        let body = rgrid_api::attempts::PushLogs { chunks: vec![chunk] };
        self.client.push_logs(attempt, &body).await.unwrap();
    }

    /// Uploads bytes as an output of the attempt; its hash.
    pub(crate) async fn upload(&self, attempt: &AttemptRef, bytes: &[u8]) -> String {
        let name = name(bytes);
        let missing =
            self.client.attempt_blobs_missing(attempt, &BlobsWanted { blobs: vec![name.clone()] }).await;
        for upload in missing.unwrap().missing {
            put(&self.client, &upload, bytes).await;
            let committed = self.client.attempt_commit_blobs(attempt, &commit(&upload)).await.unwrap();
            assert!(committed.refused.is_empty());
        }
        name.sha256
    }
}

pub(crate) fn attempt_of(lease: &Lease) -> AttemptRef {
    AttemptRef {
        execution_id: lease.execution_id.clone(),
        attempt: lease.attempt,
        token: lease.token.clone(),
    }
}

pub(crate) fn chunk(attempt: u32, stream: Stream, offset: u64, bytes: &[u8]) -> LogChunk {
    LogChunk { attempt, stream, offset, bytes: Bytes64(bytes.to_vec()), gap_bytes: 0, at: Utc::now() }
}

pub(crate) fn finish(code: u8, stdout_bytes: u64, stderr_bytes: u64) -> rgrid_api::attempts::Finish {
    rgrid_api::attempts::Finish {
        outcome: rgrid_api::outcome::OutcomeBody::Exited { code },
        outputs: Vec::new(),
        not_brought_back: Vec::new(),
        stdout_bytes,
        stderr_bytes,
        peak_memory_bytes: Some(1 << 20),
        cpu_ms: Some(5),
        platform: None,
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn name(bytes: &[u8]) -> BlobName {
    BlobName { sha256: sha256(bytes), size_bytes: bytes.len() as u64 }
}

/// A submission of one script with these bytes.
pub(crate) fn script(bytes: &[u8]) -> CreateExecution {
    CreateExecution {
        name: None,
        program: ProgramBody::Script { path: "/home/me/hello.py".to_owned(), argv0: None },
        args: vec!["--fast".to_owned()],
        cwd: "/home/me".to_owned(),
        project_root: "/home/me".to_owned(),
        inputs: vec![InputBody::File {
            path: "/home/me/hello.py".to_owned(),
            sha256: sha256(bytes),
            size_bytes: bytes.len() as u64,
            mode: 0o644,
            modified_ns: 1_700_000_000_000_000_000,
        }],
        runtime: "python:3.12".to_owned(),
        interpreter: None,
        interpreter_state: None,
        environment: BTreeMap::from([("TOKEN".to_owned(), "hush".to_owned())]),
        stdin: false,
        cpu_millis: None,
        memory_bytes: None,
        disk_bytes: None,
        timeout_ms: None,
        grace_ms: None,
        retries: None,
        retry_on: Vec::new(),
        network: None,
        output_roots: vec!["/home/me".to_owned()],
        outputs: Vec::new(),
        priority: 0,
        metadata: BTreeMap::from([("team".to_owned(), "blue".to_owned())]),
        follow: false,
        umask: None,
        dependencies: None,
        reuse: false,
        stdin_sha256: None,
    }
}

/// A submission that needs no bytes.
pub(crate) fn module() -> CreateExecution {
    CreateExecution {
        program: ProgramBody::Module { name: "this".to_owned() },
        inputs: Vec::new(),
        ..script(b"")
    }
}

pub(crate) async fn submit(client: &Client, body: &CreateExecution) -> Created {
    client.create_execution(body, &fresh_key()).await.unwrap()
}

/// An idempotency key that nobody used.
pub(crate) fn fresh_key() -> String {
    let mut random = [0; 16];
    getrandom::fill(&mut random).unwrap();
    sha256(&random)
}

pub(crate) async fn put(client: &Client, upload: &Upload, bytes: &[u8]) {
    for part in &upload.parts {
        let start = (u64::from(part.number) - 1) * upload.part_bytes;
        let end = (start + upload.part_bytes).min(upload.size_bytes);
        let part_bytes = bytes[start as usize..end as usize].to_vec();
        client.put_part(part, part_bytes.len() as u64, part_bytes.into()).await.unwrap();
    }
}

pub(crate) fn commit(upload: &Upload) -> CommitBlobs {
    let one = CommitBlob { upload_id: upload.upload_id.clone(), sha256: upload.sha256.clone() };
    CommitBlobs { uploads: vec![one] }
}

/// What a follower saw.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) statuses: Vec<String>,
    pub(crate) cursor: Cursor,
    pub(crate) end: Option<Execution>,
}

impl Followed {
    pub(crate) fn take(&mut self, event: FollowEvent) {
        match event {
            FollowEvent::Status { execution } => self.statuses.push(execution.status),
            FollowEvent::Log { chunk } => {
                self.cursor = self.cursor.after(&chunk);
                let seen = match chunk.stream {
                    Stream::Stdout => &mut self.stdout,
                    Stream::Stderr => &mut self.stderr,
                };
                assert_eq!(chunk.offset, seen.len() as u64, "a gap or a duplicate");
                seen.extend(chunk.bytes.0);
            }
            FollowEvent::End { execution } => self.end = Some(*execution),
        }
    }

    /// Goes on from where it is until `enough` says so, or the end.
    pub(crate) async fn read(&mut self, client: &Client, id: &str, enough: impl Fn(&Self) -> bool) {
        let mut events = client.follow(id, self.cursor).await.unwrap();
        self.until(&mut events, enough).await;
    }

    /// Takes what this stream brings until `enough` says so, or the end.
    pub(crate) async fn until(
        &mut self,
        events: &mut (impl futures_util::Stream<Item = Result<FollowEvent, ClientError>> + Unpin),
        enough: impl Fn(&Self) -> bool,
    ) {
        while self.end.is_none() && !enough(self) {
            let event = tokio::time::timeout(DEADLINE, events.next()).await.expect("an event comes");
            self.take(event.expect("the stream is not cut").unwrap());
        }
    }

    pub(crate) async fn to_end(client: &Client, id: &str) -> Self {
        let mut followed = Self::default();
        followed.read(client, id, |_| false).await;
        followed
    }
}

/// The code of a refusal.
pub(crate) fn code<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> ErrorCode {
    match answer {
        Err(ClientError::Api(error)) => error.code,
        other => panic!("not a refusal: {other:?}"),
    }
}
