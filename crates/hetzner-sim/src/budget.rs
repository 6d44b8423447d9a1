//! The rate limit: a bucket of calls, refilled at a steady rate, and the headers that tell of it.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// A token bucket; counted in thousandths of a call, so that it fills evenly.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Budget {
    /// Calls that fit in, which is also what the headers call the limit per hour.
    pub(crate) limit: u64,
    /// Calls that come back each second.
    refill: u64,
    level: u64,
    at: DateTime<Utc>,
}

impl Budget {
    pub(crate) fn full(limit: u64, refill: u64, now: DateTime<Utc>) -> Self {
        Self { limit, refill, level: limit * 1000, at: now }
    }

    fn refill(&mut self, now: DateTime<Utc>) {
        let passed = u64::try_from((now - self.at).num_milliseconds()).unwrap_or(0);
        self.level = self.level.saturating_add(passed.saturating_mul(self.refill)).min(self.limit * 1000);
        self.at = self.at.max(now);
    }

    /// Takes one call; false when there is none left.
    pub(crate) fn spend(&mut self, now: DateTime<Utc>) -> bool {
        self.refill(now);
        let enough = self.level >= 1000;
        if enough {
            self.level -= 1000;
        }
        enough
    }

    /// Takes away all but `left` calls.
    pub(crate) fn drain(&mut self, left: u64, now: DateTime<Utc>) {
        self.refill(now);
        self.level = self.level.min(left * 1000);
    }

    pub(crate) fn remaining(&self) -> u64 {
        self.level / 1000
    }

    /// Limit, remaining calls, and the UNIX second at which the bucket is full again.
    pub(crate) fn headers(&self) -> [(&'static str, String); 3] {
        let missing = self.limit * 1000 - self.level;
        let millis = i64::try_from(missing.div_ceil(self.refill.max(1))).unwrap_or(i64::MAX / 2);
        let full = self.at + TimeDelta::milliseconds(millis + 999);
        [
            ("ratelimit-limit", self.limit.to_string()),
            ("ratelimit-remaining", self.remaining().to_string()),
            ("ratelimit-reset", full.timestamp().to_string()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drained_budget_gives_one_call_a_second() {
        let start = DateTime::from_timestamp(1_000_000, 0).unwrap();
        let mut budget = Budget::full(3600, 1, start);
        assert!(budget.spend(start) && budget.spend(start));
        let told: Vec<String> = budget.headers().into_iter().map(|(_, value)| value).collect();
        assert_eq!(told, ["3600", "3598", "1000002"]);
        budget.drain(0, start);
        assert!(!budget.spend(start + TimeDelta::milliseconds(900)));
        assert!(budget.spend(start + TimeDelta::milliseconds(1000)));
        assert!(!budget.spend(start + TimeDelta::milliseconds(1000)));
        assert_eq!(budget.headers()[2].1, (1_000_001 + 3600).to_string());
        // After a long rest it holds no more than fits in.
        assert!(budget.spend(start + TimeDelta::days(1)));
        assert_eq!(budget.remaining(), 3599);
    }
}
