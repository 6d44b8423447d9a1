//! How soon running work will make room: durations of attempts that ended tell how long those that run will go on.
//! Only of the same kind: attempts of one kind are alike, and a kind that nobody knows yet may run for days. Where too
//! little is known nothing is promised.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use crate::Timestamp;
use crate::fleet::since;
use crate::worker::Capacity;

/// What is alike in its durations: executions of one batch, or of one script of one account. Opaque here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u64);

/// An attempt that runs on a worker that takes work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// Its kind.
    pub kind: Kind,
    /// When it started.
    pub started_at: Timestamp,
    /// What it asked for: the room that its end makes.
    pub held: Capacity,
}

/// Buckets a doubling of the duration is divided into.
const STEPS: u32 = 4;
/// Buckets in all: from a second to some 12 days.
const BUCKETS: usize = 80;
/// Of a kind so many ends are remembered; each further one takes the place of an average one.
const ENDS_MAX: f64 = 64.0;
/// Kinds that are remembered; the one that was idle longest makes room.
const KINDS_MAX: usize = 4096;
/// A kind is believed by itself after so many ends.
const ENDS_BELIEVED: f64 = 4.0;

/// Durations of attempts that ended, as a histogram of weights; old ones fade.
#[derive(Debug, Clone, PartialEq)]
struct Durations {
    weights: Box<[f32; BUCKETS]>,
    total: f64,
    used_at: Timestamp,
}

/// What is expected of one place within a horizon.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Expected {
    /// Starts of further attempts on it.
    pub starts: f64,
    /// The variance of that.
    pub variance: f64,
}

impl Durations {
    fn new(now: Timestamp) -> Self {
        Self { weights: Box::new([0.0; BUCKETS]), total: 0.0, used_at: now }
    }

    fn record(&mut self, duration: Duration, now: Timestamp) {
        if self.total >= ENDS_MAX {
            let kept = ((ENDS_MAX - 1.0) / self.total) as f32;
            self.weights.iter_mut().for_each(|weight| *weight *= kept);
            self.total = ENDS_MAX - 1.0;
        }
        self.weights[bucket(duration.as_secs_f64())] += 1.0;
        self.total += 1.0;
        self.used_at = now;
    }

    /// The probability that one that has run for `age` ends within `horizon`, and the mean time until then.
    fn ends_within(&self, age: f64, horizon: f64) -> (f64, f64) {
        let (mut longer, mut ending, mut time) = (0.0f64, 0.0f64, 0.0f64);
        for (at, weight) in self.weights.iter().enumerate().skip(bucket(age)) {
            let weight = f64::from(*weight);
            if weight == 0.0 {
                continue;
            }
            longer += weight;
            // The upper end of the bucket: what is promised is rather late than early.
            let end = upper(at);
            if end > age && end <= age + horizon {
                ending += weight;
                time += weight * (end - age);
            }
        }
        if longer <= 0.0 || ending <= 0.0 { (0.0, horizon) } else { (ending / longer, time / ending) }
    }

    /// Attempts that start one after the other on a place that is free for `time`.
    fn renewals(&self, time: f64) -> f64 {
        if time <= 0.0 || self.total <= 0.0 {
            return 0.0;
        }
        let (mut ended, mut taken) = (0.0f64, 0.0f64);
        for (at, weight) in self.weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
            let end = upper(at);
            if end <= time {
                ended += f64::from(*weight);
            }
            taken += f64::from(*weight) * end.min(time);
        }
        if taken <= 0.0 { 0.0 } else { time * ended / taken }
    }
}

/// The bucket of a duration in seconds.
fn bucket(seconds: f64) -> usize {
    let step = (seconds.max(1.0).log2() * f64::from(STEPS)).ceil();
    (step as usize).min(BUCKETS - 1)
}

/// The longest duration of a bucket, in seconds.
fn upper(bucket: usize) -> f64 {
    static UPPER: LazyLock<[f64; BUCKETS]> =
        LazyLock::new(|| std::array::from_fn(|bucket| (bucket as f64 / f64::from(STEPS)).exp2()));
    UPPER[bucket]
}

/// Durations by kind.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    kinds: BTreeMap<Kind, Durations>,
}

impl History {
    /// Remembers an attempt that ended by itself after `duration`.
    pub fn record(&mut self, kind: Kind, duration: Duration, now: Timestamp) {
        if !self.kinds.contains_key(&kind)
            && self.kinds.len() >= KINDS_MAX
            && let Some(oldest) = self.kinds.iter().min_by_key(|(_, d)| d.used_at).map(|(kind, _)| *kind)
        {
            self.kinds.remove(&oldest);
        }
        self.kinds.entry(kind).or_insert_with(|| Durations::new(now)).record(duration, now);
    }

    fn of(&self, kind: Kind) -> Option<&Durations> {
        self.kinds.get(&kind).filter(|own| own.total >= ENDS_BELIEVED)
    }

    /// Starts of attempts of the `waiting` kind on the place of one that runs, within `horizon` of `now`.
    pub fn after(&self, running: &Running, waiting: Kind, horizon: Duration, now: Timestamp) -> Expected {
        let Some(known) = self.of(running.kind) else { return Expected::default() };
        let age = since(now, running.started_at).as_secs_f64();
        let horizon = horizon.as_secs_f64();
        let (chance, mean) = known.ends_within(age, horizon);
        if chance <= 0.0 {
            return Expected::default();
        }
        let more = self.of(waiting).map_or(0.0, |durations| durations.renewals(horizon - mean));
        let starts = 1.0 + more;
        Expected {
            starts: chance * starts,
            variance: chance * (1.0 - chance) * starts * starts + chance * more,
        }
    }

    /// Further starts on a place that is given to one of the `waiting` kind in `free_after`, within `horizon` of now.
    pub fn again(&self, waiting: Kind, free_after: Duration, horizon: Duration) -> Expected {
        let time = horizon.saturating_sub(free_after).as_secs_f64();
        let more = self.of(waiting).map_or(0.0, |durations| durations.renewals(time));
        Expected { starts: more, variance: more }
    }
}
