//! Sizes that nothing can ever hold: such an execution is refused when it is submitted, since it would wait for ever.
//! Whatever some worker that is known, or one that could be added, can hold when it runs nothing waits for its turn.

use std::fmt;

use crate::quantity::{format_bytes, format_cpu};
use crate::submission::Wanted;
use crate::worker::{Capacity, WorkerStatus};

/// Sizes that a refusal names when each thing asked for exists, but no worker has all of them.
const SHOWN_MAX: usize = 3;

/// True for a worker whose size counts: it takes work, or may take it again.
pub fn counts(status: WorkerStatus) -> bool {
    match status {
        // A draining worker whose heartbeats stop and return takes work again.
        WorkerStatus::Active | WorkerStatus::Draining | WorkerStatus::Dead => true,
        WorkerStatus::Provisioning
        | WorkerStatus::Failed
        | WorkerStatus::Terminating
        | WorkerStatus::Terminated => false,
    }
}

/// The sizes that no other contains: what fits any of `sizes` fits one of these.
pub fn largest(sizes: impl IntoIterator<Item = Capacity>) -> Vec<Capacity> {
    let mut kept: Vec<Capacity> = Vec::new();
    for size in sizes {
        if !kept.iter().any(|other| other.holds(&size)) {
            kept.retain(|other| !size.holds(other));
            kept.push(size);
        }
    }
    kept
}

/// Refuses what none of `sizes` can hold, not even when it runs nothing else. `sizes` are those of [`largest`]; when there
/// are none, nothing is known of what may come, and nothing is refused.
///
/// # Errors
/// What is asked for, and the most there can be.
pub fn check(wanted: &Wanted, sizes: &[Capacity]) -> Result<(), TooLarge> {
    let least = Capacity {
        cpu_millis: wanted.cpu_millis.unwrap_or(0),
        memory_bytes: wanted.memory_bytes.unwrap_or(0),
        disk_bytes: wanted.disk_bytes.unwrap_or(0),
    };
    if sizes.is_empty() || sizes.iter().any(|size| size.holds(&least)) {
        return Ok(());
    }
    Err(TooLarge { wanted: *wanted, largest: sizes.to_vec() })
}

/// More than any worker can hold. Its text says what was asked and what is the most.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct TooLarge {
    /// What was asked.
    pub wanted: Wanted,
    /// The sizes of the largest workers there can be; at least one.
    pub largest: Vec<Capacity>,
}

/// One thing of a size: its name, its option, what was asked of it and what is the most of it, as people write them.
struct Thing {
    name: &'static str,
    option: &'static str,
    wanted: String,
    largest: String,
    exceeds: bool,
}

impl TooLarge {
    /// The command's options that ask for the most there can be of what was too much; `None` when each thing by itself
    /// exists.
    pub fn at_most(&self) -> Option<String> {
        let options: Vec<String> = self
            .things()
            .iter()
            .filter(|thing| thing.exceeds)
            .map(|thing| format!("{} {}", thing.option, thing.largest))
            .collect();
        if options.is_empty() { None } else { Some(options.join(" ")) }
    }

    /// What was asked for.
    fn things(&self) -> Vec<Thing> {
        let most = |of: fn(&Capacity) -> u64| self.largest.iter().map(of).max().unwrap_or(0);
        let bytes = |name, option, wanted: u64, largest: u64| Thing {
            name,
            option,
            wanted: format_bytes(wanted),
            largest: format_bytes(largest),
            exceeds: wanted > largest,
        };
        let cpu = self.wanted.cpu_millis.map(|wanted| {
            let largest = self.largest.iter().map(|size| size.cpu_millis).max().unwrap_or(0);
            Thing {
                name: "CPUs",
                option: "--cpu",
                wanted: format_cpu(wanted),
                largest: format_cpu(largest),
                exceeds: wanted > largest,
            }
        });
        let memory = self.wanted.memory_bytes;
        let memory = memory.map(|wanted| bytes("memory", "--memory", wanted, most(|size| size.memory_bytes)));
        let disk = self.wanted.disk_bytes;
        let disk = disk.map(|wanted| bytes("disk", "--disk", wanted, most(|size| size.disk_bytes)));
        [cpu, memory, disk].into_iter().flatten().collect()
    }
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let things = self.things();
        let exceeding: Vec<String> = things
            .iter()
            .filter(|thing| thing.exceeds)
            .map(|thing| {
                format!(
                    "{}: {} asked, and the largest worker has {}",
                    thing.name, thing.wanted, thing.largest
                )
            })
            .collect();
        if !exceeding.is_empty() {
            return f.write_str(&exceeding.join("; "));
        }
        let asked: Vec<String> =
            things.iter().map(|thing| format!("{} {}", thing.wanted, thing.name)).collect();
        let sizes: Vec<String> = self
            .largest
            .iter()
            .take(SHOWN_MAX)
            .map(|size| {
                format!(
                    "{} CPUs, {} memory, {} disk",
                    format_cpu(size.cpu_millis),
                    format_bytes(size.memory_bytes),
                    format_bytes(size.disk_bytes)
                )
            })
            .collect();
        write!(f, "no worker has {} together; the largest have {}", asked.join(", "), sizes.join(" or "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn size(cpus: u32, memory_gib: u64) -> Capacity {
        Capacity { cpu_millis: cpus * 1000, memory_bytes: memory_gib * GIB, disk_bytes: 100 * GIB }
    }

    fn wanted(cpus: u32, memory_gib: u64) -> Wanted {
        Wanted { cpu_millis: Some(cpus * 1000), memory_bytes: Some(memory_gib * GIB), disk_bytes: None }
    }

    fn refusal(wanted: &Wanted, sizes: &[Capacity]) -> String {
        let refused = check(wanted, sizes).unwrap_err();
        format!("{refused} [{}]", refused.at_most().unwrap_or_default())
    }

    #[test]
    fn what_some_worker_can_hold_is_not_refused() {
        let sizes = [size(2, 16), size(8, 4)];
        for held in [Wanted::default(), wanted(2, 16), wanted(8, 4)] {
            assert_eq!(check(&held, &sizes), Ok(()));
        }
    }

    #[test]
    fn where_nothing_is_known_nothing_is_refused() {
        assert_eq!(check(&wanted(1000, 1 << 20), &[]), Ok(()));
    }

    #[test]
    fn a_refusal_names_what_was_asked_and_the_most_there_is() {
        let sizes = [size(2, 16), size(8, 4)];
        let all = Wanted { cpu_millis: Some(8500), disk_bytes: Some(GIB << 10), ..Wanted::default() };
        let refusals =
            [refusal(&wanted(1, 17), &sizes), refusal(&all, &sizes), refusal(&wanted(4, 8), &sizes)];
        insta::assert_snapshot!(refusals.join("\n"), @r"
        memory: 17G asked, and the largest worker has 16G [--memory 16G]
        CPUs: 8.5 asked, and the largest worker has 8; disk: 1T asked, and the largest worker has 100G [--cpu 8 --disk 100G]
        no worker has 4 CPUs, 8G memory together; the largest have 2 CPUs, 16G memory, 100G disk or 8 CPUs, 4G memory, 100G disk []
        ");
    }

    #[test]
    fn only_sizes_that_no_other_contains_are_kept() {
        let kept = largest([size(1, 1), size(2, 16), size(8, 4), size(2, 8), size(2, 16)]);
        assert_eq!(kept, [size(2, 16), size(8, 4)]);
    }

    #[test]
    fn a_worker_that_is_gone_or_never_came_does_not_count() {
        let counting: Vec<_> = WorkerStatus::ALL.into_iter().filter(|status| counts(*status)).collect();
        assert_eq!(counting, [WorkerStatus::Active, WorkerStatus::Draining, WorkerStatus::Dead]);
    }
}
