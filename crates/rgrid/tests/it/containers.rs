//! The same proof in containers: an engine of the tests' own, with the one image that `cargo xtask test` has made.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::grid::{Account, Grid, text, until};
use crate::like_python_packages;

/// The image's name in the engine.
pub(crate) const IMAGE: &str = "rgrid-test:debian";

/// An engine that ends with this value. It connects and forwards nothing: the runner gives containers their network.
pub(crate) struct Engine {
    folder: TempDir,
    process: Child,
}

impl Engine {
    pub(crate) fn start() -> Self {
        let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/images/debian.tar");
        assert!(image.exists(), "{} is not there: `cargo xtask test` makes it", image.display());
        let folder = tempfile::Builder::new().prefix("rgrid-it-engine-").tempdir().unwrap();
        let mut engine = Command::new("setpriv");
        engine.args([
            "--pdeathsig",
            "TERM",
            "dockerd",
            "--bridge=none",
            "--iptables=false",
            "--ip-forward=false",
        ]);
        for (name, below) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            engine.arg(name).arg(folder.path().join(below));
        }
        engine.arg("--host").arg(format!("unix://{}", folder.path().join("docker.sock").display()));
        let log = File::create(folder.path().join("log")).unwrap();
        let process = engine.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0).spawn();
        let engine = Self { folder, process: process.expect("dockerd is installed") };
        until("the engine answers", || engine.docker(&["version"]).0);
        let (done, said) = engine.docker(&["import", image.to_str().unwrap(), IMAGE]);
        assert!(done, "{said}");
        engine
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// Asks the engine as a person would; whether it succeeded, and what it said.
    pub(crate) fn docker(&self, words: &[&str]) -> (bool, String) {
        let host = format!("unix://{}", self.socket().display());
        let output = Command::new("docker").args(["--host", &host]).args(words).output().unwrap();
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

/// A grid that finds the engine, as root alone: others may not start one.
fn with_engine(test: impl FnOnce(&Grid, &Engine)) {
    if Account::all() == [Account::Ourselves] {
        assert!(std::env::var_os("CI").is_none(), "an engine of the tests' own needs root");
        return;
    }
    let engine = Engine::start();
    let grid = Grid::with(Account::Ourselves, &[("RGRID_DOCKER_SOCKET", engine.socket().as_os_str())]);
    test(&grid, &engine);
    grid.success(&["down"]);
    let (_, left) = engine.docker(&["ps", "--all", "--quiet"]);
    assert_eq!(left, "", "containers are left");
}

#[test]
fn every_script_with_packages_behaves_in_an_image_as_in_its_environment() {
    with_engine(|grid, _| like_python_packages::check(grid, &["--image", IMAGE]));
}

#[test]
fn an_engine_on_the_machine_changes_nothing_for_who_names_no_image() {
    with_engine(|grid, engine| {
        grid.script("hello.py", "import os\nprint(os.path.exists('/.dockerenv'))\n");
        assert_eq!(grid.success(&["run", "hello.py"]), "False\n");
        let (_, containers) = engine.docker(&["ps", "--all", "--quiet"]);
        assert_eq!(containers, "", "no container was made for it");
        assert_eq!(grid.success(&["run", "--image", IMAGE, "hello.py"]), "True\n");
    });
}
