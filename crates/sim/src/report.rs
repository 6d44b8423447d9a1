//! What a run came to: the records, and the bill and the waits computed from them.

use rgrid_core::money::{Micros, Price, started_hours};

use crate::clock::at;
use crate::rules::Checks;
use crate::trace::Execution;

/// A server that existed. Times are milliseconds from the trace's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerRecord {
    /// When it was ordered: its hours count from then.
    pub created: i64,
    /// When it was deleted.
    pub deleted: i64,
    /// A started hour of it.
    pub price: Micros,
    /// Its CPUs.
    pub cpus: u32,
}

/// An execution that ran. Times are milliseconds from the trace's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecutionRecord {
    /// When it was submitted.
    pub submitted: i64,
    /// When it started.
    pub started: i64,
    /// When it finished.
    pub finished: i64,
    /// On which server: its place among the servers.
    pub server: usize,
    /// What it asked for, in thousandths of a core.
    pub cpu_millis: u32,
}

impl ExecutionRecord {
    pub(crate) fn waiting(execution: &Execution) -> Self {
        let never = i64::MAX;
        Self {
            submitted: execution.submitted,
            started: never,
            finished: never,
            server: usize::MAX,
            cpu_millis: execution.cpu_millis,
        }
    }

    /// How long it waited.
    pub fn wait(&self) -> i64 {
        self.started - self.submitted
    }
}

/// A run: everything that anyone needs to compute the bill and the waits again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Servers in the order of their creation.
    pub servers: Vec<ServerRecord>,
    /// Executions in the order of their submission.
    pub executions: Vec<ExecutionRecord>,
    /// Rules that were checked on the way, and how often.
    pub checks: Checks,
}

/// A run in a few numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Every started hour of every server.
    pub bill: Micros,
    /// Started hours.
    pub hours: u64,
    /// Servers that were bought.
    pub servers: usize,
    /// Servers that existed at once, at most.
    pub servers_peak: usize,
    /// Executions.
    pub executions: usize,
    /// Half of the executions waited no longer, in milliseconds.
    pub wait_p50: i64,
    /// 95 of 100 waited no longer.
    pub wait_p95: i64,
    /// None waited longer.
    pub wait_max: i64,
}

impl Run {
    /// The numbers.
    pub fn summary(&self) -> Summary {
        let hours = |server: &ServerRecord| started_hours(at(server.created), at(server.deleted));
        let bill = self.servers.iter().map(|server| server.price.times(u64::from(hours(server)))).sum();
        let mut waits: Vec<i64> = self.executions.iter().map(ExecutionRecord::wait).collect();
        waits.sort_unstable();
        // The smallest that so many of all do not exceed.
        let percentile = |percent: usize| {
            let rank = (waits.len() * percent).div_ceil(100).max(1) - 1;
            waits.get(rank).copied().unwrap_or(0)
        };
        let mut changes: Vec<(i64, i64)> =
            self.servers.iter().flat_map(|server| [(server.created, 1), (server.deleted, -1)]).collect();
        changes.sort_unstable();
        let (mut there, mut peak) = (0, 0);
        for (_, change) in changes {
            there += change;
            peak = peak.max(there);
        }
        Summary {
            bill,
            hours: self.servers.iter().map(|server| u64::from(hours(server))).sum(),
            servers: self.servers.len(),
            servers_peak: usize::try_from(peak).unwrap_or(0),
            executions: self.executions.len(),
            wait_p50: percentile(50),
            wait_p95: percentile(95),
            wait_max: waits.last().copied().unwrap_or(0),
        }
    }
}

/// The bill below which no policy can be: all core-hours of the work, on servers without an idle moment, by the
/// millisecond.
pub fn work_bound(executions: &[Execution], cpus_per_worker: u32, price: Price) -> Micros {
    let core_ms: i128 =
        executions.iter().map(|e| i128::from(e.runs) * i128::from(e.cpu_millis)).sum::<i128>() / 1000;
    let micros = core_ms * i128::from(price.rounded().0) / (i128::from(cpus_per_worker.max(1)) * 3_600_000);
    Micros(i64::try_from(micros).unwrap_or(i64::MAX))
}
