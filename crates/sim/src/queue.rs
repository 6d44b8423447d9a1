//! What waits in the simulated grid: one lane for each kind and size, as the real queue has them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rgrid_core::fleet::Demand;
use rgrid_core::fleet::forecast::Kind;
use rgrid_core::worker::Capacity;

use crate::clock::at;
use crate::trace::Execution;

/// Waiting executions by age, and by lane.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    all: BTreeSet<(i64, usize)>,
    lanes: BTreeMap<(u32, u64), VecDeque<(i64, usize)>>,
}

impl Queue {
    pub(crate) fn push(&mut self, number: usize, execution: &Execution) {
        let entry = (execution.submitted, number);
        self.all.insert(entry);
        let lane = self.lanes.entry((execution.cpu_millis, execution.kind)).or_default();
        // One that comes back after a loss goes to its old place.
        let place = lane.partition_point(|other| *other < entry);
        lane.insert(place, entry);
    }

    pub(crate) fn remove(&mut self, number: usize, execution: &Execution) {
        let entry = (execution.submitted, number);
        self.all.remove(&entry);
        let key = (execution.cpu_millis, execution.kind);
        if let Some(lane) = self.lanes.get_mut(&key) {
            let place = lane.partition_point(|other| *other < entry);
            if lane.get(place) == Some(&entry) {
                lane.remove(place);
            }
            if lane.is_empty() {
                self.lanes.remove(&key);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The oldest, by number.
    pub(crate) fn oldest(&self) -> impl Iterator<Item = usize> {
        self.all.iter().map(|(_, number)| *number)
    }

    /// Demand as the planner sees it, of those that have waited for `patience` by `now` as impatient.
    pub(crate) fn demand(&self, now: i64, patience: i64) -> Vec<Demand> {
        let of = |(key, lane): (&(u32, u64), &VecDeque<(i64, usize)>)| Demand {
            wanted: Capacity { cpu_millis: key.0, memory_bytes: 0, disk_bytes: 0 },
            executions: lane.len() as u32,
            impatient: lane.partition_point(|(submitted, _)| *submitted <= now - patience) as u32,
            oldest_queued_at: at(lane.front().map_or(now, |(submitted, _)| *submitted)),
            kind: Kind(key.1),
        };
        self.lanes.iter().map(of).collect()
    }
}
