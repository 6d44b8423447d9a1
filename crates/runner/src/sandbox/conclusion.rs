//! How a job ended, put together from what its launcher reported, what was counted from outside and what was exceeded.

use std::sync::atomic::Ordering;

use nix::sys::signal::Signal;

use super::process::cgroup::JobCgroup;
use super::process::plan::Report;
use super::process::watch::{Exceeded, Watch};
use super::{JobEnd, JobExit};

/// What a control group has counted, where there is one.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counted {
    /// Processes that were killed for want of memory.
    oom_kills: u64,
    peak_memory_bytes: Option<u64>,
    cpu_ms: Option<u64>,
}

impl Counted {
    pub(super) fn of(cgroup: Option<&JobCgroup>) -> Self {
        cgroup.map_or_else(Self::default, |cgroup| Self {
            oom_kills: cgroup.oom_kills(),
            peak_memory_bytes: cgroup.peak_memory_bytes(),
            cpu_ms: cgroup.cpu_ms(),
        })
    }
}

/// The end of a job that was watched. Nothing of it runs any more.
pub(super) async fn conclude(
    report: Option<Report>,
    exceeded: Option<Exceeded>,
    counted: Counted,
    watch: &Watch,
) -> JobEnd {
    let (exit, reported_cpu, reported_peak, shared) = match report {
        Some(Report::Ended { code: Some(code), cpu_ms, peak_bytes, shared_bytes, .. }) => {
            (JobExit::Exited(code), Some(cpu_ms), Some(peak_bytes.max(shared_bytes)), shared_bytes)
        }
        Some(Report::Ended { signal: Some(signal), cpu_ms, peak_bytes, shared_bytes, .. }) => {
            (JobExit::Signalled(signal), Some(cpu_ms), Some(peak_bytes.max(shared_bytes)), shared_bytes)
        }
        // The launcher itself was killed: by us, or with its group for want of memory.
        Some(Report::Ended { .. } | Report::Started | Report::Failed { .. }) | None => {
            (JobExit::Signalled(Signal::SIGKILL as u8), None, None, 0)
        }
    };
    let watched = watch.peak.load(Ordering::Relaxed);
    let sampled = (watched > 0).then_some(watched);
    let peak = counted.peak_memory_bytes.or(sampled.max(reported_peak));
    let failed = exit != JobExit::Exited(0);
    let starved = exceeded == Some(Exceeded::Memory)
        || counted.oom_kills > 0
        || (failed && watch.ended_with_full_memory(shared));
    let limit = watch.limits.memory_bytes;
    JobEnd {
        exit,
        out_of_memory: starved.then(|| (limit, peak.unwrap_or(limit))),
        disk_full: exceeded == Some(Exceeded::Disk)
            || (failed && exceeded.is_none() && watch.ended_with_full_disk(exit).await),
        peak_memory_bytes: peak,
        cpu_ms: counted.cpu_ms.or(reported_cpu),
    }
}
