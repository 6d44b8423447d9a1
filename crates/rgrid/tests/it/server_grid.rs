//! A server grid for one test: the roles as processes of their own, as systemd would run them, on a database of the
//! test's own. Roles can be killed, stopped and started anew one by one.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rgrid_store::testing::TestDatabase;
use tempfile::TempDir;

use crate::grid::{text, until};

/// A process of the grid, which ends with this value.
pub(crate) struct Role {
    child: Child,
}

impl Role {
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash would.
    pub(crate) fn crash(mut self) {
        self.child.kill().and_then(|()| self.child.wait()).unwrap();
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// The host of a grid: its database, its objects, and what is started on it.
pub(crate) struct ServerGrid {
    folder: TempDir,
    pub(crate) database: TestDatabase,
    key: String,
    workers: AtomicU32,
    /// What its own roles are told besides, as the environment says it; where objects lie before all.
    pub(crate) settings: Vec<(&'static str, String)>,
    /// What everybody here trusts, if the ports that people and runners are given speak TLS.
    pub(crate) certificate: Option<PathBuf>,
}

impl ServerGrid {
    /// A migrated grid where nothing runs yet.
    pub(crate) async fn new() -> Self {
        Self::on(Vec::new()).await
    }

    /// The same, with objects elsewhere than in a folder of its own.
    pub(crate) async fn on(settings: Vec<(&'static str, String)>) -> Self {
        let folder = tempfile::Builder::new().prefix("rgrid-it-server-").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(folder.path().join("work")).unwrap();
        let database = rgrid_store::testing::database().await;
        let mut grid = Self {
            folder,
            database,
            key: String::new(),
            workers: AtomicU32::new(0),
            settings,
            certificate: None,
        };
        if grid.settings.is_empty() {
            let folder = grid.database.folder().join("objects").display().to_string();
            grid.settings.push(("RGRID_OBJECTS_FOLDER", folder));
        }
        grid.key = grid.admin(&["key", "tests"]);
        grid
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rgrid"));
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("LANG", "C.UTF-8")
            .env("RGRID_SANDBOX", "process")
            .envs(self.certificate.iter().map(|path| ("SSL_CERT_FILE", path)))
            .current_dir(self.work())
            .stdin(Stdio::null());
        command
    }

    /// What people and runners are told of the grid, or of what stands in front of it.
    fn url(&self, port: u16) -> String {
        match &self.certificate {
            Some(_) => format!("https://localhost:{port}"),
            None => format!("http://127.0.0.1:{port}"),
        }
    }

    /// A role that may know the grid's secrets.
    fn host(&self, args: &[&str]) -> Command {
        let mut command = self.command(args);
        command
            .env("DATABASE_URL", &self.database.url)
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .env("RGRID_VAULT_KEY_FILE", self.database.folder().join("vault.key"));
        command
    }

    pub(crate) fn admin(&self, args: &[&str]) -> String {
        let output = self.host(&[&["admin"], args].concat()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    }

    fn start(&self, mut command: Command, log: &str) -> Role {
        let log = fs::File::options().create(true).append(true).open(self.folder.path().join(log)).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        Role { child: command.spawn().unwrap() }
    }

    /// A port where nobody listens at this moment.
    pub(crate) fn free_port() -> u16 {
        TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
    }

    /// A replica of the API; it answers when this returns.
    pub(crate) fn api(&self, port: u16) -> Role {
        let api = self.start(self.host(&["api", "--port", &port.to_string()]), "api.log");
        until("the API answers", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        api
    }

    pub(crate) fn orchestrator(&self) -> Role {
        self.start(self.host(&["orchestrator"]), "orchestrator.log")
    }

    /// A static worker that speaks to the API at `port`.
    pub(crate) fn runner(&self, port: u16, slots: u32) -> Role {
        let number = self.workers.fetch_add(1, Ordering::Relaxed);
        let token = self.folder.path().join(format!("token-{number}"));
        fs::File::create(&token).unwrap().write_all(self.admin(&["join-token"]).as_bytes()).unwrap();
        let (url, slots) = (self.url(port), slots.to_string());
        let data = self.folder.path().join(format!("worker-{number}"));
        let token = token.to_str().unwrap().to_owned();
        let args = [
            "runner",
            "--api-url",
            &url,
            "--join-token-file",
            &token,
            "--data-folder",
            data.to_str().unwrap(),
        ];
        self.start(self.command(&[&args[..], &["--slots", &slots]].concat()), "runner.log")
    }

    /// Where a person works.
    pub(crate) fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    pub(crate) fn script(&self, name: &str, content: &str) {
        fs::write(self.work().join(name), content).unwrap();
    }

    /// `rgrid ARGS`, as a person of this grid types it against the replica at `port`.
    pub(crate) fn rgrid(&self, port: u16, args: &[&str]) -> Command {
        let mut command = self.command(args);
        command.env("RGRID_URL", self.url(port)).env("RGRID_API_KEY", &self.key);
        command
    }

    /// Runs it, and answers what it printed; it must succeed.
    pub(crate) fn success(&self, port: u16, args: &[&str]) -> String {
        let output = self.rgrid(port, args).output().unwrap();
        assert!(output.status.success(), "rgrid {args:?}: {}\n{}", text(&output.stderr), self.log());
        text(&output.stdout)
    }

    /// What the API says of a path, and with which status.
    pub(crate) fn page(&self, port: u16, path: &str) -> (u16, String) {
        self.ask(port, "GET", path, "")
    }

    /// What the API says of a body that is posted.
    pub(crate) fn post(&self, port: u16, path: &str, body: &str) -> (u16, String) {
        self.ask(port, "POST", path, body)
    }

    fn ask(&self, port: u16, method: &str, path: &str, body: &str) -> (u16, String) {
        use std::io::Read as _;
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let request = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nhost: grid\r\nauthorization: Bearer {}\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            self.key,
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The attempts of an execution, as `GET /executions/{id}/attempts` has them.
    pub(crate) fn attempts(&self, port: u16, id: &str) -> Vec<serde_json::Value> {
        let (status, body) = self.page(port, &format!("/executions/{id}/attempts"));
        assert_eq!(status, 200, "{body}");
        let list: serde_json::Value = serde_json::from_str(&body).unwrap();
        list["attempts"].as_array().unwrap().clone()
    }

    /// How many executions, up to 100, are in a state.
    pub(crate) fn count(&self, port: u16, status: &str) -> usize {
        let (code, body) = self.page(port, &format!("/executions?status={status}&limit=100"));
        assert_eq!(code, 200, "{body}");
        let page: serde_json::Value = serde_json::from_str(&body).unwrap();
        page["executions"].as_array().unwrap().len()
    }

    /// What the roles logged, for failures.
    pub(crate) fn log(&self) -> String {
        ["api.log", "orchestrator.log", "runner.log"]
            .map(|log| fs::read_to_string(self.folder.path().join(log)).unwrap_or_default())
            .join("\n---\n")
    }
}
