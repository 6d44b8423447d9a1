//! Why an execution ended: a closed enum with its data, the status it leads to, and the exit code a client gives.

use std::time::Duration;

use crate::execution::Step;
use crate::id::WorkerId;

/// Exit code of the client for an execution that was ended at its deadline (as `timeout(1)` does).
pub const EXIT_TIMED_OUT: u8 = 124;
/// Exit code of the client when the grid failed, not the script.
pub const EXIT_GRID_FAILED: u8 = 125;
/// Exit code of the client for a refused request or wrong usage.
pub const EXIT_REFUSED: u8 = 126;
/// Exit code of the client that detached or was interrupted.
pub const EXIT_INTERRUPTED: u8 = 130;
/// Exit code of the client for an execution that was killed for its memory, as the shell spells SIGKILL.
pub const EXIT_OUT_OF_MEMORY: u8 = 137;

/// Who cancelled an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CancelledBy {
    /// Somebody with a key of the account.
    User,
    /// The operator of the grid.
    Operator,
}

impl CancelledBy {
    /// The one spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Operator => "operator",
        }
    }
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The script's process exited by itself.
    Exited {
        /// Its exit code, 0 to 255.
        code: u8,
    },
    /// A signal ended the script's process, and it was not ours.
    Signalled {
        /// The signal's number.
        signal: u8,
    },
    /// It was killed at its memory limit.
    OutOfMemory {
        /// What it was allowed.
        limit_bytes: u64,
        /// The most that was seen.
        peak_bytes: u64,
    },
    /// It was ended at its deadline.
    TimedOut {
        /// The time it was allowed.
        timeout: Duration,
    },
    /// Somebody ended it.
    Cancelled {
        /// Who.
        by: CancelledBy,
    },
    /// Its environment could not be built.
    DependenciesFailed {
        /// The builder's own words.
        message: String,
    },
    /// An input was not there, or its bytes were damaged.
    InputMissing {
        /// The path as the user knows it.
        path: String,
        /// True when bytes were found, and were the wrong ones.
        corrupt: bool,
    },
    /// What it wrote is more than may be brought back.
    OutputTooLarge {
        /// What it was allowed.
        limit_bytes: u64,
        /// What it wrote.
        size_bytes: u64,
    },
    /// It wrote more than its disk holds.
    DiskFull {
        /// What it was allowed.
        limit_bytes: u64,
    },
    /// Its workers fell silent, more often than it may be retried.
    WorkerLost {
        /// The worker of each lost attempt, oldest first.
        workers: Vec<WorkerId>,
    },
    /// The sandbox could not be made.
    SandboxFailed {
        /// What failed, and what helps.
        message: String,
    },
    /// Its inputs did not arrive in time, or it waited longer than it may.
    Expired,
}

impl Outcome {
    /// The one spelling of the kind: in rows and on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Exited { .. } => "exited",
            Self::Signalled { .. } => "signalled",
            Self::OutOfMemory { .. } => "out_of_memory",
            Self::TimedOut { .. } => "timed_out",
            Self::Cancelled { .. } => "cancelled",
            Self::DependenciesFailed { .. } => "dependencies_failed",
            Self::InputMissing { .. } => "input_missing",
            Self::OutputTooLarge { .. } => "output_too_large",
            Self::DiskFull { .. } => "disk_full",
            Self::WorkerLost { .. } => "worker_lost",
            Self::SandboxFailed { .. } => "sandbox_failed",
            Self::Expired => "expired",
        }
    }

    /// The step of the transition table that this outcome takes.
    pub fn step(&self) -> Step {
        match self {
            Self::Exited { code: 0 } => Step::Complete,
            Self::Exited { .. }
            | Self::Signalled { .. }
            | Self::OutOfMemory { .. }
            | Self::DependenciesFailed { .. }
            | Self::OutputTooLarge { .. }
            | Self::DiskFull { .. }
            | Self::SandboxFailed { .. } => Step::Fail,
            Self::TimedOut { .. } => Step::TimeOut,
            Self::Cancelled { .. } => Step::Cancel,
            // An attempt that finds its input damaged is running; a pending execution takes `InputsLost` instead.
            Self::InputMissing { .. } => Step::Fail,
            Self::WorkerLost { .. } => Step::GiveUp,
            Self::Expired => Step::InputsLost,
        }
    }

    /// What `rgrid run` exits with.
    pub fn client_exit_code(&self) -> u8 {
        match self {
            Self::Exited { code } => *code,
            Self::Signalled { signal } => 128u8.saturating_add(*signal),
            Self::OutOfMemory { .. } => EXIT_OUT_OF_MEMORY,
            Self::TimedOut { .. } => EXIT_TIMED_OUT,
            Self::Cancelled { .. } => EXIT_INTERRUPTED,
            Self::DependenciesFailed { .. }
            | Self::InputMissing { .. }
            | Self::OutputTooLarge { .. }
            | Self::DiskFull { .. }
            | Self::WorkerLost { .. }
            | Self::SandboxFailed { .. }
            | Self::Expired => EXIT_GRID_FAILED,
        }
    }
}
