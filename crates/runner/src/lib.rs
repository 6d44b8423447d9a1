//! Turns a leased execution into an outcome.
//!
//! A runner joins its grid, polls for work, lives through each attempt (`job.rs`) and says how it ended. It speaks
//! only HTTP to the API; it holds no password of a database, no key of an object store and no cloud token.
#![warn(missing_docs)]

mod arriving;
mod blob_cache;
mod causes;
mod command;
mod environments;
#[doc(hidden)]
pub mod fuzzing;
mod guards;
mod held;
mod identity;
mod inputs;
mod interpreter;
mod isolation;
mod job;
mod log_limit;
mod logs;
pub mod machine;
mod mask;
mod outputs;
mod poll;
mod remove;
mod retry;
mod room;
pub mod sandbox;
mod stdin;
mod supervise;
mod system;
mod upload;
mod verdict;
mod workspace;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rgrid_api::client::{Client, ClientError};
use rgrid_api::workers::Join;
use rgrid_core::runtime::SandboxKind;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::blob_cache::BlobCache;
use crate::environments::Environments;
use crate::environments::uv::Uv;
use crate::held::{Holdings, NotTaken};
use crate::inputs::Flights;
use crate::interpreter::Interpreters;
use crate::isolation::Chosen;
use crate::job::Bench;
use crate::poll::Standing;
use crate::room::Containers;
use crate::sandbox::{Forbidden, SandboxConfig, SandboxError};
use crate::workspace::Workspaces;

pub use crate::isolation::{Found, Isolation};

/// The cache of blobs takes at most this, and at most a share of the disk.
const CACHE_BYTES_MAX: u64 = 20 << 30;
/// The share of the free disk that the cache may take, in percent.
const CACHE_DISK_PERCENT: u64 = 10;
/// Images that were pulled take at most this.
const IMAGES_BYTES_MAX: u64 = 20 << 30;
/// A runner that is told to stop leaves at the latest after this.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// Variables that have no business on a worker (SEMANTICS section 7): a whole name, or how it begins.
const FORBIDDEN_VARIABLES: [&str; 3] = ["DATABASE_URL", "MINIO_", "HETZNER_"];

/// How a runner finds its way into the grid.
#[derive(Debug, Clone)]
pub enum JoinSource {
    /// By this join token.
    Token(String),
    /// By the join token in this file.
    File(PathBuf),
    /// By the join token in the first line of standard input, which may come long after the runner is ready for work.
    /// When the input ends without one, nobody needs this runner, and it leaves.
    Stdin,
    /// It joined before: the data folder knows who it is.
    Joined,
}

/// Asks for uv to be fetched. Whoever does so answers when it has been tried, however that went.
pub type FetchUv = mpsc::Sender<oneshot::Sender<()>>;

/// What a runner is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The grid's API.
    pub api_url: String,
    /// How it joins.
    pub join: JoinSource,
    /// Its own folder: identity, cache, workspaces. One runner at a time uses it.
    pub data_folder: PathBuf,
    /// Attempts at once; absent: one a core.
    pub slots: Option<u32>,
    /// The machine is the user's own: the lease's interpreter is used, and a lone attempt may have nearly all of it.
    pub embedded: bool,
    /// A program whose `main` hands [`sandbox::LAUNCH_ARGUMENT`] to [`sandbox::launch_main`]: `rgrid` itself.
    pub launcher: PathBuf,
    /// Where bubblewrap is, when it is not on `PATH`.
    pub bwrap: Option<PathBuf>,
    /// Where the Docker Engine listens, if there is one: then container images run too.
    pub docker_socket: PathBuf,
    /// What isolates jobs that name no image. With `Docker` nothing runs here that is not in a container.
    pub isolation: Isolation,
    /// Images to pull before a job asks for them, where nothing runs outside of containers.
    pub images_ahead: Vec<String>,
    /// Where uv may lie when it is not on `PATH`; looked for when it is needed.
    pub uv: Vec<PathBuf>,
    /// Who fetches uv to one of these places when it is needed and nowhere.
    pub fetch_uv: Option<FetchUv>,
    /// What jobs may reach.
    pub network: NetworkPolicy,
    /// This process began with [`sandbox::keep_mounts_to_itself`], and was let.
    pub own_mounts: bool,
}

/// What jobs may reach over the network.
#[derive(Debug, Clone, Default)]
pub struct NetworkPolicy {
    /// Where no namespace can be given a network: let jobs use the host's.
    pub allow_host: bool,
    /// Let jobs reach private addresses.
    pub allow_private_ranges: bool,
    /// Addresses that no job may reach although they are public; the API's own are added.
    pub blocked: Vec<IpAddr>,
}

/// Why a runner did not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A secret that belongs to the grid's own machine is in the environment.
    #[error("{variable} is set: a worker must not hold it; unset it and start the runner again")]
    ForbiddenVariable {
        /// Its name.
        variable: String,
    },
    /// The data folder cannot be used.
    #[error("{} cannot be used", path.display())]
    Folder {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another runner uses the data folder.
    #[error("another runner uses {}; give this one a folder of its own", path.display())]
    FolderInUse {
        /// The folder.
        path: PathBuf,
    },
    /// It is not known to the grid, and has no token to join with.
    #[error("this runner has not joined the grid yet, and has no join token")]
    NotJoined,
    /// The machine cannot be looked at.
    #[error("this machine's cores, memory and disk cannot be read")]
    Machine(#[source] std::io::Error),
    /// The kernel gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
    /// The grid's address is not one, or TLS cannot be set up.
    #[error("the grid cannot be spoken to")]
    Client(#[from] ClientError),
    /// The grid does not take this worker.
    #[error("the grid does not let this worker join")]
    JoinRefused(#[source] ClientError),
    /// Nothing here can isolate a job.
    #[error("no sandbox can be made on this machine")]
    Sandbox(#[from] SandboxError),
    /// The grid does not know this worker any more.
    #[error(
        "the grid does not take this worker's word any more: it was removed, or its version is not served"
    )]
    Dismissed,
}

/// Runs until `shutdown`, until the grid has it drained, or until the grid refuses it.
///
/// # Errors
/// See [`Error`].
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    refuse_secrets(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))?;
    let _lock = identity::lock(&config.data_folder)?;
    let folder = |source| Error::Folder { path: config.data_folder.clone(), source };
    let machine = machine::look(&config.data_folder).map_err(Error::Machine)?;
    let slots = config.slots.unwrap_or(machine.cores).max(1);
    let mut blocked = config.network.blocked.clone();
    blocked.extend(addresses(&config.api_url).await);
    let sandbox_config = SandboxConfig {
        data_folder: config.data_folder.clone(),
        slots,
        launcher: config.launcher.clone(),
        allow_host_network: config.network.allow_host,
        allow_private_ranges: config.network.allow_private_ranges,
        blocked,
        bwrap: config.bwrap.clone(),
        docker_socket: config.docker_socket.clone(),
        images_bytes_max: IMAGES_BYTES_MAX,
        own_mounts: config.own_mounts,
    };
    let forbidden = Forbidden::of(&sandbox_config);
    let containers = Containers::new(sandbox_config.clone());
    let Chosen { kind, room, docker } =
        isolation::open(&config.isolation, &sandbox_config, &containers).await?;
    room.sandbox.pull_ahead(config.images_ahead.clone());
    make_ahead(&room.workspaces, slots);
    let cache_bytes = CACHE_BYTES_MAX.min(machine.capacity.disk_bytes / 100 * CACHE_DISK_PERCENT);
    let cache = BlobCache::open(&config.data_folder.join("cache"), cache_bytes).map_err(folder)?;
    let uv = Uv::new(config.uv.clone(), config.fetch_uv.clone());
    let environments = Environments::open(&config.data_folder, machine.capacity.disk_bytes, uv, forbidden);
    let environments = Arc::new(environments.map_err(folder)?);
    let identity = identity::establish(
        &config.data_folder,
        &config.api_url,
        &config.join,
        Join {
            token: String::new(),
            nonce: String::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            hostname: nix::unistd::gethostname()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            slots,
            capacity: machine.capacity.into(),
            sandbox: room.sandbox.describe(),
            docker,
        },
    );
    let identity = tokio::select! {
        identity = identity => identity,
        () = shutdown.cancelled() => Ok(None),
    };
    let identity = match identity {
        Ok(Some(identity)) => identity,
        not_needed => {
            room.close().await;
            return not_needed.map(|_| ());
        }
    };
    tracing::info!(worker = identity.worker_id, slots, sandbox = ?room.sandbox.describe(), docker, "ready for work");
    let lone_memory = config.embedded.then_some(machine.memory_total_bytes);
    let held = Arc::new(Holdings::new(machine.capacity, slots, lone_memory));
    containers.label(worker_labels(&identity.worker_id, &config.api_url));
    let bench = Arc::new(Bench {
        client: Client::new(&config.api_url, &identity.credential)?,
        held,
        room,
        containers,
        kind,
        cache,
        flights: Flights::default(),
        interpreters: Interpreters::open(&config.data_folder),
        environments,
        embedded: config.embedded,
        stop: shutdown.child_token(),
    });
    let result = work(bench.clone()).await;
    match kind {
        SandboxKind::Process => bench.room.clone().close().await,
        SandboxKind::Docker => {} // it is the containers'
    }
    bench.containers.close().await;
    result
}

/// What containers say of where they come from.
fn worker_labels(worker_id: &str, api_url: &str) -> Vec<(String, String)> {
    vec![("rgrid.worker".to_owned(), worker_id.to_owned()), ("rgrid.grid".to_owned(), api_url.to_owned())]
}

/// Makes a workspace for the first attempt of each slot, while the runner joins.
fn make_ahead(workspaces: &Arc<Workspaces>, slots: u32) {
    let workspaces = workspaces.clone();
    tokio::task::spawn_blocking(move || {
        for slot in 0..slots {
            if let Err(error) = workspaces.prepare(slot) {
                tracing::warn!(%error, slot, "no workspace could be made ahead");
            }
        }
    });
}

/// Polls, heartbeats and jobs, until there is a reason to leave.
async fn work(bench: Arc<Bench>) -> Result<(), Error> {
    let standing = Arc::new(Standing::default());
    let quiet = CancellationToken::new();
    let beats = tokio::spawn(poll::heartbeats(
        bench.client.clone(),
        bench.held.clone(),
        standing.clone(),
        quiet.clone(),
    ));
    let jobs = TaskTracker::new();
    let start = |lease: rgrid_api::workers::Lease| match bench.held.take(&lease) {
        Ok(control) => {
            jobs.spawn(job::live(bench.clone(), lease, control));
        }
        Err(NotTaken::Full(attempt)) => {
            tracing::warn!(
                execution = attempt.execution_id,
                attempt = attempt.attempt,
                "more than was asked for"
            );
            let client = bench.client.clone();
            jobs.spawn(async move { job::hand_back(&client, &attempt).await });
        }
        Err(NotTaken::Held) => tracing::warn!(execution = lease.execution_id, "leased twice"),
    };
    tokio::select! {
        () = poll::leases(&bench.client, &bench.held, &standing, &bench.stop, start) => {}
        () = standing.dismissed.cancelled() => bench.stop.cancel(),
    }
    jobs.close();
    if tokio::time::timeout(STOP_DEADLINE, jobs.wait()).await.is_err() {
        tracing::warn!(held = bench.held.holding().len(), "leaving although attempts are held");
    }
    quiet.cancel();
    // It ends at the cancelled token; a panic in it was reported by the runtime.
    let _ = beats.await;
    if standing.dismissed.is_cancelled() { Err(Error::Dismissed) } else { Ok(()) }
}

/// Refuses an environment that holds what a worker must not know.
fn refuse_secrets(names: impl Iterator<Item = String>) -> Result<(), Error> {
    let forbidden = |name: &String| {
        FORBIDDEN_VARIABLES.iter().any(|f| name == f || (f.ends_with('_') && name.starts_with(f)))
    };
    let mut names = names;
    names
        .find(forbidden)
        .filter(|_| guards::holds(&guards::FORBIDDEN_VARIABLES))
        .map_or(Ok(()), |variable| Err(Error::ForbiddenVariable { variable }))
}

/// The addresses of the API, which no job may reach.
async fn addresses(api_url: &str) -> Vec<IpAddr> {
    let Ok(url) = reqwest::Url::parse(api_url) else { return Vec::new() };
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return Vec::new() };
    match tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await {
        Ok(addresses) => addresses.map(|address| address.ip()).collect(),
        Err(error) => {
            tracing::warn!(%error, host, "the API's address cannot be resolved");
            Vec::new()
        }
    }
}

/// Where a runner keeps what it knows of itself; for tools that look at it.
#[must_use]
pub fn identity_file(data_folder: &Path) -> PathBuf {
    identity::path(data_folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_refuses_the_secrets_of_the_grid() {
        let refused = |name: &str| refuse_secrets(["PATH".to_owned(), name.to_owned()].into_iter()).is_err();
        assert!(refused("DATABASE_URL") && refused("MINIO_ROOT_USER") && refused("HETZNER_API_TOKEN"));
        assert!(!refused("DATABASE_URL_HINT") && !refused("MINION") && !refused("HOME"));
    }
}
