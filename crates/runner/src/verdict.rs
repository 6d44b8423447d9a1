//! What the end of a job's processes means for its execution.

use rgrid_core::outcome::Outcome;

use crate::sandbox::{JobEnd, JobExit};
use crate::supervise::Why;

/// The outcome when outputs were lost as well: who cancelled or ran out of time is told that first.
pub(crate) fn worse(outcome: Outcome, instead: Outcome) -> Outcome {
    match outcome {
        Outcome::Exited { .. } | Outcome::Signalled { .. } => instead,
        other @ (Outcome::OutOfMemory { .. }
        | Outcome::TimedOut { .. }
        | Outcome::Cancelled { .. }
        | Outcome::DependenciesFailed { .. }
        | Outcome::InputMissing { .. }
        | Outcome::OutputTooLarge { .. }
        | Outcome::DiskFull { .. }
        | Outcome::WorkerLost { .. }
        | Outcome::SandboxFailed { .. }
        | Outcome::Expired) => other,
    }
}

/// What the end of the processes means.
pub(crate) fn outcome(end: &JobEnd, why: Why, disk_bytes: u64) -> Outcome {
    match (why, end.exit) {
        (Why::Ended(outcome), _) => outcome,
        // A script that survived the loss of a child, or a full disk, has the last word.
        (_, JobExit::Exited(0)) => Outcome::Exited { code: 0 },
        (_, exit) => match (end.out_of_memory, end.disk_full, exit) {
            (Some((limit_bytes, peak_bytes)), _, _) => Outcome::OutOfMemory { limit_bytes, peak_bytes },
            (None, true, _) => Outcome::DiskFull { limit_bytes: disk_bytes },
            (None, false, JobExit::Exited(code)) => Outcome::Exited { code },
            (None, false, JobExit::Signalled(signal)) => Outcome::Signalled { signal },
        },
    }
}
