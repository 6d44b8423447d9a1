//! Workers: the list for people, and what a runner says of itself: join, heartbeat, and the poll for work.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::dependencies::DependenciesBody;
use crate::executions::{InputBody, ProgramBody};
use crate::outcome::CancelledByBody;

/// A worker, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Worker {
    /// `worker_...`
    pub id: String,
    /// `provisioning`, `active`, `draining`, `dead`, `failed`, `terminating` or `terminated`.
    pub status: String,
    /// Its machine's name.
    pub hostname: String,
    /// Its version.
    pub version: String,
    /// Attempts it runs.
    pub running: u32,
    /// Attempts it can run at once.
    pub slots: u32,
    /// What it has for attempts.
    pub capacity: CapacityBody,
    /// How it isolates.
    pub sandbox: SandboxBody,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it was last heard of.
    pub last_heartbeat_at: Option<DateTime<Utc>>,
    /// Why it is in this state, in a sentence.
    pub reason: Option<String>,
    /// The server behind it, where a provider bills one.
    #[serde(default)]
    pub server: Option<ServerBody>,
}

/// A server that a provider bills.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServerBody {
    /// The provider.
    pub provider: String,
    /// Its name there.
    pub name: String,
    /// Its type.
    pub machine_type: String,
    /// Where it stands.
    pub location: String,
    /// A started hour of it and of its address, in micro-euros, net, as captured when it was ordered.
    pub hour_micros: i64,
    /// Until when it is paid, by the provider's clock; none before it was created.
    pub paid_until: Option<DateTime<Utc>>,
}

/// The answer to `GET /workers`: all that are not terminated, and those terminated within the last hour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkerList {
    /// Oldest first.
    pub workers: Vec<Worker>,
}

/// Cores, memory and disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CapacityBody {
    /// Thousandths of a core.
    pub cpu_millis: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of disk.
    pub disk_bytes: u64,
}

impl From<rgrid_core::worker::Capacity> for CapacityBody {
    fn from(c: rgrid_core::worker::Capacity) -> Self {
        Self { cpu_millis: c.cpu_millis, memory_bytes: c.memory_bytes, disk_bytes: c.disk_bytes }
    }
}

impl From<CapacityBody> for rgrid_core::worker::Capacity {
    fn from(c: CapacityBody) -> Self {
        Self { cpu_millis: c.cpu_millis, memory_bytes: c.memory_bytes, disk_bytes: c.disk_bytes }
    }
}

/// How a worker isolates and limits, as its probe found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SandboxBody {
    /// `process` or `docker`.
    pub kind: String,
    /// How a job's network is made: `veth`, `pasta`, `host` (the operator allowed it), or `none` when only `--no-network`
    /// jobs can run.
    pub network: String,
    /// `hard` or `watched`, for memory, CPU and processes.
    pub limits: String,
    /// `hard` or `watched`, for disk.
    pub disk: String,
}

/// The body of `POST /workers/join`. Repeating it with the same token and nonce is safe until the first heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Join {
    /// The single-use token.
    #[schema(min_length = 1, max_length = 256)]
    pub token: String,
    /// Drawn once by the runner.
    #[schema(min_length = 1, max_length = 256)]
    pub nonce: String,
    /// The runner's version.
    #[schema(min_length = 1, max_length = 256)]
    pub version: String,
    /// Its machine's name.
    #[schema(min_length = 1, max_length = 256)]
    pub hostname: String,
    /// Attempts it can run at once.
    #[schema(minimum = 1, maximum = 4096)]
    pub slots: u32,
    /// What it has for attempts.
    pub capacity: CapacityBody,
    /// How it isolates.
    pub sandbox: SandboxBody,
    /// True when it can run container images as well.
    #[serde(default)]
    pub docker: bool,
}

/// The answer to a join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Joined {
    /// `worker_...`
    pub worker_id: String,
    /// The worker's own bearer key.
    pub credential: String,
}

/// Names an attempt that a runner holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Held {
    /// The execution.
    pub execution_id: String,
    /// The attempt's number.
    pub attempt: u32,
    /// The attempt's token.
    pub token: String,
    /// Version of the newest directive the runner has seen for it; 0 for none.
    pub directive: u64,
}

/// The body of `POST /heartbeats`: only named attempts keep their leases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Heartbeat {
    /// Every attempt that the runner holds.
    pub holding: Vec<Held>,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatAnswer {
    /// Attempts of the request that are not current any more: end them, report nothing.
    pub not_current: Vec<Held>,
    /// What the runner does not know yet of the attempts that are.
    pub directives: Vec<Directive>,
    /// True when the worker shall finish what it holds and leave.
    pub drain: bool,
}

/// What is wanted of a running attempt, as a whole; a newer version replaces an older one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Directive {
    /// The execution.
    pub execution_id: String,
    /// The attempt's number.
    pub attempt: u32,
    /// Grows with each change.
    pub version: u64,
    /// End it, because this one asked.
    pub cancel: Option<CancelledByBody>,
    /// How long it may run in all.
    pub timeout_ms: u64,
    /// Somebody follows: push log bytes at once.
    pub followed: bool,
}

/// The body of `POST /leases`: a long poll for work, and for directives about what is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaseRequest {
    /// Attempts it could start now; 0 polls for directives only.
    pub slots: u32,
    /// What it has left for them.
    pub free: CapacityBody,
    /// What it holds.
    pub holding: Vec<Held>,
    /// How long the answer may wait; at most 20,000.
    pub wait_ms: u64,
}

/// The answer to a poll. Both may be empty: poll again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaseAnswer {
    /// New attempts.
    pub leases: Vec<Lease>,
    /// What the runner does not know yet of what it holds.
    pub directives: Vec<Directive>,
    /// Attempts of the request that are not current any more.
    pub not_current: Vec<Held>,
    /// True when the worker shall finish what it holds and leave.
    pub drain: bool,
}

/// An attempt that is handed to a runner, with all that it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    /// The execution.
    pub execution_id: String,
    /// Its owner: nothing may be shared across accounts.
    pub account_id: String,
    /// The attempt's number: the fencing token.
    pub attempt: u32,
    /// Proves, with the number, that a call is this attempt's.
    pub token: String,
    /// What to run.
    pub program: ProgramBody,
    /// The script's arguments.
    pub args: Vec<String>,
    /// Its working directory.
    pub cwd: String,
    /// Where outputs are looked for.
    pub project_root: String,
    /// What it is run by.
    pub runtime: String,
    /// The user's own interpreter.
    pub interpreter: Option<String>,
    /// What must lie in the workspace.
    pub inputs: Vec<InputBody>,
    /// Where to GET each input's bytes without a key: hash to URL (absolute, or a path on the API).
    pub urls: BTreeMap<String, String>,
    /// Variables, with their values.
    pub environment: BTreeMap<String, String>,
    /// True when stdin is streamed.
    pub stdin: bool,
    /// Thousandths of a core it asks for.
    pub cpu_millis: Option<u32>,
    /// Bytes of memory it asks for.
    pub memory_bytes: Option<u64>,
    /// Bytes of disk it asks for.
    pub disk_bytes: Option<u64>,
    /// From SIGINT to SIGKILL.
    pub grace_ms: u64,
    /// False cuts it off from every network.
    pub network: bool,
    /// Folders below which written files come back.
    pub output_roots: Vec<String>,
    /// Further files or folders that come back.
    pub outputs: Vec<String>,
    /// All outputs together may have this many bytes.
    pub output_bytes_max: u64,
    /// What is wanted of it: time-out, cancel, follow.
    pub directive: Directive,
    /// What is taken from the permission bits of the files that the script makes.
    #[serde(default = "default_umask")]
    pub umask: u32,
    /// What must be installed first.
    #[serde(default)]
    pub dependencies: Option<DependenciesBody>,
}

/// An API of the version before says nothing of it.
fn default_umask() -> u32 {
    rgrid_core::submission::UMASK
}
