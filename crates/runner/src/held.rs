//! What this runner holds: every attempt from its lease to its finish, the slots, and what is left for more.
//!
//! Polls and heartbeats read it to name the attempts, and bring what the grid answers back to them. It decides
//! nothing about an attempt's life; that is `job.rs`.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rgrid_api::client::AttemptRef;
use rgrid_api::workers::{CapacityBody, Directive, Held, Lease};
use rgrid_core::limits;
use rgrid_core::worker::Capacity;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::sandbox::JobLimits;

/// An attempt that asks for no CPU gets one core.
const CPU_MILLIS: u32 = 1000;
/// Share of the machine's memory that a lone attempt may have on the user's own machine (DESIGN section 11).
const LONE_MEMORY_PERCENT: u64 = 80;

/// Names an attempt among those that are held.
type Key = (String, u32);

/// What a job is told from outside while it lives.
pub(crate) struct Control {
    /// Who it is.
    pub(crate) attempt: AttemptRef,
    /// Its slot; no other live sandbox has the same.
    pub(crate) slot: u32,
    /// What it may use.
    pub(crate) limits: JobLimits,
    /// The newest word about it.
    pub(crate) directive: watch::Receiver<Directive>,
    /// Fires when it is not current any more: end it, report nothing.
    pub(crate) stale: CancellationToken,
}

/// Why a lease was not taken in.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// It is held already.
    Held,
    /// No slot is free: it is to be handed back.
    Full(AttemptRef),
}

struct Entry {
    attempt: AttemptRef,
    directive: watch::Sender<Directive>,
    stale: CancellationToken,
    /// `None` once its processes are gone and only its results are on the way.
    slot: Option<u32>,
    share: Capacity,
}

#[derive(Default)]
struct State {
    entries: HashMap<Key, Entry>,
    free_slots: BTreeSet<u32>,
}

/// The table.
pub(crate) struct Holdings {
    state: Mutex<State>,
    /// Counts the changes, so that a poll can wait for the next one.
    changes: watch::Sender<u64>,
    capacity: Capacity,
    slots: u32,
    /// The whole machine's memory, on the user's own machine: a lone attempt may have most of it.
    lone_memory_bytes: Option<u64>,
}

impl Holdings {
    /// Holds nothing. `lone_memory_bytes` is the machine's memory where a lone attempt may use more than its share.
    pub(crate) fn new(capacity: Capacity, slots: u32, lone_memory_bytes: Option<u64>) -> Self {
        let state = State { entries: HashMap::new(), free_slots: (0..slots).collect() };
        let changes = watch::Sender::new(0);
        Self { state: Mutex::new(state), changes, capacity, slots, lone_memory_bytes }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change below leaves the table whole, so a panic elsewhere cannot have damaged it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Wakes whenever an attempt comes, loses its slot or goes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Attempts that could start now.
    pub(crate) fn free_slots(&self) -> u32 {
        self.state().free_slots.len() as u32
    }

    /// What is left of the machine for them.
    pub(crate) fn free(&self) -> CapacityBody {
        let state = self.state();
        let mut left = self.capacity;
        for entry in state.entries.values().filter(|entry| entry.slot.is_some()) {
            left.cpu_millis = left.cpu_millis.saturating_sub(entry.share.cpu_millis);
            left.memory_bytes = left.memory_bytes.saturating_sub(entry.share.memory_bytes);
            left.disk_bytes = left.disk_bytes.saturating_sub(entry.share.disk_bytes);
        }
        left.into()
    }

    /// All of them, as polls and heartbeats name them.
    pub(crate) fn holding(&self) -> Vec<Held> {
        self.state().entries.values().map(|e| e.attempt.held(e.directive.borrow().version)).collect()
    }

    /// Takes a lease in.
    pub(crate) fn take(&self, lease: &Lease) -> Result<Control, NotTaken> {
        let key = (lease.execution_id.clone(), lease.attempt);
        let mut state = self.state();
        if state.entries.contains_key(&key) {
            return Err(NotTaken::Held);
        }
        let attempt = attempt_of(lease);
        let Some(slot) = state.free_slots.pop_first() else { return Err(NotTaken::Full(attempt)) };
        let lone = state.entries.values().all(|entry| entry.slot.is_none());
        let share = self.share(lease);
        let directive = watch::Sender::new(lease.directive.clone());
        let stale = CancellationToken::new();
        let control = Control {
            attempt: attempt.clone(),
            slot,
            limits: self.limits(lease, share, lone),
            directive: directive.subscribe(),
            stale: stale.clone(),
        };
        state.entries.insert(key, Entry { attempt, directive, stale, slot: Some(slot), share });
        drop(state);
        self.changed();
        Ok(control)
    }

    /// What the attempt is counted for.
    fn share(&self, lease: &Lease) -> Capacity {
        let share = self.capacity.share(self.slots);
        Capacity {
            cpu_millis: lease.cpu_millis.unwrap_or(CPU_MILLIS.min(self.capacity.cpu_millis)),
            memory_bytes: lease.memory_bytes.unwrap_or(share.memory_bytes),
            disk_bytes: lease.disk_bytes.unwrap_or(share.disk_bytes.min(limits::DISK_BYTES)),
        }
    }

    /// What the attempt may use: its share, or on the user's own machine nearly all of it while it is alone.
    fn limits(&self, lease: &Lease, share: Capacity, lone: bool) -> JobLimits {
        let lone_memory =
            self.lone_memory_bytes.filter(|_| lone).map(|total| total / 100 * LONE_MEMORY_PERCENT);
        let lone_cpu = lone_memory.map(|_| self.capacity.cpu_millis);
        JobLimits {
            cpu_millis: lease.cpu_millis.or(lone_cpu).unwrap_or(share.cpu_millis),
            memory_bytes: lease.memory_bytes.or(lone_memory).unwrap_or(share.memory_bytes),
            disk_bytes: share.disk_bytes,
            processes: limits::PROCESSES_MAX,
        }
    }

    /// Its processes are gone: another attempt may have the slot, while the results are still on their way.
    pub(crate) fn release_slot(&self, attempt: &AttemptRef) {
        let mut state = self.state();
        let slot = state.entries.get_mut(&key(attempt)).and_then(|entry| entry.slot.take());
        state.free_slots.extend(slot);
        drop(state);
        self.changed();
    }

    /// It is finished, handed back or stale: it is named no more.
    pub(crate) fn remove(&self, attempt: &AttemptRef) {
        let mut state = self.state();
        let slot = state.entries.remove(&key(attempt)).and_then(|entry| entry.slot);
        state.free_slots.extend(slot);
        drop(state);
        self.changed();
    }

    /// Brings the grid's word to the attempts. A directive that is older than the known one changes nothing.
    pub(crate) fn hear(&self, not_current: &[Held], directives: Vec<Directive>) {
        let state = self.state();
        for held in not_current {
            let entry = state.entries.get(&(held.execution_id.clone(), held.attempt));
            if let Some(entry) = entry.filter(|entry| entry.attempt.token == held.token) {
                entry.stale.cancel();
            }
        }
        for directive in directives {
            if let Some(entry) = state.entries.get(&(directive.execution_id.clone(), directive.attempt)) {
                entry.directive.send_if_modified(|known| {
                    let newer = directive.version > known.version;
                    if newer {
                        *known = directive;
                    }
                    newer
                });
            }
        }
    }
}

fn key(attempt: &AttemptRef) -> Key {
    (attempt.execution_id.clone(), attempt.attempt)
}

fn attempt_of(lease: &Lease) -> AttemptRef {
    AttemptRef {
        execution_id: lease.execution_id.clone(),
        attempt: lease.attempt,
        token: lease.token.clone(),
    }
}
