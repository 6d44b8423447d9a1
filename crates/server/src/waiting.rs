//! Why an execution waits and what happens next, in one sentence.

use rgrid_core::execution::Status;
use rgrid_store::executions::{ExecutionRow, Waiting};

use crate::error::Refused;
use crate::state::App;

/// The sentence for an execution that waits; `None` for one that does not.
pub(crate) async fn sentence(app: &App, row: &ExecutionRow) -> Result<Option<String>, Refused> {
    match row.status {
        Status::Pending => Ok(at_once(row)),
        Status::Queued => {
            let Some(waiting) = app.store.waiting(row.account_id, row.id).await? else { return Ok(None) };
            let outlook = if waits_for_worker(&waiting) { app.store.outlook().await? } else { None };
            Ok(Some(match outlook {
                Some(outlook) => format!("{}; {outlook}", describe(&waiting)),
                None => describe(&waiting),
            }))
        }
        Status::Running => Ok(at_once(row)),
        Status::Completed | Status::Failed | Status::TimedOut | Status::Cancelled => Ok(None),
    }
}

/// The sentence as far as the row itself tells: no look at the queue.
pub(crate) fn at_once(row: &ExecutionRow) -> Option<String> {
    match row.status {
        Status::Pending => Some(describe(&Waiting::Inputs { missing: row.inputs_missing })),
        Status::Running => row.preparing.clone(),
        Status::Queued | Status::Completed | Status::Failed | Status::TimedOut | Status::Cancelled => None,
    }
}

/// True when another worker would help: then the orchestrator's words on that belong to the sentence.
fn waits_for_worker(waiting: &Waiting) -> bool {
    match waiting {
        Waiting::Inputs { .. } | Waiting::Worker { batch_limit: Some(_), .. } => false,
        Waiting::Worker { workers_active, fits_a_worker, slots_free, .. } => {
            *workers_active == 0 || !fits_a_worker || *slots_free == 0
        }
    }
}

fn counted(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Facts -> sentence. The first reason that holds is the one that matters.
pub(crate) fn describe(waiting: &Waiting) -> String {
    match waiting {
        Waiting::Inputs { missing } => {
            format!(
                "{} not uploaded yet; it is queued as soon as the last one is there",
                counted(*missing, "input")
            )
        }
        Waiting::Worker { batch_limit: Some(limit), .. } => {
            format!("its batch runs at most {limit} at once; it starts when one of them ends")
        }
        Waiting::Worker { workers_active: 0, last_failure: Some(why), .. } => {
            format!(
                "no worker can be started, which is tried again from time to time; the last one said: {why}"
            )
        }
        Waiting::Worker { workers_active: 0, workers_provisioning: 0, .. } => {
            "there is no worker yet; it starts when one has joined".to_owned()
        }
        Waiting::Worker { workers_active: 0, .. } => {
            "there is no worker yet: one is starting; it runs there when its turn comes".to_owned()
        }
        Waiting::Worker { lacks_docker: true, .. } => {
            "it runs in a container image, and no worker has Docker; it starts when one has joined that has it"
                .to_owned()
        }
        Waiting::Worker { fits_a_worker: false, workers_provisioning: 0, .. } => {
            "no worker is large enough for what it asks; it starts when a larger one has joined".to_owned()
        }
        Waiting::Worker { fits_a_worker: false, .. } => {
            "no worker is large enough for what it asks: another is starting".to_owned()
        }
        Waiting::Worker { slots_free: 0, ahead: 0, workers_active, .. } => {
            format!("all places on {} are taken; it is next", counted(u64::from(*workers_active), "worker"))
        }
        Waiting::Worker { slots_free: 0, ahead, workers_active, .. } => format!(
            "all places on {} are taken, and before it in the queue: {}",
            counted(u64::from(*workers_active), "worker"),
            counted(*ahead, "execution"),
        ),
        Waiting::Worker { ahead: 0, .. } => "it is next: a worker is about to take it".to_owned(),
        Waiting::Worker { ahead, .. } => {
            format!("before it in the queue: {}; workers take them in turn", counted(*ahead, "execution"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(change: impl FnOnce(&mut Facts)) -> String {
        let mut facts = Facts {
            ahead: 0,
            active: 1,
            provisioning: 0,
            free: 1,
            fits: true,
            no_docker: false,
            batch_limit: None,
            failure: None,
        };
        change(&mut facts);
        describe(&Waiting::Worker {
            ahead: facts.ahead,
            workers_active: facts.active,
            workers_provisioning: facts.provisioning,
            slots_free: facts.free,
            fits_a_worker: facts.fits,
            lacks_docker: facts.no_docker,
            batch_limit: facts.batch_limit,
            last_failure: facts.failure.map(str::to_owned),
        })
    }

    struct Facts {
        ahead: u64,
        active: u32,
        provisioning: u32,
        free: u32,
        fits: bool,
        no_docker: bool,
        batch_limit: Option<u32>,
        failure: Option<&'static str>,
    }

    #[test]
    fn each_reason_has_its_sentence() {
        let sentences = [
            describe(&Waiting::Inputs { missing: 1 }),
            describe(&Waiting::Inputs { missing: 3 }),
            worker(|facts| facts.batch_limit = Some(10)),
            worker(|facts| facts.active = 0),
            worker(|facts| (facts.active, facts.failure) = (0, Some("bubblewrap is missing"))),
            worker(|facts| (facts.active, facts.provisioning) = (0, 1)),
            worker(|facts| facts.no_docker = true),
            worker(|facts| facts.fits = false),
            worker(|facts| (facts.fits, facts.provisioning) = (false, 1)),
            worker(|facts| facts.free = 0),
            worker(|facts| (facts.free, facts.ahead, facts.active) = (0, 1, 2)),
            worker(|facts| (facts.free, facts.ahead) = (0, 7)),
            worker(|_| {}),
            worker(|facts| facts.ahead = 2),
        ];
        insta::assert_snapshot!(sentences.join("\n"), @r"
        1 input not uploaded yet; it is queued as soon as the last one is there
        3 inputs not uploaded yet; it is queued as soon as the last one is there
        its batch runs at most 10 at once; it starts when one of them ends
        there is no worker yet; it starts when one has joined
        no worker can be started, which is tried again from time to time; the last one said: bubblewrap is missing
        there is no worker yet: one is starting; it runs there when its turn comes
        it runs in a container image, and no worker has Docker; it starts when one has joined that has it
        no worker is large enough for what it asks; it starts when a larger one has joined
        no worker is large enough for what it asks: another is starting
        all places on 1 worker are taken; it is next
        all places on 2 workers are taken, and before it in the queue: 1 execution
        all places on 1 worker are taken, and before it in the queue: 7 executions
        it is next: a worker is about to take it
        before it in the queue: 2 executions; workers take them in turn
        ");
    }
}
