//! A grid with one real runner: server, store and sandbox as they are in production, and a user who submits scripts.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use rgrid_api::artifacts::{Artifact, ArtifactKind, ListArtifacts};
use rgrid_api::blobs::{CommitBlob, CommitBlobs};
use rgrid_api::client::Client;
use rgrid_api::executions::{CreateExecution, Execution, InputBody, ProgramBody};
use rgrid_api::logs::{ReadLogs, Stream};
use rgrid_core::runtime::SandboxKind;
use rgrid_runner::{Config, Error, JoinSource, NetworkPolicy};
use rgrid_store::keys::Role;
use rgrid_store::testing::TestDatabase;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Whatever is waited for has happened by then, or never will.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// The user's project.
pub(crate) const PROJECT: &str = "/home/ada/project";

/// A runner of the grid.
pub(crate) struct Runner {
    pub(crate) stop: CancellationToken,
    pub(crate) running: JoinHandle<Result<(), Error>>,
}

/// Everything together.
pub(crate) struct Grid {
    pub(crate) client: Client,
    pub(crate) runner: Runner,
    /// Between the runner and the server.
    pub(crate) wire: Wire,
    pub(crate) data: TempDir,
    runtime: String,
    server_stop: CancellationToken,
    serving: JoinHandle<Result<(), rgrid_server::Error>>,
    database: TestDatabase,
}

/// A way to the server that can be cut.
pub(crate) struct Wire {
    url: String,
    whole: watch::Sender<bool>,
    /// So many uploads are refused, as by an object store whose signed addresses are over.
    refusals: Arc<AtomicU32>,
    /// Bytes of answers that go through a connection; the rest waits.
    answers_max: watch::Sender<u64>,
}

/// A script and all that goes with it.
pub(crate) struct Script {
    pub(crate) body: CreateExecution,
    blobs: BTreeMap<String, Vec<u8>>,
}

impl Grid {
    /// One worker, which is the user's own machine.
    pub(crate) async fn start() -> Self {
        Self::of(true).await
    }

    /// One worker of several that a grid may have.
    pub(crate) async fn of_workers() -> Self {
        Self::of(false).await
    }

    /// The same, which runs nothing but containers.
    pub(crate) async fn of_containers() -> Self {
        Self::with(false, SandboxKind::Docker).await
    }

    async fn of(embedded: bool) -> Self {
        Self::with(embedded, SandboxKind::Process).await
    }

    async fn with(embedded: bool, sandbox: SandboxKind) -> Self {
        static TLS: Once = Once::new();
        TLS.call_once(|| {
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let database = rgrid_store::testing::database().await;
        let store = database.store();
        let account = store.default_account().await.unwrap().id;
        let (_, key) = store.create_key(account, "test", Role::Admin).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server_stop = CancellationToken::new();
        let config = rgrid_server::Config {
            public_url: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            bounds: rgrid_server::Bounds::default(),
            largest_type: None,
            images: rgrid_core::runtime::Images::Own,
            sandbox: SandboxKind::Process,
            docker: rgrid_server::Docker::OfWorkers,
        };
        let data = TempDir::new().unwrap();
        let token = store.create_join_token(None, Duration::from_secs(60)).await.unwrap();
        let serving = tokio::spawn(rgrid_server::run(config, store, listener, server_stop.clone()));
        let wire = Wire::to(&url).await;
        let runner =
            Runner::start(&wire.url, JoinSource::Token(token), data.path().to_owned(), embedded, sandbox);
        let client = Client::new(&url, &key).unwrap();
        Self { client, runner, wire, data, runtime: runtime(), server_stop, serving, database }
    }

    /// Whatever is submitted from now on is another account's.
    pub(crate) async fn become_another_account(&mut self) {
        let store = self.database.store();
        let account = store.create_account("another").await.unwrap().id;
        let (_, key) = store.create_key(account, "test", Role::Admin).await.unwrap();
        self.client = Client::new(&self.wire.url, &key).unwrap();
    }

    /// A script of the project.
    pub(crate) fn script(&self, text: &str) -> Script {
        let path = format!("{PROJECT}/script.py");
        let body = CreateExecution {
            name: None,
            program: ProgramBody::Script { path: path.clone(), argv0: Some("script.py".to_owned()) },
            args: Vec::new(),
            cwd: PROJECT.to_owned(),
            project_root: PROJECT.to_owned(),
            inputs: Vec::new(),
            runtime: self.runtime.clone(),
            interpreter: None,
            interpreter_state: None,
            environment: BTreeMap::new(),
            stdin: false,
            cpu_millis: None,
            memory_bytes: None,
            disk_bytes: None,
            timeout_ms: Some(60_000),
            grace_ms: Some(2_000),
            retries: None,
            retry_on: Vec::new(),
            network: Some(false),
            output_roots: vec![PROJECT.to_owned()],
            outputs: Vec::new(),
            priority: 0,
            metadata: BTreeMap::new(),
            follow: true,
            umask: None,
            dependencies: None,
            reuse: false,
            stdin_sha256: None,
        };
        Script { body, blobs: BTreeMap::new() }.file(&path, text.as_bytes())
    }

    /// Submits and uploads; answers the id.
    pub(crate) async fn submit(&self, script: &Script) -> String {
        let key =
            format!("{:?}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap());
        let created = self.client.create_execution(&script.body, &key).await.unwrap();
        let mut uploads = Vec::new();
        for upload in created.missing {
            let bytes = script.blobs[&upload.sha256].clone();
            for part in &upload.parts {
                let from = (part.number as usize - 1) * upload.part_bytes as usize;
                let bytes = bytes[from..bytes.len().min(from + upload.part_bytes as usize)].to_vec();
                self.client.put_part(part, bytes.len() as u64, bytes.into()).await.unwrap();
            }
            uploads.push(CommitBlob { upload_id: upload.upload_id, sha256: upload.sha256 });
        }
        if !uploads.is_empty() {
            assert_eq!(self.client.commit_blobs(&CommitBlobs { uploads }).await.unwrap().refused, [""; 0]);
        }
        created.execution.id
    }

    /// Waits until the execution is as `wanted` says.
    pub(crate) async fn until(&self, id: &str, wanted: impl Fn(&Execution) -> bool) -> Execution {
        let waiting = async {
            loop {
                let execution = self.client.execution(id).await.unwrap();
                assert!(!self.runner.running.is_finished(), "the runner has ended");
                if wanted(&execution) {
                    return execution;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE, waiting).await.expect("it becomes as wanted")
    }

    /// Waits for the end.
    pub(crate) async fn end(&self, id: &str) -> Execution {
        self.until(id, |execution| execution.outcome.is_some()).await
    }

    /// Submits, and waits for the end.
    pub(crate) async fn run(&self, script: &Script) -> Execution {
        let id = self.submit(script).await;
        self.end(&id).await
    }

    /// Waits until the script has printed `word`.
    pub(crate) async fn printed(&self, id: &str, word: &str) {
        let waiting = async {
            while !self.log(id, Stream::Stdout).await.contains(word) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE, waiting).await.expect("it is printed");
    }

    /// What the script wrote on one stream; a gap is shown as such.
    pub(crate) async fn log(&self, id: &str, stream: Stream) -> String {
        let mut text = Vec::new();
        let mut cursor = None;
        loop {
            let page = self.client.logs(id, &ReadLogs { cursor, tail: None }).await.unwrap();
            for chunk in page.chunks.iter().filter(|chunk| chunk.stream == stream) {
                if chunk.gap_bytes > 0 {
                    text.extend_from_slice(format!("<gap of {}>", chunk.gap_bytes).as_bytes());
                }
                text.extend_from_slice(&chunk.bytes.0);
            }
            if page.chunks.is_empty() {
                return String::from_utf8_lossy(&text).into_owned();
            }
            cursor = Some(page.next);
        }
    }

    /// What came back, by path below the project.
    pub(crate) async fn outputs(&self, id: &str) -> BTreeMap<String, Artifact> {
        let query = ListArtifacts { kind: Some(ArtifactKind::Output), cursor: None, limit: None };
        let page = self.client.artifacts(id, &query).await.unwrap();
        let name = |path: &str| {
            path.strip_prefix(PROJECT).map_or(path, |rest| rest.trim_start_matches('/')).to_owned()
        };
        page.artifacts.into_iter().map(|artifact| (name(&artifact.path), artifact)).collect()
    }

    /// The bytes of an output.
    pub(crate) async fn bytes(&self, artifact: &Artifact) -> Vec<u8> {
        let url = artifact.url.as_ref().expect("an output has an address");
        self.client.get_blob(url, 0).await.unwrap().bytes().await.unwrap().to_vec()
    }

    /// Starts the runner again in its folder.
    pub(crate) fn restart_runner(&mut self) {
        let data = self.data.path().to_owned();
        self.runner = Runner::start(&self.wire.url, JoinSource::Joined, data, true, SandboxKind::Process);
    }

    /// Ends the worker, and starts another one that knows nothing yet.
    pub(crate) async fn fresh_worker(&mut self) {
        let store = self.database.store();
        let token = store.create_join_token(None, Duration::from_secs(60)).await.unwrap();
        let data = TempDir::new().unwrap();
        let (join, folder) = (JoinSource::Token(token), data.path().to_owned());
        let next = Runner::start(&self.wire.url, join, folder, false, SandboxKind::Process);
        std::mem::replace(&mut self.runner, next).stop().await.unwrap();
        self.data = data;
    }

    /// One more worker beside the first, and its folder.
    pub(crate) async fn another_worker(&self) -> (Runner, TempDir) {
        let token = self.database.store().create_join_token(None, Duration::from_secs(60)).await.unwrap();
        let data = TempDir::new().unwrap();
        let (join, folder) = (JoinSource::Token(token), data.path().to_owned());
        (Runner::start(&self.wire.url, join, folder, false, SandboxKind::Process), data)
    }

    /// Where its workers find it.
    pub(crate) fn address(&self) -> &str {
        &self.wire.url
    }

    /// The folder with the grid's objects.
    pub(crate) fn objects(&self) -> PathBuf {
        match self.database.config().objects {
            rgrid_store::objects::ObjectsConfig::Folder(folder) => folder,
            rgrid_store::objects::ObjectsConfig::S3(_) => unreachable!("the tests keep them in a folder"),
        }
    }

    /// Ends everything.
    pub(crate) async fn stop(self) {
        self.runner.stop().await.unwrap();
        self.server_stop.cancel();
        self.serving.await.unwrap().unwrap();
    }
}

impl Runner {
    pub(crate) fn start(
        url: &str,
        join: JoinSource,
        data_folder: PathBuf,
        embedded: bool,
        sandbox: SandboxKind,
    ) -> Self {
        let config = Config {
            api_url: url.to_owned(),
            join,
            data_folder,
            slots: Some(2),
            embedded,
            launcher: crate::ground::launcher(),
            bwrap: None,
            docker_socket: crate::ground::docker_socket(),
            isolation: rgrid_runner::Isolation::Only(sandbox),
            images_ahead: Vec::new(),
            uv: vec![crate::uv::path()],
            fetch_uv: None,
            own_mounts: false,
            network: NetworkPolicy::default(),
        };
        let stop = CancellationToken::new();
        Self { stop: stop.clone(), running: tokio::spawn(rgrid_runner::run(config, stop)) }
    }

    pub(crate) async fn stop(self) -> Result<(), Error> {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.running).await.expect("a runner stops").unwrap()
    }
}

impl Wire {
    async fn to(server: &str) -> Self {
        let server = server.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let whole = watch::Sender::new(true);
        let mut heard = whole.subscribe();
        let refusals = Arc::new(AtomicU32::new(0));
        let refusing = Arc::clone(&refusals);
        let answers_max = watch::Sender::new(u64::MAX);
        let answering = answers_max.subscribe();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                if !*heard.borrow_and_update() {
                    continue;
                }
                let (server, mut heard, refusals) = (server.clone(), heard.clone(), Arc::clone(&refusing));
                let answers_max = answering.clone();
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(server).await else { return };
                    tokio::select! {
                        _ = carry(&mut near, &mut far, &refusals, answers_max) => {}
                        _ = heard.wait_for(|whole| !whole) => {}
                    }
                });
            }
        });
        Self { url, whole, refusals, answers_max }
    }

    /// Refuses the next `number` uploads.
    pub(crate) fn refuse_uploads(&self, number: u32) {
        self.refusals.store(number, Ordering::Relaxed);
    }

    /// Uploads that are still to be refused.
    pub(crate) fn refusals_left(&self) -> u32 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// Lets so many bytes of answers through each connection, from its start.
    pub(crate) fn hold_answers_after(&self, bytes: u64) {
        self.answers_max.send_replace(bytes);
    }

    /// Cuts every connection, and every new one, until it is mended.
    pub(crate) fn cut(&self) {
        self.whole.send_replace(false);
    }

    pub(crate) fn mend(&self) {
        self.whole.send_replace(true);
    }
}

/// What S3 says of a signed address that is over.
const REFUSAL: &[u8] = b"HTTP/1.1 403 Forbidden\r\ncontent-type: application/xml\r\ncontent-length: 63\r\n\
    connection: close\r\n\r\n<Error><Code>AccessDenied</Code><Message>over</Message></Error>";

async fn carry(
    near: &mut TcpStream,
    far: &mut TcpStream,
    refusals: &AtomicU32,
    mut answers_max: watch::Receiver<u64>,
) -> std::io::Result<()> {
    let (mut asked, mut answered) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut passed = 0;
    loop {
        tokio::select! {
            read = near.read(&mut asked) => {
                let bytes = &asked[..read?];
                let refuses = bytes.starts_with(b"PUT ")
                    && refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
                if refuses {
                    near.write_all(REFUSAL).await?;
                    return near.shutdown().await;
                }
                if bytes.is_empty() {
                    return Ok(());
                }
                far.write_all(bytes).await?;
            }
            read = far.read(&mut answered) => {
                let bytes = &answered[..read?];
                if bytes.is_empty() {
                    return Ok(());
                }
                if answers_max.wait_for(|max| passed < *max).await.is_err() {
                    return Ok(());
                }
                near.write_all(bytes).await?;
                passed += bytes.len() as u64;
            }
        }
    }
}

impl Script {
    /// Sends a file along.
    pub(crate) fn file(mut self, path: &str, bytes: &[u8]) -> Self {
        let sha256: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        self.body.inputs.push(InputBody::File {
            path: path.to_owned(),
            sha256: sha256.clone(),
            size_bytes: bytes.len() as u64,
            mode: 0o644,
            modified_ns: 1_700_000_000_123_456_789,
        });
        self.blobs.insert(sha256, bytes.to_vec());
        self
    }

    /// Changes what is asked for.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut CreateExecution)) -> Self {
        change(&mut self.body);
        self
    }
}

/// The version of the Python that this machine has.
fn runtime() -> String {
    let question = "import sys; print('python:%d.%d' % sys.version_info[:2])";
    let output = Command::new("python3").args(["-c", question]).current_dir("/").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
