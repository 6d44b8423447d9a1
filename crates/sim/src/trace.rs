//! Traces in the Standard Workload Format of the Parallel Workloads Archive, plain or gzipped: read, and written for
//! the generator's. A job of `n` processors becomes `min(n, 8)` executions of one CPU each.

use std::fmt::Write as _;
use std::io::Read;

/// Executions that one job becomes at most.
pub const EXECUTIONS_PER_JOB_MAX: u32 = 8;
/// Bytes of a trace when it is unpacked.
const TRACE_BYTES_MAX: u64 = 1 << 30;
/// What gzipped bytes begin with.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Fields of a line that are looked at: up to the executable's number.
const FIELDS_MIN: usize = 14;

/// A job of a trace. Times are whole seconds, as the format has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// When it was submitted, from the trace's start.
    pub submitted: u64,
    /// How long it ran.
    pub runs: u64,
    /// On how many processors.
    pub processors: u32,
    /// Whose it is.
    pub user: i64,
    /// Which program it runs; -1 when the trace does not say.
    pub program: i64,
}

/// An execution of the simulated grid. Times are milliseconds from the trace's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execution {
    /// When it is submitted.
    pub submitted: i64,
    /// How long it runs, once started.
    pub runs: i64,
    /// What it asks for, in thousandths of a core.
    pub cpu_millis: u32,
    /// What it is alike with: user and program.
    pub kind: u64,
}

/// Why a trace cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be unpacked.
    #[error("the trace cannot be unpacked")]
    Unpack(#[source] std::io::Error),
    /// It is too large.
    #[error("the trace is larger than 1 GiB when unpacked")]
    TooLarge,
    /// It is not text.
    #[error("the trace is not text")]
    NotText(#[source] std::str::Utf8Error),
    /// A line that is no job.
    #[error("line {line} of the trace is no job: {why}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No job at all.
    #[error("the trace has no job that ran")]
    Empty,
}

/// Reads a trace. Jobs that never ran (no run time, no processors) are left out, the rest is sorted by submission.
///
/// # Errors
/// See [`Error`].
pub fn read(bytes: &[u8]) -> Result<Vec<Job>, Error> {
    let mut unpacked = Vec::new();
    let text = if bytes.starts_with(&GZIP) {
        let mut packed = flate2::read::MultiGzDecoder::new(bytes).take(TRACE_BYTES_MAX + 1);
        packed.read_to_end(&mut unpacked).map_err(Error::Unpack)?;
        if unpacked.len() as u64 > TRACE_BYTES_MAX {
            return Err(Error::TooLarge);
        }
        &unpacked[..]
    } else {
        bytes
    };
    let text = std::str::from_utf8(text).map_err(Error::NotText)?;
    let mut jobs = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(';') {
            continue;
        }
        let bad = |why| Error::Line { line: at + 1, why };
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        if fields.len() < FIELDS_MIN {
            return Err(bad("it has fewer than 14 fields"));
        }
        let number = |field: usize, why: &'static str| {
            let value = fields[field].parse::<f64>().ok().filter(|value| value.is_finite());
            value.map(|value| value as i64).ok_or_else(|| bad(why))
        };
        let submitted = number(1, "its submit time is no number")?;
        let runs = number(3, "its run time is no number")?;
        let allocated = number(4, "its processors are no number")?;
        let requested = number(7, "its requested processors are no number")?;
        let processors = if allocated > 0 { allocated } else { requested };
        let user = number(11, "its user is no number")?;
        let program = number(13, "its executable is no number")?;
        if submitted >= 0 && runs > 0 && processors > 0 {
            jobs.push(Job {
                submitted: submitted.unsigned_abs(),
                runs: runs.unsigned_abs(),
                processors: u32::try_from(processors).unwrap_or(u32::MAX),
                user,
                program,
            });
        }
    }
    if jobs.is_empty() {
        return Err(Error::Empty);
    }
    jobs.sort_by_key(|job| job.submitted);
    Ok(jobs)
}

/// The executions that jobs become, by submission.
pub fn executions(jobs: &[Job]) -> Vec<Execution> {
    let of = |job: &Job| Execution {
        submitted: (job.submitted * 1000).cast_signed(),
        runs: (job.runs * 1000).cast_signed(),
        cpu_millis: 1000,
        kind: job.user.cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15)
            ^ job.program.cast_unsigned().wrapping_mul(0xC2B2_AE3D_27D4_EB4F),
    };
    jobs.iter()
        .flat_map(|job| std::iter::repeat_n(of(job), job.processors.min(EXECUTIONS_PER_JOB_MAX) as usize))
        .collect()
}

/// Writes jobs as a trace, with what a reader should know of them above.
pub fn write(jobs: &[Job], comment: &str) -> String {
    let mut text = String::from("; Version: 2.2\n");
    for line in comment.lines() {
        let _ = writeln!(text, "; {line}");
    }
    let _ = writeln!(text, "; MaxJobs: {}", jobs.len());
    for (n, job) in jobs.iter().enumerate() {
        let Job { submitted, runs, processors, user, program } = job;
        let _ = writeln!(
            text,
            "{} {submitted} -1 {runs} {processors} -1 -1 {processors} -1 -1 1 {user} 1 {program} -1 -1 -1 -1",
            n + 1
        );
    }
    text
}
