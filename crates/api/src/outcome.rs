//! An outcome on the wire, and both directions of its conversion.

use std::time::Duration;

use rgrid_core::outcome::{CancelledBy, Outcome};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How an execution ended. [`Outcome`] says what each kind means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the core's type of the same names documents them")]
pub enum OutcomeBody {
    Exited {
        #[schema(maximum = 255)]
        code: u8,
    },
    Signalled {
        #[schema(maximum = 255)]
        signal: u8,
    },
    OutOfMemory {
        limit_bytes: u64,
        peak_bytes: u64,
    },
    TimedOut {
        timeout_ms: u64,
    },
    Cancelled {
        by: CancelledByBody,
    },
    DependenciesFailed {
        message: String,
    },
    InputMissing {
        path: String,
        corrupt: bool,
    },
    OutputTooLarge {
        limit_bytes: u64,
        size_bytes: u64,
    },
    DiskFull {
        limit_bytes: u64,
    },
    WorkerLost {
        workers: Vec<String>,
    },
    SandboxFailed {
        message: String,
    },
    Expired,
}

/// Who cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the core's type of the same names documents them")]
pub enum CancelledByBody {
    User,
    Operator,
}

impl From<CancelledBy> for CancelledByBody {
    fn from(by: CancelledBy) -> Self {
        match by {
            CancelledBy::User => Self::User,
            CancelledBy::Operator => Self::Operator,
        }
    }
}

impl From<CancelledByBody> for CancelledBy {
    fn from(by: CancelledByBody) -> Self {
        match by {
            CancelledByBody::User => Self::User,
            CancelledByBody::Operator => Self::Operator,
        }
    }
}

impl From<&Outcome> for OutcomeBody {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Exited { code } => Self::Exited { code: *code },
            Outcome::Signalled { signal } => Self::Signalled { signal: *signal },
            Outcome::OutOfMemory { limit_bytes, peak_bytes } => {
                Self::OutOfMemory { limit_bytes: *limit_bytes, peak_bytes: *peak_bytes }
            }
            Outcome::TimedOut { timeout } => Self::TimedOut { timeout_ms: timeout.as_millis() as u64 },
            Outcome::Cancelled { by } => Self::Cancelled { by: (*by).into() },
            Outcome::DependenciesFailed { message } => Self::DependenciesFailed { message: message.clone() },
            Outcome::InputMissing { path, corrupt } => {
                Self::InputMissing { path: path.clone(), corrupt: *corrupt }
            }
            Outcome::OutputTooLarge { limit_bytes, size_bytes } => {
                Self::OutputTooLarge { limit_bytes: *limit_bytes, size_bytes: *size_bytes }
            }
            Outcome::DiskFull { limit_bytes } => Self::DiskFull { limit_bytes: *limit_bytes },
            Outcome::WorkerLost { workers } => {
                Self::WorkerLost { workers: workers.iter().map(ToString::to_string).collect() }
            }
            Outcome::SandboxFailed { message } => Self::SandboxFailed { message: message.clone() },
            Outcome::Expired => Self::Expired,
        }
    }
}

impl TryFrom<&OutcomeBody> for Outcome {
    type Error = rgrid_core::id::ParseIdError;

    fn try_from(body: &OutcomeBody) -> Result<Self, Self::Error> {
        Ok(match body {
            OutcomeBody::Exited { code } => Self::Exited { code: *code },
            OutcomeBody::Signalled { signal } => Self::Signalled { signal: *signal },
            OutcomeBody::OutOfMemory { limit_bytes, peak_bytes } => {
                Self::OutOfMemory { limit_bytes: *limit_bytes, peak_bytes: *peak_bytes }
            }
            OutcomeBody::TimedOut { timeout_ms } => {
                Self::TimedOut { timeout: Duration::from_millis(*timeout_ms) }
            }
            OutcomeBody::Cancelled { by } => Self::Cancelled { by: (*by).into() },
            OutcomeBody::DependenciesFailed { message } => {
                Self::DependenciesFailed { message: message.clone() }
            }
            OutcomeBody::InputMissing { path, corrupt } => {
                Self::InputMissing { path: path.clone(), corrupt: *corrupt }
            }
            OutcomeBody::OutputTooLarge { limit_bytes, size_bytes } => {
                Self::OutputTooLarge { limit_bytes: *limit_bytes, size_bytes: *size_bytes }
            }
            OutcomeBody::DiskFull { limit_bytes } => Self::DiskFull { limit_bytes: *limit_bytes },
            OutcomeBody::WorkerLost { workers } => {
                Self::WorkerLost { workers: workers.iter().map(|id| id.parse()).collect::<Result<_, _>>()? }
            }
            OutcomeBody::SandboxFailed { message } => Self::SandboxFailed { message: message.clone() },
            OutcomeBody::Expired => Self::Expired,
        })
    }
}
