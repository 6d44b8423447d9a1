//! The same proof in containers: an engine of the tests' own, with the one image that `cargo xtask test` has made. And when
//! the embedded grid runs scripts in them that name no image.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
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
    with_engine_and(&[], test);
}

/// The same, of a person who has set these variables besides.
fn with_engine_and(variables: &[(&'static str, &OsStr)], test: impl FnOnce(&Grid, &Engine)) {
    if Account::all() == [Account::Ourselves] {
        assert!(std::env::var_os("CI").is_none(), "an engine of the tests' own needs root");
        return;
    }
    let engine = Engine::start();
    let socket = engine.socket();
    let variables = [variables, &[("RGRID_DOCKER_SOCKET", socket.as_os_str())]].concat();
    let grid = Grid::with(Account::Ourselves, &variables);
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

/// What tells where it runs.
const HELLO: &str = "import os\nprint(os.path.exists('/.dockerenv'))\n";

/// The image is there under the name that scripts of each Python run in.
fn name_for_every_python(engine: &Engine) {
    for minor in 10..=14 {
        let (named, said) = engine.docker(&["tag", IMAGE, &format!("python:3.{minor}-slim")]);
        assert!(named, "{said}");
    }
}

#[test]
fn where_containers_are_asked_for_scripts_run_in_them_with_their_packages() {
    with_engine_and(&[("RGRID_EMBEDDED_SANDBOX", OsStr::new("docker"))], |grid, engine| {
        grid.script("hello.py", HELLO);
        let refused = grid.output(&["run", "hello.py"]);
        let said = text(&refused.stderr);
        assert!(!refused.status.success() && said.contains("docker pull python:3."), "{said}");

        name_for_every_python(engine);
        assert_eq!(grid.success(&["run", "hello.py"]), "True\n");
        let plan = grid.success(&["run", "--dry-run", "hello.py"]);
        assert!(
            plan.contains("docker: a container of its own") && plan.contains("image:python:3."),
            "{plan}"
        );
        let shown = grid.success(&["config", "show"]);
        assert!(shown.lines().any(|line| line.split_whitespace().eq(["sandbox", "docker"])), "{shown}");
        grid.success(&["down"]); // the next start of it sees uv
        let cases = ["an_editable_local_package", "an_optional_import"];
        assert_eq!(like_python_packages::compare(grid, &[], |case| cases.contains(&case)), cases.len());
    });
}

#[test]
fn containers_that_are_asked_for_and_cannot_be_had_are_no_reason_to_run_outside_of_them() {
    let variables =
        [("RGRID_EMBEDDED_SANDBOX", OsStr::new("docker")), ("RGRID_DOCKER_SOCKET", OsStr::new("/nowhere"))];
    let grid = Grid::with(Account::Ourselves, &variables);
    grid.script("hello.py", HELLO);
    let refused = grid.output(&["run", "hello.py"]);
    let said = text(&refused.stderr);
    assert_eq!((refused.status.code(), text(&refused.stdout).as_str()), (Some(125), ""), "{said}");
    assert!(
        said.contains("nothing answers at /nowhere: install Docker (apt-get install docker.io)"),
        "{said}"
    );
    assert!(!grid.home().exists(), "no grid was started for it");
    let doctor = text(&grid.output(&["doctor"]).stdout);
    assert!(doctor.contains("REPAIR   sandbox: nothing answers at /nowhere"), "{doctor}");
}

/// A folder for the PATH with a bubblewrap that is refused by its kernel.
fn refused_bubblewrap() -> (TempDir, OsString) {
    let folder = tempfile::Builder::new().prefix("rgrid-it-refused-").tempdir().unwrap();
    let program = folder.path().join("bwrap");
    fs::write(&program, "#!/bin/sh\necho 'bwrap: not on this kernel' >&2\nexit 1\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path =
        std::env::join_paths([folder.path().to_owned()].into_iter().chain(std::env::split_paths(&path)));
    (folder, path.unwrap())
}

#[test]
fn where_the_process_sandbox_cannot_be_made_an_image_that_is_there_serves_until_it_can() {
    let (refused, path) = refused_bubblewrap();
    with_engine_and(&[("PATH", path.as_os_str())], |grid, engine| {
        grid.script("hello.py", HELLO);
        let id = grid.success(&["run", "--detach", "hello.py"]).trim().to_owned();
        // Without an image it is as it was: the sandbox's own words, until somebody repairs it.
        until("it says why", || {
            let shown = grid.success(&["status", &id]);
            shown.contains("no sandbox can be made on this machine: the sandbox did not start: bwrap: not on this kernel")
        });
        grid.success(&["cancel", &id]);
        grid.success(&["down"]);

        name_for_every_python(engine);
        let run = || {
            let output = grid.output(&["run", "hello.py"]);
            assert!(output.status.success(), "{}\n{}", text(&output.stderr), grid.log());
            (text(&output.stdout), text(&output.stderr))
        };
        let why = "scripts run in containers here, for the process sandbox cannot be made: the sandbox did not start: bwrap: not on this kernel";
        let (printed, said) = run();
        assert!(printed == "True\n" && said.matches(why).count() == 1, "{printed}{said}");
        let (printed, said) = run();
        assert!(printed == "True\n" && !said.contains("containers"), "{printed}{said}");
        let doctor = text(&grid.output(&["doctor"]).stdout);
        assert!(
            doctor.contains("limited  sandbox: docker, for the process sandbox cannot be made"),
            "{doctor}"
        );
        grid.success(&["down"]);

        fs::remove_file(refused.path().join("bwrap")).unwrap();
        assert_eq!(run().0, "False\n");
        assert_eq!(grid.success(&["config", "show"]).matches("docker").count(), 0);
    });
}

#[test]
fn a_first_run_finds_out_that_containers_must_serve_before_it_sends_anything() {
    let (_refused, path) = refused_bubblewrap();
    with_engine_and(&[("PATH", path.as_os_str())], |grid, engine| {
        name_for_every_python(engine);
        let case = "undeclared_beside_a_venv";
        assert_eq!(like_python_packages::compare(grid, &[], |name| name == case), 1);
        grid.script("hello.py", HELLO);
        assert_eq!(grid.success(&["run", "hello.py"]), "True\n");
    });
}
