//! Polls for work wait here, in memory. One claimer per replica serves up to `CLAIM_POLLS_MAX` of them in one
//! transaction (SEMANTICS section 2): many small claims cost PostgreSQL ten times as much as one that is shared.
//!
//! The claimer is woken by a new poll, by a nudge that the queue changed, and each `POLL_FALLBACK` in case a nudge
//! was lost. A poll whose client went away is taken out; an attempt that finds its poll gone is handed back.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::{Excluded, Included};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rgrid_api::error::ErrorCode;
use rgrid_core::id::WorkerId;
use rgrid_core::limits::{CLAIM_POLLS_MAX, POLL_FALLBACK};
use rgrid_core::sizes;
use rgrid_core::worker::Capacity;
use rgrid_store::attempts::AttemptAuth;
use rgrid_store::claim::{Claimed, Claims, Poll};
use rgrid_store::notify::Nudge;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::error::{Causes, Refused};
use crate::metrics;
use crate::state::App;

/// Polls that one replica lets wait.
pub(crate) const POLLS_WAITING_MAX: usize = 20_000;
/// Polls of one worker: more than a machine has places.
const POLLS_OF_WORKER_MAX: usize = 1000;
/// After a claim that failed, the next waits this long.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(500);

/// Where polls wait, oldest first.
#[derive(Default)]
pub(crate) struct Polls {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Default)]
struct Waiting {
    last_ticket: u64,
    polls: BTreeMap<u64, Waiter>,
    /// How many polls of each worker wait.
    of_worker: HashMap<WorkerId, usize>,
}

impl Waiting {
    fn insert(&mut self, waiter: Waiter) -> u64 {
        self.last_ticket += 1;
        *self.of_worker.entry(waiter.poll.worker_id).or_default() += 1;
        self.polls.insert(self.last_ticket, waiter);
        self.last_ticket
    }

    fn remove(&mut self, ticket: u64) -> Option<Waiter> {
        let waiter = self.polls.remove(&ticket)?;
        if let Some(count) = self.of_worker.get_mut(&waiter.poll.worker_id) {
            *count -= 1;
            if *count == 0 {
                self.of_worker.remove(&waiter.poll.worker_id);
            }
        }
        Some(waiter)
    }
}

struct Waiter {
    poll: Poll,
    answer: oneshot::Sender<Vec<Claimed>>,
    /// A claim that counts with it is on its way.
    claiming: bool,
    /// At least one claim counted with it.
    tried: bool,
    /// Whoever waits wants an answer after the next claim, whatever it brings.
    leaving: bool,
}

/// A poll's place among those that wait; dropping it leaves.
pub(crate) struct Place<'a> {
    polls: &'a Polls,
    ticket: u64,
    answer: oneshot::Receiver<Vec<Claimed>>,
    _alive: metrics::Alive,
}

impl Polls {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a poll wait. A worker may have several, for places that became free one after the other.
    pub(crate) fn enter(&self, poll: Poll) -> Result<Place<'_>, Refused> {
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.waiting();
        if waiting.polls.len() >= POLLS_WAITING_MAX {
            return Err(Refused::new(ErrorCode::TooManyRequests, "too many runners wait at this replica"));
        }
        if waiting.of_worker.get(&poll.worker_id).is_some_and(|count| *count >= POLLS_OF_WORKER_MAX) {
            return Err(Refused::new(ErrorCode::TooManyRequests, "too many polls of this worker wait"));
        }
        let ticket =
            waiting.insert(Waiter { poll, answer: sender, claiming: false, tried: false, leaving: false });
        drop(waiting);
        self.arrived.notify_one();
        Ok(Place { polls: self, ticket, answer, _alive: metrics::Alive::new(metrics::POLLS_WAITING) })
    }

    /// The ticket of the newest poll.
    fn newest(&self) -> u64 {
        self.waiting().last_ticket
    }

    /// Up to `CLAIM_POLLS_MAX` polls with tickets above `after` and up to `upto`, but for those that have no more than
    /// one of the `barren` sizes: their tickets and what they ask.
    fn batch(&self, after: u64, upto: u64, barren: &[Capacity]) -> Vec<(u64, Poll)> {
        let mut waiting = self.waiting();
        let due = waiting.polls.range_mut((Excluded(after), Included(upto))).filter(|(_, waiter)| {
            !waiter.answer.is_closed() && !barren.iter().any(|size| size.holds(&waiter.poll.free))
        });
        due.take(CLAIM_POLLS_MAX)
            .map(|(ticket, waiter)| {
                waiter.claiming = true;
                (*ticket, waiter.poll)
            })
            .collect()
    }

    /// For polls above `after` and up to `upto` that no claim counted with it is known that there is nothing.
    fn pass_over(&self, after: u64, upto: u64) {
        let mut waiting = self.waiting();
        let mut leaving = Vec::new();
        for (ticket, waiter) in waiting.polls.range_mut((Excluded(after), Included(upto))) {
            waiter.tried = true;
            if waiter.leaving {
                leaving.push(*ticket);
            }
        }
        for ticket in leaving {
            if let Some(waiter) = waiting.remove(ticket) {
                // One that went away wants to know nothing.
                let _ = waiter.answer.send(Vec::new());
            }
        }
    }

    /// Gives each poll of a claim what was claimed for its worker, as much as it has places for; answers what nobody
    /// waits for any more.
    fn deliver(&self, batch: &[(u64, Poll)], claimed: Vec<Claimed>) -> Vec<Claimed> {
        let mut by_worker: HashMap<WorkerId, Vec<Claimed>> = HashMap::new();
        for one in claimed {
            by_worker.entry(one.worker_id).or_default().push(one);
        }
        let mut waiting = self.waiting();
        let mut undelivered = Vec::new();
        for (ticket, poll) in batch {
            let Some(waiter) = waiting.polls.get_mut(ticket) else { continue };
            waiter.claiming = false;
            waiter.tried = true;
            if waiter.answer.is_closed() {
                waiting.remove(*ticket);
                continue;
            }
            let share = by_worker
                .get_mut(&poll.worker_id)
                .map_or_else(Vec::new, |rest| rest.drain(..rest.len().min(poll.slots as usize)).collect());
            if (waiter.leaving || !share.is_empty())
                && let Some(waiter) = waiting.remove(*ticket)
                && let Err(unwanted) = waiter.answer.send(share)
            {
                undelivered.extend(unwanted);
            }
        }
        undelivered.extend(by_worker.into_values().flatten());
        undelivered
    }
}

/// What the store is asked: one poll a worker, for all places that its polls offer. The newest says what is free.
fn asked(batch: &[(u64, Poll)]) -> Vec<Poll> {
    let mut asked: Vec<Poll> = Vec::with_capacity(batch.len());
    let mut places: HashMap<WorkerId, usize> = HashMap::new();
    for (_, poll) in batch {
        let place = *places.entry(poll.worker_id).or_insert(asked.len());
        match asked.get_mut(place) {
            Some(together) => {
                together.slots = together.slots.saturating_add(poll.slots);
                together.free = poll.free;
            }
            None => asked.push(*poll),
        }
    }
    asked
}

impl Place<'_> {
    /// What was claimed for this poll.
    pub(crate) async fn claimed(&mut self) -> Vec<Claimed> {
        // The sender is dropped only at the end of the process.
        (&mut self.answer).await.unwrap_or_default()
    }

    /// Leaves, with what a claim that is on its way may still bring. A poll that no claim has counted with yet waits
    /// for one: even a poll that may not wait must be able to find work.
    pub(crate) async fn leave(mut self) -> Vec<Claimed> {
        {
            let mut waiting = self.polls.waiting();
            if let Some(waiter) = waiting.polls.get_mut(&self.ticket) {
                if waiter.claiming || !waiter.tried {
                    waiter.leaving = true;
                } else {
                    waiting.remove(self.ticket);
                    return Vec::new();
                }
            }
        }
        self.claimed().await
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.polls.waiting();
        // One that is counted with stays, so that what it is given is handed back.
        if waiting.polls.get(&self.ticket).is_some_and(|waiter| !waiter.claiming) {
            waiting.remove(self.ticket);
        }
    }
}

/// The claimer. A new poll is looked at by itself: for the others nothing has changed, and with thousands of workers
/// there is always a new one.
pub(crate) async fn claim_for_all(app: App, end: CancellationToken) {
    let mut queue = app.nudges.listen(Nudge::Queue);
    let mut fallback = tokio::time::interval(POLL_FALLBACK);
    fallback.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut tried = 0;
    loop {
        let after = tokio::select! {
            () = end.cancelled() => return,
            () = app.polls.arrived.notified() => tried,
            () = queue.rung() => 0,
            _ = fallback.tick() => 0,
        };
        let newest = app.polls.newest();
        if claim_round(&app, after, newest).await {
            app.polls.pass_over(tried, newest);
            tried = newest;
        } else {
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        }
    }
}

/// Claims once for every poll above `after` and up to `upto` that waits, oldest first; `false` when the store failed.
async fn claim_round(app: &App, after: u64, upto: u64) -> bool {
    let mut ticket = after;
    let mut barren = Vec::new();
    loop {
        let batch = app.polls.batch(ticket, upto, &barren);
        let Some((last, _)) = batch.last() else { return true };
        ticket = *last;
        let begun = Instant::now();
        let claims = match app.store.nothing_queued().await {
            Ok(true) => Ok(None),
            Ok(false) => app.store.claim_or_barren(&asked(&batch)).await.map(Some),
            Err(error) => Err(error),
        };
        let (claims, ends) = match claims {
            Ok(Some(claims)) => (claims, None),
            Ok(None) => (Claims::default(), Some(true)),
            Err(error) => {
                tracing::warn!(error = %Causes(&error), "a claim failed");
                (Claims::default(), Some(false))
            }
        };
        ::metrics::histogram!(metrics::CLAIM_SECONDS).record(begun.elapsed().as_secs_f64());
        ::metrics::counter!(metrics::CLAIMED).increment(claims.claimed.len() as u64);
        for unwanted in app.polls.deliver(&batch, claims.claimed) {
            hand_back(app, unwanted).await;
        }
        if let Some(whole) = ends {
            return whole;
        }
        barren = sizes::largest(barren.into_iter().chain(claims.barren));
    }
}

/// Its poll was gone before the attempt came: back into the queue at once rather than after `UNNAMED_AFTER`.
pub(crate) async fn hand_back(app: &App, claimed: Claimed) {
    let auth = AttemptAuth {
        execution_id: claimed.attempt.execution_id,
        attempt: claimed.attempt.number,
        token: claimed.token,
        worker_id: claimed.worker_id,
    };
    if let Err(error) = app.store.hand_back(&auth).await {
        tracing::warn!(execution = %auth.execution_id, error = %Causes(&error), "an unwanted attempt stays until it is missed");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rgrid_core::id::{AccountId, ExecutionId};
    use rgrid_core::limits;
    use rgrid_core::submission::{Draft, Program, Submission, Wanted};
    use rgrid_store::attempts::{AttemptRow, AttemptState};
    use rgrid_store::directives::DirectiveRow;

    use super::*;

    fn worker(n: u8) -> WorkerId {
        WorkerId::new(0, [n; 10])
    }

    fn poll(n: u8) -> Poll {
        Poll {
            worker_id: worker(n),
            slots: 1,
            free: Capacity { cpu_millis: 1, memory_bytes: 1, disk_bytes: 1 },
        }
    }

    fn submission() -> Submission {
        let home: rgrid_core::path::AbsolutePath = "/home".parse().unwrap();
        let draft = Draft {
            name: None,
            program: Program::Module("this".to_owned()),
            args: Vec::new(),
            cwd: home.clone(),
            project_root: home,
            inputs: Vec::new(),
            runtime: rgrid_core::runtime::DEFAULT_RUNTIME,
            interpreter: None,
            interpreter_state: None,
            environment: BTreeMap::new(),
            stdin: false,
            wanted: Wanted::default(),
            timeout: limits::TIMEOUT,
            grace: limits::GRACE,
            retries: 0,
            retry_on: Vec::new(),
            network: true,
            output_roots: Vec::new(),
            outputs: Vec::new(),
            priority: 0,
            metadata: BTreeMap::new(),
            umask: rgrid_core::submission::UMASK,
            dependencies: None,
        };
        draft.parse().unwrap()
    }

    fn claimed(n: u8) -> Claimed {
        let execution_id = ExecutionId::new(0, [n; 10]);
        Claimed {
            worker_id: worker(n),
            account_id: AccountId::new(0, [0; 10]),
            attempt: AttemptRow {
                execution_id,
                number: 1,
                worker_id: worker(n),
                placed_by: "pool".to_owned(),
                claimed_at: rgrid_core::Timestamp::UNIX_EPOCH,
                started_at: None,
                ended_at: None,
                state: AttemptState::Running,
                outcome: None,
                image: None,
            },
            token: "token".to_owned(),
            submission: submission(),
            directive: DirectiveRow {
                execution_id,
                attempt: 1,
                version: 1,
                cancel: None,
                timeout: limits::TIMEOUT,
                followed: false,
            },
        }
    }

    #[tokio::test]
    async fn an_attempt_whose_poll_is_gone_comes_back_and_nothing_of_the_poll_stays() {
        let polls = Polls::default();
        let (gone, mut stays) = (polls.enter(poll(1)).unwrap(), polls.enter(poll(2)).unwrap());
        let batch = polls.batch(0, u64::MAX, &[]);
        drop(gone);
        let undelivered = polls.deliver(&batch, vec![claimed(1), claimed(2)]);
        assert_eq!(undelivered, [claimed(1)]);
        assert_eq!(stays.claimed().await, [claimed(2)]);
        drop(stays);
        assert!(polls.waiting().polls.is_empty() && polls.waiting().of_worker.is_empty());
    }

    #[tokio::test]
    async fn a_poll_that_leaves_during_a_claim_takes_what_the_claim_brings() {
        let polls = Polls::default();
        let place = polls.enter(poll(1)).unwrap();
        let batch = polls.batch(0, u64::MAX, &[]);
        let leaving = place.leave();
        let delivering = async {
            tokio::task::yield_now().await;
            polls.deliver(&batch, vec![claimed(1)])
        };
        let (taken, undelivered) = tokio::join!(leaving, delivering);
        assert_eq!((taken.len(), undelivered.len()), (1, 0));
    }

    #[tokio::test]
    async fn polls_of_one_worker_are_asked_as_one_and_share_what_comes() {
        let polls = Polls::default();
        let places = [1, 2, 1].map(|n| polls.enter(poll(n)).unwrap());
        let batch = polls.batch(0, u64::MAX, &[]);
        let asked: Vec<_> = asked(&batch).iter().map(|poll| (poll.worker_id, poll.slots)).collect();
        assert_eq!(asked, [(worker(1), 2), (worker(2), 1)]);
        assert_eq!(polls.deliver(&batch, vec![claimed(1), claimed(1), claimed(1)]).len(), 1);
        let [mut first, second, mut third] = places;
        assert_eq!((first.claimed().await.len(), third.claimed().await.len()), (1, 1));
        drop(second);
        assert!(polls.waiting().polls.is_empty());
    }

    #[tokio::test]
    async fn polls_of_a_size_for_which_there_is_nothing_are_passed_over() {
        let polls = Polls::default();
        let (small, mut large) = (poll(1), poll(2));
        large.free.memory_bytes = 2;
        let places = [small, large].map(|poll| polls.enter(poll).unwrap());
        let batch = polls.batch(0, polls.newest(), &[small.free]);
        assert_eq!(batch.iter().map(|(_, poll)| poll.worker_id).collect::<Vec<_>>(), [large.worker_id]);
        let late = polls.enter(poll(3)).unwrap();
        assert!(polls.deliver(&batch, Vec::new()).is_empty());
        polls.pass_over(0, 2);
        let [small, large] = places;
        // They need not wait for another claim.
        assert_eq!((small.leave().await, large.leave().await), (Vec::new(), Vec::new()));
        assert!(!polls.waiting().polls[&late.ticket].tried, "it came after the look at the queue");
        polls.pass_over(3, 3);
        assert!(polls.batch(3, 3, &[]).is_empty(), "a round with nothing new");
    }

    #[tokio::test]
    async fn polls_are_served_oldest_first_and_none_twice_in_a_round() {
        let polls = Polls::default();
        let _places: Vec<_> = (0..=u8::MAX).map(|n| polls.enter(poll(n)).unwrap()).collect();
        let mut served = Vec::new();
        let mut ticket = 0;
        loop {
            let batch = polls.batch(ticket, u64::MAX, &[]);
            assert!(batch.len() <= CLAIM_POLLS_MAX);
            let Some((last, _)) = batch.last() else { break };
            ticket = *last;
            served.extend(batch.iter().map(|(_, poll)| poll.worker_id));
            assert!(polls.deliver(&batch, Vec::new()).is_empty());
        }
        assert_eq!(served, (0..=u8::MAX).map(worker).collect::<Vec<_>>());
    }
}
