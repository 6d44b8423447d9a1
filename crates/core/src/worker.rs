//! A worker's states, the table of its transitions, and what a worker can hold.

use std::fmt;
use std::str::FromStr;

/// Where a worker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkerStatus {
    /// Asked for; it has not joined.
    Provisioning,
    /// Joined, and takes work.
    Active,
    /// Finishes what it holds and takes nothing new.
    Draining,
    /// Its heartbeats stopped; it may come back.
    Dead,
    /// It never joined.
    Failed,
    /// For good: it is being removed.
    Terminating,
    /// Gone.
    Terminated,
}

impl WorkerStatus {
    /// All of them, in the order of life.
    pub const ALL: [Self; 7] = [
        Self::Provisioning,
        Self::Active,
        Self::Draining,
        Self::Dead,
        Self::Failed,
        Self::Terminating,
        Self::Terminated,
    ];

    /// The one spelling: in rows, on the wire and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Dead => "dead",
            Self::Failed => "failed",
            Self::Terminating => "terminating",
            Self::Terminated => "terminated",
        }
    }
}

impl fmt::Display for WorkerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no worker status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a worker status")]
pub struct UnknownWorkerStatus(pub String);

impl FromStr for WorkerStatus {
    type Err = UnknownWorkerStatus;

    fn from_str(text: &str) -> Result<Self, UnknownWorkerStatus> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| UnknownWorkerStatus(text.to_owned()))
    }
}

/// What can happen to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkerStep {
    /// It joined with its token.
    Join,
    /// It did not join in time.
    NeverJoined,
    /// It is to take no new work.
    Drain,
    /// Its heartbeats stopped.
    FallSilent,
    /// Its heartbeats are back.
    Return,
    /// It is to be removed, for good.
    Terminate,
    /// Its server is gone.
    Gone,
}

impl WorkerStep {
    /// All of them, in the order of the declaration.
    pub const ALL: [Self; 7] = [
        Self::Join,
        Self::NeverJoined,
        Self::Drain,
        Self::FallSilent,
        Self::Return,
        Self::Terminate,
        Self::Gone,
    ];
}

/// Every legal transition, and no other.
pub const WORKER_TRANSITIONS: &[(WorkerStatus, WorkerStep, WorkerStatus)] = &[
    (WorkerStatus::Provisioning, WorkerStep::Join, WorkerStatus::Active),
    (WorkerStatus::Provisioning, WorkerStep::NeverJoined, WorkerStatus::Failed),
    (WorkerStatus::Provisioning, WorkerStep::Terminate, WorkerStatus::Terminating),
    (WorkerStatus::Active, WorkerStep::Drain, WorkerStatus::Draining),
    (WorkerStatus::Active, WorkerStep::FallSilent, WorkerStatus::Dead),
    (WorkerStatus::Draining, WorkerStep::FallSilent, WorkerStatus::Dead),
    (WorkerStatus::Draining, WorkerStep::Terminate, WorkerStatus::Terminating),
    (WorkerStatus::Dead, WorkerStep::Return, WorkerStatus::Active),
    (WorkerStatus::Dead, WorkerStep::Terminate, WorkerStatus::Terminating),
    (WorkerStatus::Failed, WorkerStep::Terminate, WorkerStatus::Terminating),
    (WorkerStatus::Terminating, WorkerStep::Gone, WorkerStatus::Terminated),
];

/// Where `step` leads from `status`; `None` when it may not happen there.
pub fn next(status: WorkerStatus, step: WorkerStep) -> Option<WorkerStatus> {
    WORKER_TRANSITIONS.iter().find(|(from, by, _)| *from == status && *by == step).map(|(_, _, to)| *to)
}

/// The statuses in which `step` is legal: the parameter of the SQL guards.
pub fn sources(step: WorkerStep) -> Vec<WorkerStatus> {
    WORKER_TRANSITIONS.iter().filter(|(_, by, _)| *by == step).map(|(from, _, _)| *from).collect()
}

/// What a machine has for attempts, or what an attempt asks of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Capacity {
    /// Thousandths of a core.
    pub cpu_millis: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of disk.
    pub disk_bytes: u64,
}

/// Share of a worker's memory that attempts may not have: the runner, the kernel and the page cache live there
/// (DESIGN section 11).
pub const MEMORY_RESERVE_PERCENT: u64 = 15;

impl Capacity {
    /// True when one attempt that asks for `wanted` fits in this.
    pub fn holds(&self, wanted: &Self) -> bool {
        self.cpu_millis >= wanted.cpu_millis
            && self.memory_bytes >= wanted.memory_bytes
            && self.disk_bytes >= wanted.disk_bytes
    }

    /// What is left for attempts of a machine with `memory_total_bytes`, of which `resident_bytes` are taken by
    /// others, and `disk_free_bytes` on the disk of the workspaces. Planner and runner both use this.
    pub fn of_machine(
        cores: u32,
        memory_total_bytes: u64,
        resident_bytes: u64,
        disk_free_bytes: u64,
    ) -> Self {
        let reserve = memory_total_bytes / 100 * MEMORY_RESERVE_PERCENT;
        Self {
            cpu_millis: cores.saturating_mul(1000),
            memory_bytes: memory_total_bytes.saturating_sub(reserve).saturating_sub(resident_bytes),
            disk_bytes: disk_free_bytes,
        }
    }

    /// What one of `slots` equal attempts gets when it asks for nothing. `slots` is at least 1.
    pub fn share(&self, slots: u32) -> Self {
        let slots = slots.max(1);
        Self {
            cpu_millis: self.cpu_millis / slots,
            memory_bytes: self.memory_bytes / u64::from(slots),
            disk_bytes: self.disk_bytes / u64::from(slots),
        }
    }
}

/// How a worker keeps attempts within their limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitGrade {
    /// The runner samples and kills: a limit can be passed for a moment.
    Watched,
    /// The kernel enforces it.
    Hard,
}

impl LimitGrade {
    /// The one spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Watched => "watched",
            Self::Hard => "hard",
        }
    }
}

impl FromStr for LimitGrade {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "watched" => Ok(Self::Watched),
            "hard" => Ok(Self::Hard),
            other => Err(format!("{other:?} is neither watched nor hard")),
        }
    }
}
