//! A container engine of a test's own, in a world of its own: a network and a mount namespace with nothing else in them,
//! so root is needed. The image is made by `cargo xtask test`. Used by the tests of other crates too.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// The engine is there by then, and a container has booted.
pub(crate) const DEADLINE: Duration = Duration::from_secs(180);
/// The image of the servers, by its name in the engine: Debian with systemd and cloud-init.
pub(crate) const IMAGE: &str = "hetzner-sim:debian";

/// An engine that ends when this does.
pub(crate) struct Engine {
    process: Child,
    folder: tempfile::TempDir,
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

impl Engine {
    /// One with the image.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "dockerd"]);
        for (name, below) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            command.arg(name).arg(folder.path().join(below));
        }
        // Its own machine is 172.17.0.1 for containers, and fd00:5::1.
        command.args(["--ipv6", "--fixed-cidr-v6", "fd00:5::/64"]);
        command.arg("--host").arg(format!("unix://{}/docker.sock", folder.path().display()));
        let log = File::create(folder.path().join("log")).unwrap();
        let process = command.stdout(Stdio::null()).stderr(log).spawn().expect("dockerd is installed");
        let engine = Self { process, folder };
        let started = Instant::now();
        while engine.docker(&["version"]).is_none() {
            let log = || std::fs::read_to_string(engine.folder.path().join("log")).unwrap();
            assert!(started.elapsed() < DEADLINE, "the engine does not answer\n{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
        engine.docker(&["import", image().to_str().unwrap(), IMAGE]).expect("the engine takes the image");
        engine
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        format!("unix://{}/docker.sock", self.folder.path().display())
    }

    /// What it says; none if it does not do it.
    pub(crate) fn docker(&self, words: &[&str]) -> Option<String> {
        let mut command = Command::new("docker");
        let output = command.args(["--host", &self.address()]).args(words).output();
        let output = output.expect("docker's command is installed");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The names of the containers that run.
    pub(crate) fn running(&self) -> String {
        self.docker(&["ps", "--format", "{{.Names}}"]).unwrap()
    }

    /// The empty text when there is no container at all.
    pub(crate) fn none_left(&self) -> Option<String> {
        self.docker(&["ps", "--all", "--quiet"]).filter(String::is_empty)
    }

    /// What stands last in the journals of the containers, for failures.
    pub(crate) fn journals(&self) -> String {
        let running = self.running();
        let journal = |name| self.docker(&["exec", name, "journalctl", "--no-pager", "--lines=80"]);
        running.lines().filter_map(journal).collect::<Vec<String>>().join("\n---\n")
    }

    /// Waits until there is something to be seen.
    pub(crate) async fn until<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(seen) = look(self) {
                return seen;
            }
            assert!(started.elapsed() < DEADLINE, "not in time: {what}\n{}", self.journals());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn image() -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/images/debian-systemd.tar");
    assert!(file.exists(), "{} is not there: `cargo xtask test` makes it", file.display());
    file
}

/// Tries it in a world of its own with an engine in it. Without root there is none, which is an error where everything
/// is to be tried.
pub(crate) fn with_engine<F: Future<Output = ()>>(test: impl FnOnce(Arc<Engine>) -> F + Send + 'static) {
    if !nix::unistd::Uid::effective().is_root() {
        assert!(std::env::var_os("CI").is_none(), "an engine of the tests' own needs root");
        return;
    }
    let tried = std::thread::spawn(|| {
        // This thread, and all it starts, is alone from here on.
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        let nothing: Option<&str> = None;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
        assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(test(Arc::new(Engine::start())));
    });
    tried.join().unwrap();
}
