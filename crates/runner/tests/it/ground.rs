//! The ground the sandbox's tests stand on: a real sandbox in a world of its own (`world.rs`) as root, and the same test
//! again as an ordinary user.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::cell::Cell;
use std::ffi::OsString;
use std::fs;
use std::future::Future;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use nix::unistd::Uid;
use rgrid_runner::sandbox::{
    JobEnd, JobLimits, JobSpec, Place, RunningJob, Sandbox, SandboxConfig, SandboxError,
};
use tempfile::TempDir;

use crate::engine::{IMAGE, engine};
use crate::world::make_world;

/// Where the hostile program lies inside.
pub(crate) const HOSTILE: &str = "/opt/tests/hostile";
/// The user the tests are run as a second time; it needs no entry anywhere.
const USER: u32 = 47_011;
/// Tells the second run where the launcher was copied to.
const LAUNCHER_VARIABLE: &str = "RGRID_TEST_LAUNCHER";

/// A sandbox and a place for workspaces.
pub(crate) struct Ground {
    pub(crate) sandbox: Sandbox,
    pub(crate) folder: TempDir,
    pub(crate) root: bool,
    /// Jobs run in containers.
    pub(crate) docker: bool,
    /// In the names of its containers.
    name: String,
    jobs: AtomicU32,
    launcher: PathBuf,
    places: Mutex<Vec<Place>>,
}

/// What a job shall be; the rest is as most tests want it.
pub(crate) struct Job<'a> {
    pub(crate) words: &'a [&'a str],
    pub(crate) network: bool,
    pub(crate) limits: JobLimits,
    pub(crate) slot: u32,
    pub(crate) environment: &'a [(&'a str, &'a str)],
    pub(crate) input: &'a [u8],
    pub(crate) binds: &'a [(&'a Path, &'a str)],
}

/// Limits that no honest test comes near.
pub(crate) const AMPLE: JobLimits =
    JobLimits { cpu_millis: 2000, memory_bytes: 512 << 20, disk_bytes: 1 << 30, processes: 64 };

pub(crate) fn job<'a>(words: &'a [&'a str]) -> Job<'a> {
    Job { words, network: false, limits: AMPLE, slot: 0, environment: &[], input: b"", binds: &[] }
}

/// How a job ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) end: JobEnd,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ground {
    pub(crate) async fn new(change: impl FnOnce(&mut SandboxConfig)) -> Self {
        let folder = TempDir::new().unwrap();
        let launcher = launcher();
        let mut config = SandboxConfig {
            data_folder: folder.path().join("data"),
            slots: 2,
            launcher: launcher.clone(),
            allow_host_network: false,
            allow_private_ranges: false,
            blocked: Vec::new(),
            bwrap: None,
            docker_socket: rgrid_runner::sandbox::DOCKER_SOCKET.into(),
            images_bytes_max: 0,
            // Of this test's world.
            own_mounts: Uid::effective().is_root(),
        };
        change(&mut config);
        let docker = IN_CONTAINERS.get();
        let sandbox = if docker {
            config.docker_socket.clone_from(&engine().socket);
            Sandbox::docker(&config).await.unwrap()
        } else {
            Sandbox::process(&config).await.unwrap()
        };
        let name = folder.path().file_name().unwrap().to_string_lossy().replace('.', "");
        Self {
            sandbox,
            folder,
            root: Uid::effective().is_root(),
            docker,
            name,
            jobs: AtomicU32::new(0),
            launcher,
            places: Mutex::default(),
        }
    }

    /// Ends it; nothing of its jobs is left.
    pub(crate) async fn close(self) {
        self.sandbox.close().await;
        if self.docker {
            assert_eq!(engine().containers(&self.name), "", "a container is left");
        }
    }

    /// A fresh workspace for a slot's job, whose disk is watched.
    pub(crate) fn workspace(&self, slot: u32) -> PathBuf {
        let workspaces = self.sandbox.workspace_folder(slot);
        fs::create_dir_all(&workspaces).unwrap();
        self.workspace_in(&workspaces, slot)
    }

    /// The same in a place with room for so many bytes, which is there until all are vacated.
    pub(crate) fn workspace_of(&self, slot: u32, bytes: u64) -> PathBuf {
        let place = self.sandbox.place(slot, bytes).unwrap();
        let root = self.workspace_in(place.folder(), slot);
        self.places.lock().unwrap().push(place);
        root
    }

    /// Empties the places.
    pub(crate) fn vacate(&self) {
        for place in self.places.lock().unwrap().drain(..) {
            for entry in fs::read_dir(place.folder()).unwrap().flatten() {
                if entry.file_type().unwrap().is_dir() {
                    fs::remove_dir_all(entry.path()).unwrap();
                }
            }
            place.vacate();
        }
    }

    fn workspace_in(&self, workspaces: &Path, slot: u32) -> PathBuf {
        let root = TempDir::new_in(workspaces).unwrap().keep();
        let work = root.join("place");
        fs::create_dir(&work).unwrap();
        if let Some((uid, gid)) = self.sandbox.job_uid(slot) {
            chown(&work, Some(uid), Some(gid)).unwrap();
        }
        if self.docker {
            // As the runner makes them; the process sandbox would by itself.
            for open in ["tmp", "var/tmp"] {
                fs::create_dir_all(root.join(open)).unwrap();
                fs::set_permissions(root.join(open), fs::Permissions::from_mode(0o1777)).unwrap();
            }
        }
        root
    }

    /// Starts a job; the streams are pipes.
    pub(crate) async fn start(&self, job: Job<'_>) -> Result<Started, SandboxError> {
        self.start_changed(job, &|_| {}).await
    }

    /// Starts a job in a workspace that a test has made.
    pub(crate) async fn start_in(&self, root: PathBuf, job: Job<'_>) -> Result<Started, SandboxError> {
        self.start_changed(job, &|spec| spec.root.clone_from(&root)).await
    }

    /// Starts a job that a test has changed.
    pub(crate) async fn start_changed(
        &self,
        job: Job<'_>,
        change: &dyn Fn(&mut JobSpec),
    ) -> Result<Started, SandboxError> {
        let (stdin, mut input) = std::io::pipe().unwrap();
        let (stdout, stdout_inside) = std::io::pipe().unwrap();
        let (stderr, stderr_inside) = std::io::pipe().unwrap();
        input.write_all(job.input).unwrap(); // tests stay below a pipe's size
        let mut read_only_binds = vec![(self.launcher.clone(), PathBuf::from(HOSTILE))];
        read_only_binds
            .extend(job.binds.iter().map(|(host, inside)| (host.to_path_buf(), PathBuf::from(inside))));
        let mut spec = JobSpec {
            root: self.workspace(job.slot),
            read_only_binds,
            file_binds: Vec::new(),
            command: [HOSTILE].iter().chain(job.words).map(OsString::from).collect(),
            environment: job.environment.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            cwd: "/place".into(),
            umask: 0o022,
            limits: job.limits,
            network: job.network,
            slot: job.slot,
            image: self.docker.then(|| IMAGE.to_owned()),
            name: format!("rgrid-{}-{}", self.name, self.jobs.fetch_add(1, Ordering::Relaxed)),
            labels: Vec::new(),
            stdin: stdin.into(),
            stdout: stdout_inside.into(),
            stderr: stderr_inside.into(),
        };
        change(&mut spec);
        let root = spec.root.clone();
        let running = self.sandbox.start(spec).await?;
        Ok(Started { running, stdout, stderr, root })
    }

    /// Runs a job to its end.
    pub(crate) async fn run(&self, job: Job<'_>) -> Ended {
        self.start(job).await.unwrap().finish().await
    }

    /// Runs several deeds in one job and returns what each said, a line each.
    pub(crate) async fn deeds(&self, deeds: &[&[&str]]) -> Vec<String> {
        let said = self.deed(&deeds.join(&"+")).await;
        assert_eq!(said.lines().count(), deeds.len(), "{said}");
        said.lines().map(str::to_owned).collect()
    }

    /// Runs a deed and returns what it said.
    pub(crate) async fn deed(&self, words: &[&str]) -> String {
        let ended = self.run(job(words)).await;
        assert_eq!(ended.stderr, "");
        ended.stdout.trim_end().to_owned()
    }
}

/// A job under way.
pub(crate) struct Started {
    pub(crate) running: RunningJob,
    pub(crate) stdout: std::io::PipeReader,
    pub(crate) stderr: std::io::PipeReader,
    pub(crate) root: PathBuf,
}

impl Started {
    /// Reads stdout until it has this word; returns what was read.
    pub(crate) async fn said(&mut self, word: &str) -> String {
        let mut stdout = self.stdout.try_clone().unwrap();
        let word = word.to_owned();
        let reading = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            let mut byte = [0];
            while !text.contains(&word) {
                assert_eq!(stdout.read(&mut byte).unwrap(), 1, "ended after {text:?}, without {word:?}");
                text.push(char::from(byte[0]));
            }
            text
        });
        reading.await.unwrap()
    }

    pub(crate) async fn finish(mut self) -> Ended {
        let read = |mut pipe: std::io::PipeReader| {
            tokio::task::spawn_blocking(move || {
                let mut text = Vec::new();
                pipe.read_to_end(&mut text).unwrap();
                String::from_utf8_lossy(&text).into_owned()
            })
        };
        let (stdout, stderr) = (read(self.stdout), read(self.stderr));
        let end = self.running.wait().await;
        Ended { end, stdout: stdout.await.unwrap(), stderr: stderr.await.unwrap() }
    }
}

pub(crate) fn launcher() -> PathBuf {
    std::env::var_os(LAUNCHER_VARIABLE)
        .map_or_else(|| env!("CARGO_BIN_EXE_hostile-job").into(), PathBuf::from)
}

/// Runs a test in a world of its own: as root and as an ordinary user, if this process is root; else as this user.
pub(crate) fn in_every_mode<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let second_run = std::env::var_os(LAUNCHER_VARIABLE).is_some();
    if Uid::effective().is_root() {
        make_world();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test());
    drop(runtime);
    if Uid::effective().is_root() && !second_run {
        again_as_user();
    }
}

thread_local! {
    /// This thread's test runs its jobs in containers.
    static IN_CONTAINERS: Cell<bool> = const { Cell::new(false) };
}

/// The same in both sandboxes: in the process sandbox as root and as an ordinary user, and as root in containers.
pub(crate) fn in_every_sandbox<F: Future<Output = ()>>(test: impl Fn() -> F) {
    let first_run = std::env::var_os(LAUNCHER_VARIABLE).is_none();
    if first_run && Uid::effective().is_root() {
        engine(); // its world is not to be one within this test's
    }
    in_every_mode(&test);
    if first_run {
        in_containers(test);
    }
}

/// Whether this thread's test runs its jobs in containers, which all stand in one world.
pub(crate) fn is_in_containers() -> bool {
    IN_CONTAINERS.get()
}

/// Where the engine of this thread's test listens; nowhere when its jobs run in no container.
pub(crate) fn docker_socket() -> PathBuf {
    if IN_CONTAINERS.get() { engine().socket.clone() } else { "/nowhere".into() }
}

/// In containers alone, as root.
pub(crate) fn in_containers<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    if !Uid::effective().is_root() {
        assert!(std::env::var_os("CI").is_none(), "an engine of the tests' own needs root");
        return;
    }
    engine().enter();
    IN_CONTAINERS.set(true);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test());
    IN_CONTAINERS.set(false);
}

/// Only as root: what an ordinary user's sandbox does not have.
pub(crate) fn as_root<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    if !Uid::effective().is_root() {
        assert!(std::env::var_os("CI").is_none(), "this test needs root");
        return;
    }
    make_world();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test());
}

/// Before the number of the process whose copies they are.
const COPIES_PREFIX: &str = "rgrid-sandbox-tests-";

/// Removes the copies of processes that have ended: nothing runs when this one does.
fn sweep_copies() {
    for entry in fs::read_dir(std::env::temp_dir()).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let ended = |pid: &str| !Path::new("/proc").join(pid).exists();
        if name.strip_prefix(COPIES_PREFIX).is_some_and(ended) {
            // Another run of the tests may be doing the same.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Copies the test and the launcher to where everybody may read them, once.
fn copies() -> &'static (PathBuf, PathBuf) {
    static COPIES: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    COPIES.get_or_init(|| {
        sweep_copies();
        let folder = std::env::temp_dir().join(format!("{COPIES_PREFIX}{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let copy = |from: &Path, name: &str| {
            let to = folder.join(name);
            fs::copy(from, &to).unwrap();
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).unwrap();
            to
        };
        (copy(&std::env::current_exe().unwrap(), "it"), copy(&launcher(), "hostile-job"))
    })
}

/// Runs the test of this thread's name again as an ordinary user, in this thread's world.
fn again_as_user() {
    let (test, launcher) = copies();
    let name = std::thread::current().name().unwrap().to_owned();
    let home = TempDir::new().unwrap();
    chown(home.path(), Some(USER), Some(USER)).unwrap();
    // The tun device is everybody's on most systems; where it is not, the test's user gets one.
    let script = "set -e; mount --make-rprivate /; if [ -e /dev/net/tun ]; then mknod \"$1\" c 10 200; chmod 666 \"$1\"; \
                  mount --bind \"$1\" /dev/net/tun; fi; shift; exec setpriv \"$@\"";
    let device = home.path().join("tun");
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(&device)
        .args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups", "--no-new-privs"])
        .args(["--bounding-set=-all", "--inh-caps=-all"])
        .arg(test)
        .args(["--exact", &name, "--nocapture", "--test-threads=1"])
        .env(LAUNCHER_VARIABLE, launcher)
        .env("TMPDIR", home.path())
        .env("HOME", home.path())
        .current_dir(home.path())
        .output()
        .unwrap();
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].map(String::from_utf8_lossy).join("");
    assert!(output.status.success(), "as an ordinary user: {said}");
    assert!(said.contains("1 passed"), "{name} was not found: {said}");
}
