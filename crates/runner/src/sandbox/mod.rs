//! The sandbox: runs one command so that it sees its workspace and nothing else, within its limits.
//!
//! This file holds the words: what a job asks for, how it ended, what can go wrong, and the choice of two ways. `probe`
//! finds out what this machine can do; `process` is one way (bubblewrap, one file per kernel mechanism), `docker` the other
//! (a container of the Docker Engine).

use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rgrid_api::workers::SandboxBody;

mod conclusion;
mod docker;
mod place;
mod probe;
mod process;
mod running;

pub use docker::{ImageInUse, SOCKET as DOCKER_SOCKET, docker_answers, docker_has_one_of};
pub use place::Place;
#[doc(hidden)]
pub use process::fuzzing;
pub use process::launch::{LAUNCH_ARGUMENT, launch_main};
pub use process::network::Forbidden;
pub use process::{keep_mounts_to_itself, no_hard_disk};
pub use running::RunningJob;

/// What can run jobs on this machine: one of two ways.
#[derive(Debug, Clone)]
pub enum Sandbox {
    /// Bubblewrap.
    Process(process::Sandbox),
    /// A container for each job.
    Docker(docker::Sandbox),
}

impl Sandbox {
    /// The process sandbox, after it was tried.
    ///
    /// # Errors
    /// When this machine cannot have it; the text says why.
    pub async fn process(config: &SandboxConfig) -> Result<Self, SandboxError> {
        process::Sandbox::probe(config).await.map(Self::Process)
    }

    /// The docker sandbox, of an engine that answers.
    ///
    /// # Errors
    /// When there is none; the text says why.
    pub async fn docker(config: &SandboxConfig) -> Result<Self, SandboxError> {
        docker::Sandbox::open(config).await.map(Self::Docker)
    }

    /// How it isolates and limits.
    #[must_use]
    pub fn describe(&self) -> SandboxBody {
        match self {
            Self::Process(process) => process.describe(),
            Self::Docker(docker) => docker.describe(),
        }
    }

    /// The user and group of a slot's jobs, where the runner may choose them: as root one per slot, never its own.
    #[must_use]
    pub fn job_uid(&self, slot: u32) -> Option<(u32, u32)> {
        match self {
            Self::Process(process) => process.job_uid(slot),
            Self::Docker(docker) => docker.job_uid(slot),
        }
    }

    /// Where workspaces of a slot lie whose disk is watched.
    #[must_use]
    pub fn workspace_folder(&self, slot: u32) -> PathBuf {
        match self {
            Self::Process(process) => process.workspace_folder(slot),
            Self::Docker(docker) => docker.workspace_folder(slot),
        }
    }

    /// A place for the workspace of a slot's job that may use `bytes` of disk: a file system of its own, where disk
    /// limits are hard.
    ///
    /// # Errors
    /// When a file system cannot be made.
    pub fn place(&self, slot: u32, bytes: u64) -> io::Result<Place> {
        match self {
            Self::Process(process) => process.place(slot, bytes),
            Self::Docker(docker) => docker.place(slot, bytes),
        }
    }

    /// A folder for what the runner writes beside a job, out of its sight and its limits.
    #[must_use]
    pub fn spool_folder(&self) -> PathBuf {
        match self {
            Self::Process(process) => process.spool_folder(),
            Self::Docker(docker) => docker.spool_folder(),
        }
    }

    /// Makes a folder ready to be a job's root, ahead of [`start`](Self::start), which otherwise does it.
    ///
    /// # Errors
    /// When something is in the way.
    pub fn prepare_root(&self, root: &Path) -> io::Result<()> {
        match self {
            Self::Process(process) => process.prepare_root(root),
            Self::Docker(_) => Ok(()), // the image brings its own
        }
    }

    /// Makes sure that an image is here, fetched if need be and if it may: which it is now, and what its Python is.
    ///
    /// # Errors
    /// When it cannot be had, or has no Python.
    pub async fn find_image(&self, name: &str, fetch: bool) -> Result<ImageFound, SandboxError> {
        match self {
            Self::Process(_) => Err(SandboxError::Refused("an image needs the docker sandbox".to_owned())),
            Self::Docker(docker) => docker.find_image(name, fetch).await,
        }
    }

    /// Pulls images ahead, while nobody waits for them; only in the docker sandbox.
    pub fn pull_ahead(&self, names: Vec<String>) {
        match self {
            Self::Process(_) => {}
            Self::Docker(docker) => docker.pull_ahead(names),
        }
    }

    /// Starts a job; returns when its program runs.
    ///
    /// # Errors
    /// When it cannot be started; nothing of it runs then.
    pub async fn start(&self, job: JobSpec) -> Result<RunningJob, SandboxError> {
        match self {
            Self::Process(process) => process.start(job).await,
            Self::Docker(docker) => docker.start(job).await,
        }
    }

    /// Gives back what the machine lent: namespaces, rules, groups. Jobs must have ended.
    pub async fn close(self) {
        match self {
            Self::Process(process) => process.close().await,
            Self::Docker(docker) => docker.close().await,
        }
    }
}

/// A container image that is here, and stays while this lives.
#[derive(Debug)]
pub struct ImageFound {
    /// The engine's name for exactly these bytes.
    pub id: String,
    /// The registry's, if it came from one; else the engine's.
    pub resolved: String,
    /// Its Python.
    pub executable: PathBuf,
    /// The one behind it, where that is of a virtual environment.
    pub base_executable: PathBuf,
    /// Exact version, build, machine and C library, as it says them.
    pub build: String,
    /// It is not removed while this lives.
    pub in_use: ImageInUse,
}

/// One command to run, with everything it may see and use.
#[derive(Debug)]
pub struct JobSpec {
    /// Becomes `/` inside, writable. Made for this job alone; mount points and links are added to it.
    pub root: PathBuf,
    /// Folders or files of the host (first) that appear read-only inside (second).
    pub read_only_binds: Vec<(PathBuf, PathBuf)>,
    /// Single files: of the host, inside, and whether the job may write them.
    pub file_binds: Vec<(PathBuf, PathBuf, bool)>,
    /// The program, by its path inside, and its arguments.
    pub command: Vec<OsString>,
    /// All its environment; nothing is inherited.
    pub environment: Vec<(OsString, OsString)>,
    /// Its working directory, inside.
    pub cwd: PathBuf,
    /// What is taken from the permission bits of the files that it makes.
    pub umask: u32,
    /// What it may use.
    pub limits: JobLimits,
    /// False: only a loopback of its own.
    pub network: bool,
    /// Which of the runner's slots it takes; one job at a time in each.
    pub slot: u32,
    /// The container image it runs in, by any name of it; only in the docker sandbox.
    pub image: Option<String>,
    /// What its container is called. Not used twice at a time on one machine.
    pub name: String,
    /// What its container says of it to people, name and value.
    pub labels: Vec<(String, String)>,
    /// Its standard input.
    pub stdin: OwnedFd,
    /// Its standard output.
    pub stdout: OwnedFd,
    /// Its standard error.
    pub stderr: OwnedFd,
}

impl JobSpec {
    /// Refuses to mount a link that a workspace brings: who mounts it would follow it, as root and to anywhere.
    fn refuse_link(&self, host: &Path, inside: &Path) -> Result<(), SandboxError> {
        let found = std::fs::symlink_metadata(host);
        let found = found.map_err(SandboxError::system(format!("find {}", host.display())))?;
        if found.is_symlink() && host.starts_with(&self.root) {
            let inside = inside.display();
            return Err(SandboxError::Refused(format!(
                "{inside} is a link where only files and folders can be"
            )));
        }
        Ok(())
    }
}

/// What a job may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobLimits {
    /// Thousandths of a core.
    pub cpu_millis: u32,
    /// Bytes of memory, swap included.
    pub memory_bytes: u64,
    /// Bytes its workspace may take on disk.
    pub disk_bytes: u64,
    /// Processes and threads at once.
    pub processes: u32,
}

/// What the sandbox needs to know of its runner.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// The runner's own folder; the sandbox keeps its files in `sandbox/` below it.
    pub data_folder: PathBuf,
    /// Jobs at once; slots are numbered from 0.
    pub slots: u32,
    /// A program whose `main` hands [`LAUNCH_ARGUMENT`] to [`launch_main`] before anything else: `rgrid` itself.
    pub launcher: PathBuf,
    /// Where no namespace can be given a network: let jobs use the host's. Off unless the operator says so.
    pub allow_host_network: bool,
    /// Let jobs reach private addresses (10/8, 192.168/16, fc00::/7 and so on).
    pub allow_private_ranges: bool,
    /// Addresses no job may reach although they are public: the grid's API and PostgreSQL.
    pub blocked: Vec<IpAddr>,
    /// Where bubblewrap is, when it is not on `PATH`.
    pub bwrap: Option<PathBuf>,
    /// Where the Docker Engine listens.
    pub docker_socket: PathBuf,
    /// All images that were pulled may take so many bytes; then the least recently used go.
    pub images_bytes_max: u64,
    /// What this process mounts is in a namespace of its own, see [`keep_mounts_to_itself`]: without it the disk of jobs
    /// is watched.
    pub own_mounts: bool,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobEnd {
    /// What its main process said at its end.
    pub exit: JobExit,
    /// It was ended because of its memory: the limit, and the most it used, in bytes.
    pub out_of_memory: Option<(u64, u64)>,
    /// It was ended because its disk was full, or it could not write any more.
    pub disk_full: bool,
    /// The most memory it used, where that is known.
    pub peak_memory_bytes: Option<u64>,
    /// CPU time it used, where that is known.
    pub cpu_ms: Option<u64>,
}

/// The end of the job's main process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobExit {
    /// It exited with this code.
    Exited(u8),
    /// This signal ended it.
    Signalled(u8),
}

/// Why a sandbox could not be had, or a job could not be started in it.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A program is not installed, or this machine forbids what the sandbox needs; the text names the remedy.
    #[error("{0}")]
    Unavailable(String),
    /// The job asks for the network, and this machine has no way to give it one safely.
    #[error("no network for jobs here: {0}; or run with --no-network")]
    NoNetwork(String),
    /// What the job asks for cannot be right: a bug of the caller, or a hostile workspace.
    #[error("the job cannot be sandboxed: {0}")]
    Refused(String),
    /// The program inside could not be started.
    #[error("cannot {step} inside the sandbox: {source}")]
    Launch {
        /// What was being done.
        step: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The sandbox ended before the program inside had started; the text is what bubblewrap said.
    #[error("the sandbox did not start: {0}")]
    Broken(String),
    /// The system refused something on the host's side.
    #[error("cannot {step}")]
    System {
        /// What was being done.
        step: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl SandboxError {
    /// Wraps what the system said about a step on the host's side.
    pub(crate) fn system(step: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let step = step.into();
        move |source| Self::System { step, source }
    }
}
