//! How many requests a key may send: a bucket of ten seconds' worth that refills steadily.
//!
//! Each replica counts for itself; the limit protects a replica from one caller, it is not a price list.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rgrid_core::id::KeyId;
use rgrid_core::limits::KEY_REQUESTS_PER_SECOND;

/// The limit is an average over this long.
const WINDOW: Duration = Duration::from_secs(10);
/// A worker's credential speaks for all attempts of a machine, so it may ask for this many times as much.
const WORKER_FACTOR: u32 = 20;
/// Full buckets are forgotten when more than this many are kept.
const BUCKETS_KEPT: usize = 10_000;

/// Whose limit applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A person's key.
    Person,
    /// A worker's credential.
    Worker,
}

impl Caller {
    pub(crate) fn requests_per_second(self) -> u32 {
        match self {
            Self::Person => KEY_REQUESTS_PER_SECOND,
            Self::Worker => KEY_REQUESTS_PER_SECOND * WORKER_FACTOR,
        }
    }

    fn burst(self) -> f64 {
        f64::from(self.requests_per_second()) * WINDOW.as_secs_f64()
    }
}

struct Bucket {
    caller: Caller,
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    fn refill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens =
            (self.tokens + seconds * f64::from(self.caller.requests_per_second())).min(self.caller.burst());
        self.filled_at = now;
    }
}

/// The buckets of one replica.
#[derive(Default)]
pub(crate) struct Rates(Mutex<HashMap<KeyId, Bucket>>);

impl Rates {
    /// Takes one request of `key`; `false` when it has none left.
    pub(crate) fn take(&self, key: KeyId, caller: Caller, now: Instant) -> bool {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() > BUCKETS_KEPT {
            buckets.retain(|_, bucket| {
                bucket.refill(now);
                bucket.tokens < bucket.caller.burst()
            });
        }
        let bucket =
            buckets.entry(key).or_insert_with(|| Bucket { caller, tokens: caller.burst(), filled_at: now });
        bucket.refill(now);
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_ten_seconds_worth_at_once_and_then_its_rate() {
        let rates = Rates::default();
        let key = KeyId::new(0, [1; 10]);
        let start = Instant::now();
        let taken = |at: Instant| (0..100_000).take_while(|_| rates.take(key, Caller::Person, at)).count();
        assert_eq!(taken(start), 5000);
        assert_eq!(taken(start), 0);
        assert_eq!(taken(start + Duration::from_secs(1)), 500);
        assert_eq!(taken(start + Duration::from_secs(3600)), 5000);
        assert!(rates.take(KeyId::new(0, [2; 10]), Caller::Person, start), "another key has its own");
    }
}
