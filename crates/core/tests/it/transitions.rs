//! The two tables of transitions, as properties.

use std::collections::HashSet;

use proptest::prelude::*;
use rgrid_core::execution::{self, Status, Step, TRANSITIONS};
use rgrid_core::outcome::{CancelledBy, Outcome};
use rgrid_core::worker::{self, WORKER_TRANSITIONS, WorkerStatus, WorkerStep};

proptest! {
    #[test]
    fn no_walk_leaves_a_terminal_state(steps in prop::collection::vec(prop::sample::select(&Step::ALL[..]), 0..40)) {
        let mut status = Status::Pending;
        for step in steps {
            let next = execution::next(status, step);
            if status.is_terminal() {
                prop_assert_eq!(next, None);
            }
            status = next.unwrap_or(status);
        }
    }

    #[test]
    fn a_terminating_worker_never_takes_work_again(
        steps in prop::collection::vec(prop::sample::select(&WorkerStep::ALL[..]), 0..40)
    ) {
        let mut status = WorkerStatus::Provisioning;
        let mut terminating = false;
        for step in steps {
            status = worker::next(status, step).unwrap_or(status);
            terminating |= status == WorkerStatus::Terminating;
            let over = matches!(status, WorkerStatus::Terminating | WorkerStatus::Terminated);
            prop_assert!(!terminating || over);
        }
    }
}

#[test]
fn every_state_is_reached_and_reaches_an_end() {
    let reach = |from: Status| {
        let mut seen = HashSet::from([from]);
        while let Some((_, _, to)) =
            TRANSITIONS.iter().find(|(a, _, b)| seen.contains(a) && !seen.contains(b))
        {
            seen.insert(*to);
        }
        seen
    };
    assert_eq!(reach(Status::Pending).len(), Status::ALL.len());
    for status in Status::ALL {
        assert!(reach(status).iter().any(|end| end.is_terminal()), "{status} never ends");
    }
    let mut seen = HashSet::from([WorkerStatus::Provisioning]);
    while let Some((_, _, to)) =
        WORKER_TRANSITIONS.iter().find(|(a, _, b)| seen.contains(a) && !seen.contains(b))
    {
        seen.insert(*to);
    }
    assert_eq!(seen.len(), WorkerStatus::ALL.len());
}

#[test]
fn a_step_leads_from_a_state_to_one_place() {
    let executions: HashSet<_> = TRANSITIONS.iter().map(|(from, step, _)| (from, step)).collect();
    assert_eq!(executions.len(), TRANSITIONS.len());
    let workers: HashSet<_> = WORKER_TRANSITIONS.iter().map(|(from, step, _)| (from, step)).collect();
    assert_eq!(workers.len(), WORKER_TRANSITIONS.len());
}

#[test]
fn every_outcome_of_a_running_attempt_ends_it() {
    let outcomes = [
        Outcome::Exited { code: 0 },
        Outcome::Exited { code: 3 },
        Outcome::Signalled { signal: 9 },
        Outcome::OutOfMemory { limit_bytes: 1, peak_bytes: 1 },
        Outcome::TimedOut { timeout: std::time::Duration::from_secs(1) },
        Outcome::Cancelled { by: CancelledBy::User },
        Outcome::DependenciesFailed { message: String::new() },
        Outcome::InputMissing { path: String::new(), corrupt: true },
        Outcome::OutputTooLarge { limit_bytes: 1, size_bytes: 2 },
        Outcome::DiskFull { limit_bytes: 1 },
        Outcome::WorkerLost { workers: Vec::new() },
        Outcome::SandboxFailed { message: String::new() },
    ];
    for outcome in outcomes {
        let end = execution::next(Status::Running, outcome.step());
        assert!(end.is_some_and(Status::is_terminal), "{outcome:?} leads to {end:?}");
    }
}

#[test]
fn a_status_reads_back_from_its_one_spelling() {
    for status in Status::ALL {
        assert_eq!(status.as_str().parse(), Ok(status));
    }
    for status in WorkerStatus::ALL {
        assert_eq!(status.as_str().parse(), Ok(status));
    }
    assert!("active".parse::<Status>().is_err());
}
