//! An execution's states and THE table of its transitions. SQL guards, the CHECK constraint, `docs/states.md`, the
//! property tests and the simulator all take it from here; no other place may know which step is legal.

use std::fmt;
use std::str::FromStr;

/// Where an execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Accepted; its inputs are not all on the grid yet.
    Pending,
    /// Waits for a worker.
    Queued,
    /// An attempt holds it.
    Running,
    /// The script ended with exit code 0.
    Completed,
    /// It ended in any other way that is not one of the two below.
    Failed,
    /// It was ended at its deadline.
    TimedOut,
    /// Somebody ended it.
    Cancelled,
}

impl Status {
    /// All of them, in the order of life.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Queued,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::TimedOut,
        Self::Cancelled,
    ];

    /// The one spelling: in rows, on the wire and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
        }
    }

    /// True when nothing changes any more.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Queued | Self::Running => false,
            Self::Completed | Self::Failed | Self::TimedOut | Self::Cancelled => true,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a status")]
pub struct UnknownStatus(pub String);

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| UnknownStatus(text.to_owned()))
    }
}

/// What can happen to an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Its last input was committed.
    InputsArrived,
    /// Its inputs did not arrive in time, or one of them turned out to be damaged.
    InputsLost,
    /// A worker was handed an attempt of it.
    Claim,
    /// Its attempt was lost or handed back, and may be tried again.
    Requeue,
    /// Its last permitted attempt was lost.
    GiveUp,
    /// The script ended with exit code 0.
    Complete,
    /// The attempt ended in failure.
    Fail,
    /// The attempt ended at its deadline.
    TimeOut,
    /// Somebody ended it, and what ran has ended.
    Cancel,
}

impl Step {
    /// All of them, in the order of the declaration.
    pub const ALL: [Self; 9] = [
        Self::InputsArrived,
        Self::InputsLost,
        Self::Claim,
        Self::Requeue,
        Self::GiveUp,
        Self::Complete,
        Self::Fail,
        Self::TimeOut,
        Self::Cancel,
    ];
}

/// Every legal transition, and no other.
pub const TRANSITIONS: &[(Status, Step, Status)] = &[
    (Status::Pending, Step::InputsArrived, Status::Queued),
    (Status::Pending, Step::InputsLost, Status::Failed),
    (Status::Pending, Step::Cancel, Status::Cancelled),
    (Status::Queued, Step::Claim, Status::Running),
    (Status::Queued, Step::InputsLost, Status::Failed),
    (Status::Queued, Step::Cancel, Status::Cancelled),
    (Status::Running, Step::Requeue, Status::Queued),
    (Status::Running, Step::GiveUp, Status::Failed),
    (Status::Running, Step::Complete, Status::Completed),
    (Status::Running, Step::Fail, Status::Failed),
    (Status::Running, Step::TimeOut, Status::TimedOut),
    (Status::Running, Step::Cancel, Status::Cancelled),
];

/// Where `step` leads from `status`; `None` when it may not happen there.
pub fn next(status: Status, step: Step) -> Option<Status> {
    TRANSITIONS.iter().find(|(from, by, _)| *from == status && *by == step).map(|(_, _, to)| *to)
}

/// The statuses in which `step` is legal: the parameter of the SQL guards.
pub fn sources(step: Step) -> Vec<Status> {
    TRANSITIONS.iter().filter(|(_, by, _)| *by == step).map(|(from, _, _)| *from).collect()
}
