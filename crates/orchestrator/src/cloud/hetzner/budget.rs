//! The calls that are left: a bucket that the provider refills each second and that all who hold a token of the project
//! share. What matters most is called last to wait: deletes may use all of it, everything else leaves a reserve.

use std::time::Duration;

use tokio::time::Instant;

use crate::guards;

/// Which calls go first when few are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Priority {
    /// Ends what costs money.
    Delete,
    /// Begins what is waited for.
    Create,
    /// Shows what there is.
    List,
    /// Shows what could be.
    Catalog,
}

impl Priority {
    /// Percent of the bucket that a call of this kind leaves to those before it.
    fn reserve_percent(self) -> u64 {
        match self {
            Self::Delete => 0,
            Self::Create => 20,
            Self::List => 25,
            Self::Catalog => 30,
        }
    }
}

/// Calls an hour, until the provider says otherwise.
const LIMIT: u64 = 3600;
/// A call that may not be made by our own count is tried this often all the same: the answer tells the true one.
pub const PROBE: Duration = Duration::from_secs(60);

/// A call that was counted, by its number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call(u64);

/// What is known of the bucket.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    limit: u64,
    remaining: u64,
    at: Instant,
    /// Calls on their way, which an answer that was given before they arrived knows nothing of.
    unanswered: u64,
    /// Calls made so far, and how many they were when an answer was last read: who was asked before that may be answered
    /// after it, with an older count.
    calls: u64,
    calls_when_learnt: u64,
    /// An answer has said what is left.
    known: bool,
    probe: Duration,
}

impl Budget {
    /// A full one: nothing is known yet.
    pub(super) fn full(now: Instant, probe: Duration) -> Self {
        let (limit, remaining) = (LIMIT, LIMIT);
        Self { limit, remaining, at: now, unanswered: 0, calls: 0, calls_when_learnt: 0, known: false, probe }
    }

    /// Whether an answer has said what is left. Until then it may be nothing: others may have used it up, and this process
    /// before it was started anew.
    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    /// What the answer to a call said, after it was [`Self::answered`].
    pub(super) fn learn(&mut self, call: Call, limit: Option<u64>, remaining: Option<u64>, now: Instant) {
        self.limit = limit.filter(|limit| *limit > 0).unwrap_or(self.limit);
        if let Some(remaining) = remaining {
            self.known = true;
            let left = remaining.saturating_sub(self.unanswered);
            let overtaken = call.0 <= self.calls_when_learnt;
            let known = if overtaken { left.min(self.expected(now)) } else { left };
            (self.remaining, self.at, self.calls_when_learnt) = (known, now, self.calls);
        }
    }

    /// A call that was taken has its answer, or will have none.
    pub(super) fn answered(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
    }

    /// Calls that should be there: what was last said, and what has come back since.
    fn expected(&self, now: Instant) -> u64 {
        let back = now.saturating_duration_since(self.at).as_secs() * self.limit / 3600;
        (self.remaining + back).min(self.limit)
    }

    /// A call that may be made now, and is counted; `None` when it may not.
    pub(super) fn take(&mut self, priority: Priority, now: Instant) -> Option<Call> {
        let expected = self.expected(now);
        let percent = if guards::holds(&guards::CALLS_RESERVED) { priority.reserve_percent() } else { 0 };
        let reserve = self.limit * percent / 100;
        let probe = now.saturating_duration_since(self.at) >= self.probe;
        if expected <= reserve && !(expected > 0 && probe) {
            return None;
        }
        if expected != self.remaining {
            (self.remaining, self.at) = (expected, now);
        }
        self.remaining = self.remaining.saturating_sub(1);
        self.unanswered += 1;
        self.calls += 1;
        Some(Call(self.calls))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(budget: &Budget, now: Instant) -> Vec<bool> {
        [Priority::Delete, Priority::Create, Priority::List, Priority::Catalog]
            .map(|priority| budget.clone().take(priority, now).is_some())
            .to_vec()
    }

    /// An answer to a call that nothing overtook.
    fn told(budget: &mut Budget, limit: Option<u64>, remaining: u64, now: Instant) {
        budget.learn(Call(u64::MAX), limit, Some(remaining), now);
    }

    #[test]
    fn deletes_keep_a_reserve_that_nothing_else_touches() {
        let now = Instant::now();
        let mut budget = Budget::full(now, PROBE);
        assert_eq!(may(&budget, now), [true; 4]);
        told(&mut budget, Some(3600), 1000, now);
        assert_eq!(may(&budget, now), [true, true, true, false]);
        told(&mut budget, Some(3600), 800, now);
        assert_eq!(may(&budget, now), [true, true, false, false]);
        told(&mut budget, None, 700, now);
        assert_eq!(may(&budget, now), [true, false, false, false]);
        told(&mut budget, None, 0, now);
        assert_eq!(may(&budget, now), [false; 4]);
    }

    #[test]
    fn an_answer_does_not_give_back_the_calls_that_are_still_on_their_way() {
        let now = Instant::now();
        let mut budget = Budget::full(now, PROBE);
        assert!(budget.take(Priority::List, now).is_some() && budget.take(Priority::Delete, now).is_some());
        budget.answered();
        told(&mut budget, None, 1, now);
        assert_eq!(may(&budget, now), [false; 4], "the one that is left is that of the delete on its way");
        budget.answered();
        told(&mut budget, None, 1, now);
        assert_eq!(may(&budget, now), [true, false, false, false]);
    }

    #[test]
    fn a_second_brings_a_call_back_and_a_minute_a_look_at_the_true_count() {
        let now = Instant::now();
        let mut budget = Budget::full(now, PROBE);
        told(&mut budget, None, 0, now);
        assert_eq!(may(&budget, now + Duration::from_secs(2)), [true, false, false, false]);
        assert_eq!(may(&budget, now + PROBE), [true; 4]);
        told(&mut budget, Some(7200), 0, now);
        let after = now + Duration::from_secs(800);
        assert!(
            budget.clone().take(Priority::Create, after).is_some(),
            "7,200 an hour come back twice as fast"
        );
    }

    #[test]
    fn what_was_called_is_counted_before_an_answer_says_so() {
        let now = Instant::now();
        let mut budget = Budget::full(now, PROBE);
        told(&mut budget, Some(3600), 722, now);
        let creates = (0..10).filter(|_| budget.take(Priority::Create, now).is_some()).count();
        assert_eq!(creates, 2);
        assert!(budget.take(Priority::Delete, now).is_some());
    }

    #[test]
    fn an_answer_that_another_has_overtaken_does_not_give_its_call_back() {
        let now = Instant::now();
        let mut budget = Budget::full(now, PROBE);
        told(&mut budget, None, 2, now);
        let [first, second] = [(); 2].map(|()| budget.take(Priority::Delete, now).unwrap());
        budget.answered();
        budget.answered();
        budget.learn(second, None, Some(0), now);
        budget.learn(first, None, Some(1), now);
        assert_eq!(may(&budget, now), [false; 4]);
    }
}
