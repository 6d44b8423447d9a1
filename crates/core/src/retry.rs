//! Again, when, or never: what becomes of an execution whose attempt ended.

use crate::id::WorkerId;
use crate::outcome::Outcome;

/// Why an attempt did not end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Its lease ran out, or its worker is dead: this uses up a retry.
    Lost,
    /// Its runner gave it back unharmed (told to stop), or never named it after the claim: this uses up none.
    HandedBack,
}

/// What becomes of the execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Back into the queue.
    Requeue,
    /// It ends so.
    End(Outcome),
}

/// Decides after a lost attempt. `lost_workers` are the workers of all lost attempts of the execution, this one
/// included; `retries` is how many losses it survives.
pub fn after_loss(loss: Loss, retries: u32, lost_workers: &[WorkerId]) -> Decision {
    match loss {
        Loss::HandedBack => Decision::Requeue,
        Loss::Lost if lost_workers.len() <= retries as usize => Decision::Requeue,
        Loss::Lost => Decision::End(Outcome::WorkerLost { workers: lost_workers.to_vec() }),
    }
}

/// Decides after an attempt that ended with `outcome`: a non-zero exit is tried again only if its code is among
/// `retry_on` and fewer than `retries` attempts ended before it.
pub fn after_end(outcome: Outcome, retry_on: &[u8], retries: u32, ended_before: u32) -> Decision {
    match outcome {
        Outcome::Exited { code } if code != 0 && retry_on.contains(&code) && ended_before < retries => {
            Decision::Requeue
        }
        other @ (Outcome::Exited { .. }
        | Outcome::Signalled { .. }
        | Outcome::OutOfMemory { .. }
        | Outcome::TimedOut { .. }
        | Outcome::Cancelled { .. }
        | Outcome::DependenciesFailed { .. }
        | Outcome::InputMissing { .. }
        | Outcome::OutputTooLarge { .. }
        | Outcome::DiskFull { .. }
        | Outcome::WorkerLost { .. }
        | Outcome::SandboxFailed { .. }
        | Outcome::Expired) => Decision::End(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(n: u8) -> WorkerId {
        WorkerId::new(0, [n; 10])
    }

    #[test]
    fn the_third_loss_with_two_retries_ends_it_and_names_the_workers() {
        let workers = [worker(1), worker(2), worker(3)];
        assert_eq!(after_loss(Loss::Lost, 2, &workers[..2]), Decision::Requeue);
        assert_eq!(
            after_loss(Loss::Lost, 2, &workers),
            Decision::End(Outcome::WorkerLost { workers: workers.to_vec() })
        );
        assert_eq!(after_loss(Loss::HandedBack, 0, &workers), Decision::Requeue);
    }

    #[test]
    fn a_non_zero_exit_is_tried_again_only_by_its_code() {
        assert_eq!(after_end(Outcome::Exited { code: 7 }, &[7], 2, 1), Decision::Requeue);
        let ends = |code, before| {
            Decision::End(Outcome::Exited { code }) == after_end(Outcome::Exited { code }, &[7], 2, before)
        };
        assert!(ends(7, 2) && ends(8, 0) && ends(0, 0));
    }
}
