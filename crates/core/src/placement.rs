//! Which waiting executions go to which waiting workers: fairness, limits and fit. Accounts with the fewest running
//! executions go first, then priority, then age.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Timestamp;
use crate::id::{AccountId, BatchId, ExecutionId, WorkerId};
use crate::limits;
use crate::worker::Capacity;

/// A worker that asks for work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Which.
    pub worker: WorkerId,
    /// Attempts it can start now.
    pub slots: u32,
    /// What it has left for them.
    pub free: Capacity,
    /// What it has when it runs nothing.
    pub whole: Capacity,
    /// It can run container images.
    pub docker: bool,
    /// The hour that is paid of the server behind it; `None` where nobody bills.
    pub paid: Option<Paid>,
}

/// The paid hour of a server, and what may hold it beyond its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paid {
    /// What is left of it.
    pub left: Duration,
    /// How long the oldest of its attempts has run; `None` when it runs nothing.
    pub held_for: Option<Duration>,
}

/// An execution that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub execution: ExecutionId,
    /// Its owner.
    pub account: AccountId,
    /// Its batch.
    pub batch: Option<BatchId>,
    /// Higher goes first.
    pub priority: i16,
    /// When it was accepted.
    pub since: Timestamp,
    /// What it asks for; 0 means the worker's share.
    pub wanted: Capacity,
    /// It runs in a container image.
    pub docker: bool,
}

/// What runs already, and what may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Load {
    /// Running executions by account; absent means none.
    pub running: BTreeMap<AccountId, u32>,
    /// Executions that may still start by batch; absent means any number.
    pub batch_room: BTreeMap<BatchId, u32>,
}

/// Hands out candidates, each at most once. A candidate that has waited for `limits::RESERVE_AFTER` as its account's
/// first and fits no offer now reserves the first one that could hold it when it runs nothing: that worker is given
/// nothing, so that it empties.
pub fn place(
    offers: &[Offer],
    candidates: &[Candidate],
    load: &Load,
    now: Timestamp,
) -> Vec<(ExecutionId, WorkerId)> {
    let mut offers = offers.to_vec();
    let mut load = load.clone();
    let mut queues = BTreeMap::<AccountId, Vec<&Candidate>>::new();
    for candidate in candidates {
        queues.entry(candidate.account).or_default().push(candidate);
    }
    for queue in queues.values_mut() {
        // The last one goes first.
        queue.sort_by_key(|c| std::cmp::Reverse((-i32::from(c.priority), c.since, c.execution)));
        if let Some(first) = queue.iter().rev().find(|c| has_room(&load, c)) {
            reserve(&mut offers, first, now);
        }
    }
    let mut placed = Vec::new();
    while let Some(account) = next_account(&queues, &load) {
        let queue = queues.get_mut(&account).expect("the account was just found among the queues");
        let Some(candidate) = queue.pop() else {
            queues.remove(&account);
            continue;
        };
        if !has_room(&load, candidate) {
            continue;
        }
        let Some(offer) = best(&mut offers, candidate) else { continue };
        take(offer, &candidate.wanted);
        placed.push((candidate.execution, offer.worker));
        *load.running.entry(account).or_default() += 1;
        if let Some(room) = candidate.batch.and_then(|batch| load.batch_room.get_mut(&batch)) {
            *room -= 1;
        }
        if offers.iter().all(|offer| offer.slots == 0) {
            break;
        }
    }
    placed
}

fn has_room(load: &Load, candidate: &Candidate) -> bool {
    candidate.batch.is_none_or(|batch| load.batch_room.get(&batch) != Some(&0))
}

/// The account with the fewest running executions; among equals the one whose first goes first.
fn next_account(queues: &BTreeMap<AccountId, Vec<&Candidate>>, load: &Load) -> Option<AccountId> {
    let rank = |account: &AccountId, queue: &[&Candidate]| {
        let running = load.running.get(account).copied().unwrap_or(0);
        (running, queue.last().map(|first| (-i32::from(first.priority), first.since, first.execution)))
    };
    queues.iter().min_by_key(|(account, queue)| rank(account, queue)).map(|(account, _)| *account)
}

/// Whether the worker has the sandbox that it needs.
fn can(offer: &Offer, candidate: &Candidate) -> bool {
    offer.docker || !candidate.docker
}

fn reserve(offers: &mut [Offer], first: &Candidate, now: Timestamp) {
    let waited = (now - first.since).to_std().unwrap_or_default();
    let able = |offer: &Offer| offer.slots > 0 && can(offer, first);
    let fits_now = offers.iter().any(|offer| able(offer) && offer.free.holds(&first.wanted));
    if waited >= limits::RESERVE_AFTER
        && !fits_now
        && let Some(offer) = offers.iter_mut().find(|offer| able(offer) && offer.whole.holds(&first.wanted))
    {
        offer.slots = 0;
    }
}

/// The worker that holds it and is the least likely to be paid for another hour only because of it; among equals the
/// fullest, so that empty ones stay empty: they can take what is large, or be given back.
fn best<'a>(offers: &'a mut [Offer], candidate: &Candidate) -> Option<&'a mut Offer> {
    let holds =
        |offer: &&mut Offer| offer.slots > 0 && can(offer, candidate) && offer.free.holds(&candidate.wanted);
    let rank = |offer: &Offer| (offer.paid.map_or(0, Paid::another_hour), offer.free.cpu_millis, offer.slots);
    offers.iter_mut().filter(holds).min_by_key(|offer| rank(offer))
}

/// Of attempts whose length nobody knows: half of those that have run for some time run for as long again and this.
const TYPICAL_MS: u64 = 300_000;
/// Millionths.
const CERTAIN: u64 = 1_000_000;

impl Paid {
    /// How likely it is, in millionths, that an attempt started now is the reason to pay for another hour: that it
    /// outlasts what is paid, and nothing that runs there does.
    fn another_hour(self) -> u64 {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX / CERTAIN).min(1 << 40);
        let left = ms(self.left);
        let outlasts = |age: u64| CERTAIN * (TYPICAL_MS + age) / (TYPICAL_MS + age + left);
        let held = self.held_for.map_or(0, |age| outlasts(ms(age)));
        outlasts(0) * (CERTAIN - held) / CERTAIN
    }
}

fn take(offer: &mut Offer, wanted: &Capacity) {
    let share = offer.free.share(offer.slots);
    let part = |wanted: u64, share: u64| if wanted == 0 { share } else { wanted };
    let free = offer.free;
    let cpu_millis = if wanted.cpu_millis == 0 { share.cpu_millis } else { wanted.cpu_millis };
    offer.free = Capacity {
        cpu_millis: free.cpu_millis.saturating_sub(cpu_millis),
        memory_bytes: free.memory_bytes.saturating_sub(part(wanted.memory_bytes, share.memory_bytes)),
        disk_bytes: free.disk_bytes.saturating_sub(part(wanted.disk_bytes, share.disk_bytes)),
    };
    offer.slots -= 1;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(seconds, 0).unwrap()
    }

    fn offer(n: u8, slots: u32, cpus: u32) -> Offer {
        let free = Capacity { cpu_millis: cpus * 1000, memory_bytes: u64::from(cpus) * GIB, disk_bytes: GIB };
        Offer { worker: WorkerId::new(0, [n; 10]), slots, free, whole: free, docker: false, paid: None }
    }

    fn candidate(account: u8, n: u8, cpus: u32) -> Candidate {
        Candidate {
            execution: ExecutionId::new(0, [n; 10]),
            account: AccountId::new(0, [account; 10]),
            batch: None,
            priority: 0,
            since: at(i64::from(n)),
            wanted: Capacity { cpu_millis: cpus * 1000, memory_bytes: 0, disk_bytes: 0 },
            docker: false,
        }
    }

    fn numbers(placed: &[(ExecutionId, WorkerId)], candidates: &[Candidate]) -> Vec<usize> {
        placed.iter().map(|(id, _)| candidates.iter().position(|c| c.execution == *id).unwrap()).collect()
    }

    #[test]
    fn the_account_with_the_fewest_running_goes_first() {
        let candidates = [candidate(1, 1, 0), candidate(1, 2, 0), candidate(1, 3, 0), candidate(2, 4, 0)];
        let load = Load { running: [(candidates[3].account, 1)].into(), ..Load::default() };
        let placed = place(&[offer(1, 3, 4)], &candidates, &load, at(10));
        assert_eq!(numbers(&placed, &candidates), [0, 1, 3]);
    }

    #[test]
    fn an_image_goes_only_where_docker_is_and_reserves_no_other_worker() {
        let image = Candidate { docker: true, ..candidate(1, 1, 1) };
        let after_long = at(1_000_000);
        let plain = offer(1, 1, 4);
        let placed = place(&[plain], &[image, candidate(1, 2, 1)], &Load::default(), after_long);
        assert_eq!(numbers(&placed, &[image, candidate(1, 2, 1)]), [1]);
        let docker = Offer { docker: true, ..offer(2, 1, 4) };
        let placed = place(&[plain, docker], &[image], &Load::default(), after_long);
        assert_eq!(placed, [(image.execution, docker.worker)]);
    }

    #[test]
    fn priority_comes_before_age() {
        let mut candidates = [candidate(1, 1, 0), candidate(1, 2, 0)];
        candidates[1].priority = 5;
        let placed = place(&[offer(1, 1, 4)], &candidates, &Load::default(), at(10));
        assert_eq!(numbers(&placed, &candidates), [1]);
    }

    #[test]
    fn a_batch_at_its_limit_lets_others_pass() {
        let mut candidates = [candidate(1, 1, 0), candidate(1, 2, 0), candidate(1, 3, 0)];
        let batch = BatchId::new(0, [0; 10]);
        candidates[0].batch = Some(batch);
        candidates[1].batch = Some(batch);
        let load = Load { batch_room: [(batch, 1)].into(), ..Load::default() };
        let placed = place(&[offer(1, 9, 4)], &candidates, &load, at(10));
        assert_eq!(numbers(&placed, &candidates), [0, 2]);
    }

    #[test]
    fn the_fullest_worker_that_holds_it_gets_it() {
        let offers = [offer(1, 4, 8), offer(2, 4, 2), offer(3, 4, 1)];
        let placed = place(&offers, &[candidate(1, 1, 2)], &Load::default(), at(10));
        assert_eq!(placed[0].1, offers[1].worker);
    }

    #[test]
    fn an_attempt_goes_where_it_is_least_likely_to_cost_another_hour() {
        let paid = |n, left_minutes: u64, held_minutes: Option<u64>| {
            let minutes = |count: u64| Duration::from_secs(60 * count);
            let paid = Paid { left: minutes(left_minutes), held_for: held_minutes.map(minutes) };
            let slots = if held_minutes.is_some() { 1 } else { 2 };
            Offer { paid: Some(paid), ..offer(n, slots, slots) }
        };
        let chosen = |offers: &[Offer]| {
            let placed = place(offers, &[candidate(1, 1, 1)], &Load::default(), at(10));
            offers.iter().position(|offer| offer.worker == placed[0].1).unwrap()
        };
        // Beside a long one, which keeps the server anyway, rather than on an empty one.
        assert_eq!(chosen(&[paid(1, 50, None), paid(2, 50, Some(40))]), 1);
        // On an empty one with much time left, rather than beside a short one whose hour is nearly over.
        assert_eq!(chosen(&[paid(1, 55, None), paid(2, 5, Some(1))]), 0);
        // Of two empty ones, on that with more time left.
        assert_eq!(chosen(&[paid(1, 20, None), paid(2, 30, None)]), 1);
    }

    #[test]
    fn who_waited_long_as_the_first_reserves_a_worker() {
        let mut busy = offer(1, 1, 8);
        busy.free.cpu_millis = 1000;
        let candidates = [candidate(1, 1, 8), candidate(2, 2, 1)];
        let early = place(&[busy], &candidates, &Load::default(), at(10));
        assert_eq!(numbers(&early, &candidates), [1]);
        assert_eq!(place(&[busy], &candidates, &Load::default(), at(1000)), []);
    }

    proptest! {
        #[test]
        fn nothing_is_given_twice_or_beyond_what_is_there(
            workers in proptest::collection::vec((0u32..4, 1u32..8), 1..6),
            waiting in proptest::collection::vec((0u8..4, 0u32..6, -2i16..3, 0u8..3), 0..40),
        ) {
            let offers: Vec<Offer> =
                workers.iter().enumerate().map(|(n, (slots, cpus))| offer(n as u8, *slots, *cpus)).collect();
            let batch = |n: u8| BatchId::new(1, [n; 10]);
            let candidates: Vec<Candidate> = waiting
                .iter()
                .enumerate()
                .map(|(n, (account, cpus, priority, batch_number))| Candidate {
                    priority: *priority,
                    batch: (*batch_number > 0).then(|| batch(*batch_number)),
                    ..candidate(*account, n as u8, *cpus)
                })
                .collect();
            let load = Load { batch_room: [(batch(1), 2)].into(), ..Load::default() };
            let placed = place(&offers, &candidates, &load, at(100));
            let ids: std::collections::BTreeSet<_> = placed.iter().map(|(id, _)| *id).collect();
            prop_assert_eq!(ids.len(), placed.len());
            let of = |id: &ExecutionId| candidates.iter().find(|c| c.execution == *id).unwrap();
            prop_assert!(placed.iter().filter(|(id, _)| of(id).batch == Some(batch(1))).count() <= 2);
            for offer in &offers {
                let got: Vec<_> = placed.iter().filter(|(_, w)| *w == offer.worker).map(|(id, _)| of(id)).collect();
                prop_assert!(got.len() <= offer.slots as usize);
                let cpus: u32 = got.iter().map(|c| c.wanted.cpu_millis).sum();
                prop_assert!(cpus <= offer.free.cpu_millis);
            }
        }
    }
}
