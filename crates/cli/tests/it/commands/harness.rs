//! A grid of one server on a database of its own, a worker that is played by hand, and the command as a process.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Once;
use std::time::Duration;

use chrono::Utc;
use clap::{CommandFactory, Parser};
use rgrid_api::artifacts::{Artifact, ArtifactKind};
use rgrid_api::attempts::{Finish, PushLogs};
use rgrid_api::blobs::{BlobName, BlobsWanted, CommitBlob, CommitBlobs};
use rgrid_api::bytes64::Bytes64;
use rgrid_api::client::{AttemptRef, Client, ClientError};
use rgrid_api::logs::{LogChunk, Stream};
use rgrid_api::outcome::OutcomeBody;
use rgrid_api::workers::{CapacityBody, Join, Lease, LeaseRequest, SandboxBody};
use rgrid_cli::{Audience, Check, EmbeddedGrid, Globals, GridAddress};
use rgrid_core::runtime::SandboxKind;
use rgrid_store::keys::Role;
use rgrid_store::testing::TestDatabase;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Whatever is waited for has happened by then, or never will.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The command line of the process that is to become `rgrid`, as a shell would read it.
const WORDS: &str = "RGRID_TEST_WORDS";
/// Set when the grid is to be taken for this machine's own.
const EMBEDDED: &str = "RGRID_TEST_EMBEDDED";
/// What stands on stdout before the command's own output: the test harness says something first.
const START: &[u8] = b"\x00the command starts\x00\n";

#[derive(Debug, Parser)]
#[command(name = "rgrid")]
struct Line {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: rgrid_cli::Command,
}

/// Takes the address from the environment for the one of this machine.
struct Machine;

impl EmbeddedGrid for Machine {
    async fn find(&self) -> Option<GridAddress> {
        let text = std::env::var(EMBEDDED).ok()?;
        let (url, key) = text.split_once(' ')?;
        Some(GridAddress { url: url.to_owned(), key: key.to_owned() })
    }

    async fn ensure(&self, _audience: &dyn Audience) -> Result<GridAddress, anyhow::Error> {
        self.find().await.ok_or_else(|| anyhow::anyhow!("this test has no grid of this machine"))
    }

    fn sandbox(&self, _audience: &dyn Audience) -> Result<SandboxKind, anyhow::Error> {
        Ok(SandboxKind::Process)
    }

    async fn uv(&self, _audience: &dyn Audience) -> Result<PathBuf, anyhow::Error> {
        Ok(crate::uv::path())
    }

    fn doctor(&self) -> Vec<Check> {
        Vec::new()
    }

    fn command_line(&self) -> clap::Command {
        Line::command()
    }
}

/// No test of its own: the entry of the command.
#[test]
fn the_command() {
    let Ok(words) = std::env::var(WORDS) else { return };
    tls();
    let mut stdout = std::io::stdout();
    stdout.write_all(START).and_then(|()| stdout.flush()).unwrap();
    let code = match Line::try_parse_from(shlex::split(&words).unwrap()) {
        Ok(line) => rgrid_cli::run(line.command, line.globals, &Machine),
        Err(error) => rgrid_cli::usage(&error),
    };
    // `ExitCode` has no number to read: each possible one is compared.
    let code = (0..=255u8).find(|number| format!("{:?}", ExitCode::from(*number)) == format!("{code:?}"));
    std::process::exit(i32::from(code.unwrap()));
}

fn tls() {
    static TLS: Once = Once::new();
    TLS.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
}

/// A running server, and a folder for the person's files.
pub(crate) struct Grid {
    pub(crate) url: String,
    pub(crate) key: String,
    pub(crate) folder: tempfile::TempDir,
    database: TestDatabase,
    shutdown: CancellationToken,
}

impl Drop for Grid {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Grid {
    pub(crate) async fn start() -> Self {
        tls();
        let database = rgrid_store::testing::database().await;
        let store = database.store();
        let account = store.default_account().await.unwrap().id;
        let (_, key) = store.create_key(account, "test", Role::Admin).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pyproject.toml"), "").unwrap();
        let mut grid = Self { url: String::new(), key, folder, database, shutdown: CancellationToken::new() };
        grid.serve("127.0.0.1:0").await;
        grid
    }

    /// Serves at `address` until the server is stopped.
    async fn serve(&mut self, address: &str) {
        let listener = TcpListener::bind(address).await.unwrap();
        self.url = format!("http://{}", listener.local_addr().unwrap());
        self.shutdown = CancellationToken::new();
        let config = rgrid_server::Config {
            public_url: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            bounds: rgrid_server::Bounds::default(),
            largest_type: None,
            images: rgrid_core::runtime::Images::Own,
            sandbox: SandboxKind::Process,
            docker: rgrid_server::Docker::OfWorkers,
        };
        tokio::spawn(rgrid_server::run(config, self.database.store(), listener, self.shutdown.clone()));
    }

    /// Ends the server and starts another at the same address.
    pub(crate) async fn restart(&mut self) {
        self.shutdown.cancel();
        let address = self.url.trim_start_matches("http://").to_owned();
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while TcpListener::bind(&address).await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "the server did not let go of its address");
            tokio::task::yield_now().await;
        }
        self.serve(&address).await;
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url, &self.key).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        // The working directory has its links resolved.
        self.folder.path().canonicalize().unwrap().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// The command, connected by RGRID_URL and RGRID_API_KEY.
    pub(crate) fn rgrid(&self, words: &[&str]) -> Process {
        self.start_command(words, false, Stdio::null())
    }

    /// The same, in a folder below the person's.
    pub(crate) fn rgrid_in(&self, folder: &str, words: &[&str]) -> Process {
        let mut command = self.command(words, false);
        command.current_dir(self.path(folder));
        Process::start(command)
    }

    /// The same, with these variables, and without those of the machine that name an index.
    pub(crate) fn rgrid_with(&self, words: &[&str], variables: &[(&str, &str)]) -> Process {
        let mut command = self.command(words, false);
        for name in ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_FIND_LINKS", "VIRTUAL_ENV"] {
            command.env_remove(name);
        }
        command.envs(variables.iter().copied());
        Process::start(command)
    }

    /// The command, with the grid taken for this machine's own.
    pub(crate) fn rgrid_embedded(&self, words: &[&str]) -> Process {
        self.start_command(words, true, Stdio::null())
    }

    pub(crate) fn start_command(&self, words: &[&str], embedded: bool, stdin: Stdio) -> Process {
        let mut command = self.command(words, embedded);
        command.stdin(stdin);
        Process::start(command)
    }

    fn command(&self, words: &[&str], embedded: bool) -> Command {
        // `env` makes signals as in a terminal, however the tests themselves were started: `nohup` has them ignore some.
        let mut command = Command::new("/usr/bin/env");
        command.arg("--default-signal=HUP,INT,TERM").arg(std::env::current_exe().unwrap());
        command.args([
            "--exact",
            "commands::harness::the_command",
            "--nocapture",
            "--quiet",
            "--test-threads=1",
        ]);
        command.env(WORDS, shlex::try_join([&["rgrid"], words].concat()).unwrap());
        command.env("HOME", self.path("home")).current_dir(self.path(""));
        command.env_remove("RGRID_URL").env_remove("RGRID_API_KEY");
        if embedded {
            command.env(EMBEDDED, format!("{} {}", self.url, self.key));
        } else {
            command.env("RGRID_URL", &self.url).env("RGRID_API_KEY", &self.key);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A worker that has joined.
    pub(crate) async fn worker(&self) -> Worker {
        let token = self.database.store().create_join_token(None, Duration::from_secs(60)).await.unwrap();
        let join = Join {
            token,
            nonce: "nonce".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
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
        };
        let joined = Client::new(&self.url, "").unwrap().join(&join).await.unwrap();
        Worker { client: Client::new(&self.url, &joined.credential).unwrap() }
    }
}

const CAPACITY: CapacityBody =
    CapacityBody { cpu_millis: 4000, memory_bytes: 8 << 30, disk_bytes: 100 << 30 };

/// The command as it runs.
pub(crate) struct Process {
    pub(crate) child: Child,
    stdout: Output,
    stderr: Output,
}

/// A stream of a process, read by a thread so that it never fills.
struct Output(std::sync::mpsc::Receiver<Vec<u8>>, Vec<u8>);

impl Output {
    fn of(mut stream: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self(receiver, Vec::new())
    }

    fn wait_for(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.1).contains(text) {
            match self.0.recv_timeout(DEADLINE) {
                Ok(bytes) => self.1.extend(bytes),
                Err(_) => panic!("{text:?} did not come; what came: {:?}", String::from_utf8_lossy(&self.1)),
            }
        }
    }

    fn rest(&mut self) -> Vec<u8> {
        while let Ok(bytes) = self.0.recv_timeout(DEADLINE) {
            self.1.extend(bytes);
        }
        std::mem::take(&mut self.1)
    }
}

/// How the command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Process {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = Output::of(child.stdout.take().unwrap());
        let stderr = Output::of(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Waits until `text` stands on stdout. Blocks the thread: only where nothing else must run on it.
    pub(crate) async fn stdout_has(&mut self, text: &str) {
        tokio::task::block_in_place(|| self.stdout.wait_for(text));
    }

    pub(crate) async fn stderr_has(&mut self, text: &str) {
        tokio::task::block_in_place(|| self.stderr.wait_for(text));
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    pub(crate) async fn end(mut self) -> Ended {
        tokio::task::block_in_place(move || {
            let stdout = self.stdout.rest();
            let stderr = self.stderr.rest();
            let code = self.child.wait().unwrap().code();
            let start = stdout
                .windows(START.len())
                .position(|window| window == START)
                .map_or(0, |at| at + START.len());
            Ended {
                code,
                stdout: String::from_utf8_lossy(&stdout[start..]).into_owned(),
                stderr: String::from_utf8_lossy(&stderr).into_owned(),
            }
        })
    }
}

/// A worker that is played by hand.
pub(crate) struct Worker {
    pub(crate) client: Client,
}

impl Worker {
    /// The next attempt.
    pub(crate) async fn lease(&self) -> Attempt<'_> {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let request = LeaseRequest { slots: 1, free: CAPACITY, holding: Vec::new(), wait_ms: 20_000 };
            if let Some(lease) = self.client.lease(&request).await.unwrap().leases.pop() {
                let reference = AttemptRef {
                    execution_id: lease.execution_id.clone(),
                    attempt: lease.attempt,
                    token: lease.token.clone(),
                };
                return Attempt { worker: self, lease, reference, stdout: 0, stderr: 0 };
            }
            assert!(tokio::time::Instant::now() < deadline, "no attempt came");
        }
    }
}

/// An attempt that a test plays.
pub(crate) struct Attempt<'a> {
    worker: &'a Worker,
    pub(crate) lease: Lease,
    pub(crate) reference: AttemptRef,
    stdout: u64,
    stderr: u64,
}

impl Attempt<'_> {
    pub(crate) async fn print(&mut self, text: &str) {
        self.push(Stream::Stdout, text.as_bytes()).await;
    }

    pub(crate) async fn print_error(&mut self, text: &str) {
        self.push(Stream::Stderr, text.as_bytes()).await;
    }

    pub(crate) async fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let offset = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let chunk = LogChunk {
            attempt: self.lease.attempt,
            stream,
            offset: *offset,
            bytes: Bytes64(bytes.to_vec()),
            gap_bytes: 0,
            at: Utc::now(),
        };
        *offset += bytes.len() as u64;
        let body = PushLogs { chunks: vec![chunk] };
        // As a runner does: a server that restarts is waited for.
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while let Err(error) = self.worker.client.push_logs(&self.reference, &body).await {
            assert!(error.is_passing() && tokio::time::Instant::now() < deadline, "{error}");
        }
    }

    /// Waits until somebody asked to end it.
    pub(crate) async fn cancelled(&self) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        let mut seen = self.lease.directive.version;
        while tokio::time::Instant::now() < deadline {
            let holding = vec![self.reference.held(seen)];
            let request = LeaseRequest { slots: 0, free: CAPACITY, holding, wait_ms: 20_000 };
            for directive in self.worker.client.lease(&request).await.unwrap().directives {
                if directive.cancel.is_some() {
                    return;
                }
                seen = directive.version;
            }
        }
        panic!("nobody cancelled");
    }

    /// Uploads an output.
    pub(crate) async fn output(&self, path: &Path, bytes: &[u8]) -> Artifact {
        let sha256: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let size_bytes = bytes.len() as u64;
        let wanted = BlobsWanted { blobs: vec![BlobName { sha256: sha256.clone(), size_bytes }] };
        let client = &self.worker.client;
        for upload in client.attempt_blobs_missing(&self.reference, &wanted).await.unwrap().missing {
            for part in &upload.parts {
                let start = (u64::from(part.number - 1) * upload.part_bytes) as usize;
                let end = bytes.len().min(start + upload.part_bytes as usize);
                let body = bytes[start..end].to_vec();
                client.put_part(part, body.len() as u64, body.into()).await.unwrap();
            }
            let commit = CommitBlob { upload_id: upload.upload_id.clone(), sha256: upload.sha256.clone() };
            let answer =
                client.attempt_commit_blobs(&self.reference, &CommitBlobs { uploads: vec![commit] }).await;
            assert!(answer.unwrap().refused.is_empty());
        }
        Artifact {
            kind: ArtifactKind::Output,
            path: path.to_str().unwrap().to_owned(),
            sha256: Some(sha256),
            size_bytes,
            mode: 0o640,
            modified_ns: 1_700_000_000_000_000_000,
            folder: false,
            url: None,
        }
    }

    pub(crate) async fn exit(self, code: u8) {
        self.finish(OutcomeBody::Exited { code }, Vec::new()).await;
    }

    pub(crate) async fn finish(self, outcome: OutcomeBody, outputs: Vec<Artifact>) {
        self.try_finish(outcome, outputs).await.unwrap();
    }

    /// Says how it ended; the grid may refuse it.
    pub(crate) async fn try_finish(
        &self,
        outcome: OutcomeBody,
        outputs: Vec<Artifact>,
    ) -> Result<(), ClientError> {
        let body = Finish {
            outcome,
            outputs,
            not_brought_back: Vec::new(),
            stdout_bytes: self.stdout,
            stderr_bytes: self.stderr,
            peak_memory_bytes: None,
            cpu_ms: None,
            platform: None,
        };
        self.worker.client.finish(&self.reference, &body).await.map(drop)
    }
}
