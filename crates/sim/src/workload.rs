//! Synthetic traces, one for each seed: what different users of a grid do. Written before the policy was tuned, and
//! not to be changed to suit it.
//!
//! The seed's remainder by four tells the shape of the arrivals: steady (Poisson), bursts (batches of one script), the
//! rhythm of working days, and heavy tails (few very long jobs among many short ones, arrivals in clusters). All
//! else (rates, lengths, users, programs) is drawn from the seed.

use crate::random::Random;
use crate::trace::Job;

/// Seconds of an hour.
const HOUR: f64 = 3600.0;
/// Seconds of a day.
const DAY: f64 = 24.0 * HOUR;
/// Jobs of one synthetic trace.
const JOBS_MAX: usize = 20_000;
/// The longest job.
const RUNS_MAX: f64 = 2.0 * DAY;

/// The shape of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Independent arrivals at one rate.
    Poisson,
    /// Batches of one script at once.
    Bursts,
    /// Many by day, few by night and on the week-end.
    DailyRhythm,
    /// Few that run for hours among many that run for seconds; arrivals in clusters.
    HeavyTails,
}

impl Shape {
    /// The shape of a seed's trace.
    pub fn of(seed: u64) -> Self {
        match seed % 4 {
            1 => Self::Poisson,
            2 => Self::Bursts,
            3 => Self::DailyRhythm,
            _ => Self::HeavyTails,
        }
    }

    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Poisson => "Poisson",
            Self::Bursts => "bursts",
            Self::DailyRhythm => "daily rhythm",
            Self::HeavyTails => "heavy tails",
        }
    }
}

/// A program of a user, and how long it runs.
struct Program {
    user: i64,
    number: i64,
    median: f64,
    sigma: f64,
}

fn programs(random: &mut Random, count: u64, low: f64, high: f64) -> Vec<Program> {
    (0..count)
        .map(|number| Program {
            user: random.whole(1, 5).cast_signed(),
            number: number.cast_signed() + 1,
            // Evenly on a logarithmic scale.
            median: random.between(low.ln(), high.ln()).exp(),
            sigma: random.between(0.1, 1.0),
        })
        .collect()
}

fn job(random: &mut Random, program: &Program, at: f64, processors: u32) -> Job {
    let runs = random.log_normal(program.median, program.sigma).clamp(1.0, RUNS_MAX);
    Job { submitted: at as u64, runs: runs as u64, processors, user: program.user, program: program.number }
}

/// The jobs of a seed, by submission.
pub fn synthetic(seed: u64) -> Vec<Job> {
    let mut random = Random::new(seed);
    let mut jobs = match Shape::of(seed) {
        Shape::Poisson => poisson(&mut random),
        Shape::Bursts => bursts(&mut random),
        Shape::DailyRhythm => daily_rhythm(&mut random),
        Shape::HeavyTails => heavy_tails(&mut random),
    };
    jobs.sort_by_key(|job| job.submitted);
    jobs.truncate(JOBS_MAX);
    jobs
}

/// Some processors: mostly one.
fn processors(random: &mut Random) -> u32 {
    if random.chance(0.7) { 1 } else { 1 << random.whole(1, 5) }
}

fn poisson(random: &mut Random) -> Vec<Job> {
    let count = random.whole(3, 12);
    let programs = programs(random, count, 10.0, HOUR);
    let gap = random.between(20.0, 200.0);
    let end = random.between(3.0, 7.0) * DAY;
    let mut jobs = Vec::new();
    let mut at = random.exponential(gap);
    while at < end {
        let program = &programs[random.whole(0, programs.len() as u64 - 1) as usize];
        let processors = processors(random);
        jobs.push(job(random, program, at, processors));
        at += random.exponential(gap);
    }
    jobs
}

fn bursts(random: &mut Random) -> Vec<Job> {
    let count = random.whole(2, 8);
    let programs = programs(random, count, 5.0, 1800.0);
    let gap = random.between(0.3, 4.0) * HOUR;
    let typical = random.between(15.0, 120.0);
    let end = random.between(3.0, 7.0) * DAY;
    let mut jobs = Vec::new();
    let mut at = random.exponential(gap);
    while at < end {
        let program = &programs[random.whole(0, programs.len() as u64 - 1) as usize];
        let size = random.log_normal(typical, 0.8).clamp(1.0, 1000.0) as u64;
        // A batch arrives at once, or as fast as a client posts it.
        let spacing = if random.chance(0.5) { 0.0 } else { random.between(0.0, 2.0) };
        for n in 0..size {
            jobs.push(job(random, program, at + n as f64 * spacing, 1));
        }
        at += random.exponential(gap);
    }
    jobs
}

fn daily_rhythm(random: &mut Random) -> Vec<Job> {
    let count = random.whole(4, 15);
    let programs = programs(random, count, 10.0, 2.0 * HOUR);
    let busiest = random.between(10.0, 90.0);
    let night = random.between(0.02, 0.2);
    let weekend = random.between(0.05, 0.4);
    let end = 7.0 * DAY;
    let mut jobs = Vec::new();
    let mut at = random.exponential(busiest);
    while at < end {
        // Thinned from the busiest rate.
        let hour = at % DAY / HOUR;
        let wave = (std::f64::consts::TAU * (hour - 8.0) / 24.0).sin().max(0.0);
        let day = if at / DAY % 7.0 >= 5.0 { weekend } else { 1.0 };
        if random.chance((night + (1.0 - night) * wave) * day) {
            let program = &programs[random.whole(0, programs.len() as u64 - 1) as usize];
            let processors = processors(random);
            jobs.push(job(random, program, at, processors));
        }
        at += random.exponential(busiest);
    }
    jobs
}

fn heavy_tails(random: &mut Random) -> Vec<Job> {
    let users = random.whole(2, 6);
    let alpha = random.between(0.6, 1.3);
    let least = random.between(2.0, 20.0);
    let gap = random.between(100.0, 1500.0);
    let end = random.between(4.0, 7.0) * DAY;
    let mut jobs = Vec::new();
    let mut at = random.exponential(gap);
    while at < end {
        let (user, program) = (random.whole(1, users).cast_signed(), random.whole(1, 4).cast_signed());
        let cluster = random.pareto(1.0, 1.2).min(60.0) as u64;
        for n in 0..cluster {
            let runs = random.pareto(least, alpha).clamp(1.0, RUNS_MAX) as u64;
            let processors = processors(random);
            let after = n as f64 * random.between(0.0, 10.0);
            jobs.push(Job { submitted: (at + after) as u64, runs, processors, user, program });
        }
        at += random.pareto(gap * 0.3, 1.4).min(DAY / 2.0);
    }
    jobs
}
