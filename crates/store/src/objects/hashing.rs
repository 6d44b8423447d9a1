//! Hashes of objects that are still arriving, kept while they arrive: when the last part is there, little is left to
//! hash. Only a shortcut of this process: what it forgets is hashed again at the end.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::ObjectKey;

/// Objects that are hashed ahead at once; a further one pushes another out.
const HASHED_AHEAD_MAX: usize = 1024;

#[derive(Debug, Clone, Default)]
struct Progress {
    /// Parts 1 to this are in `state`.
    parts: u32,
    state: Sha256,
    /// Parts beyond these that were recorded.
    arrived: BTreeSet<u32>,
    /// Somebody hashes on.
    busy: bool,
}

/// How far each arriving object is hashed. Only recorded parts count: their bytes never change again.
#[derive(Debug, Default)]
pub(super) struct Hashing {
    objects: Mutex<HashMap<ObjectKey, Progress>>,
}

impl Hashing {
    fn objects(&self) -> MutexGuard<'_, HashMap<ObjectKey, Progress>> {
        // Nothing panics with the lock held, and what it guards may be forgotten at any time.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state before part `number`, when all before it is hashed: the part can be hashed as it passes.
    pub(super) fn before(&self, key: ObjectKey, number: u32) -> Option<Sha256> {
        if number == 1 {
            return Some(Sha256::new());
        }
        let objects = self.objects();
        objects
            .get(&key)
            .filter(|progress| progress.parts + 1 == number)
            .map(|progress| progress.state.clone())
    }

    /// How many parts are hashed, and their state.
    pub(super) fn so_far(&self, key: ObjectKey) -> (u32, Sha256) {
        self.objects().get(&key).map(|progress| (progress.parts, progress.state.clone())).unwrap_or_default()
    }

    /// Part `number` was recorded; `state` is the one after it, when it was hashed as it passed. True when the
    /// caller must now hash on.
    pub(super) fn recorded(&self, key: ObjectKey, number: u32, state: Option<Sha256>) -> bool {
        let mut objects = self.objects();
        if objects.len() >= HASHED_AHEAD_MAX && !objects.contains_key(&key) {
            let any = objects.keys().next().copied();
            any.and_then(|any| objects.remove(&any));
        }
        let progress = objects.entry(key).or_default();
        match state {
            Some(state) if progress.parts + 1 == number => {
                progress.parts = number;
                progress.state = state;
            }
            Some(_) | None => {
                progress.arrived.insert(number);
            }
        }
        let next = progress.parts + 1;
        let hash_on = !progress.busy && progress.arrived.contains(&next);
        progress.busy |= hash_on;
        hash_on
    }

    /// The part to hash next, for who hashes on, and the state before it. After `None` nobody hashes on.
    pub(super) fn next(&self, key: ObjectKey) -> Option<(u32, Sha256)> {
        let mut objects = self.objects();
        let progress = objects.get_mut(&key)?;
        let next = progress.parts + 1;
        progress.arrived = progress.arrived.split_off(&next);
        progress.busy = progress.arrived.contains(&next);
        progress.busy.then(|| (next, progress.state.clone()))
    }

    /// Part `number` is hashed.
    pub(super) fn hashed(&self, key: ObjectKey, number: u32, state: Sha256) {
        if let Some(progress) = self.objects().get_mut(&key)
            && progress.parts + 1 == number
        {
            progress.parts = number;
            progress.state = state;
        }
    }

    /// The object is complete, or gone.
    pub(super) fn forget(&self, key: ObjectKey) {
        self.objects().remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u128) -> ObjectKey {
        format!("{number:032x}").parse().unwrap()
    }

    fn after(hashing: &Hashing, number: u32) -> Sha256 {
        hashing.before(key(1), number).unwrap().chain_update([number as u8])
    }

    #[test]
    fn a_part_is_hashed_as_it_passes_when_all_before_it_are() {
        let hashing = Hashing::default();
        assert!(hashing.before(key(1), 2).is_none());
        assert!(!hashing.recorded(key(1), 1, Some(after(&hashing, 1))));
        assert!(!hashing.recorded(key(1), 2, Some(after(&hashing, 2))));
        let (parts, state) = hashing.so_far(key(1));
        assert_eq!((parts, state.finalize()), (2, Sha256::digest([1, 2])));
        hashing.forget(key(1));
        assert_eq!(hashing.so_far(key(1)).0, 0);
    }

    #[test]
    fn parts_that_came_early_are_hashed_by_one_once_all_before_them_are() {
        let hashing = Hashing::default();
        assert!(!hashing.recorded(key(1), 3, None));
        assert!(!hashing.recorded(key(1), 2, None));
        assert!(hashing.recorded(key(1), 1, Some(after(&hashing, 1))), "2 and 3 are there: hash on");
        assert!(!hashing.recorded(key(1), 5, None), "somebody hashes on");
        for expected in [2, 3] {
            let (number, state) = hashing.next(key(1)).unwrap();
            assert_eq!(number, expected);
            hashing.hashed(key(1), number, state.chain_update([number as u8]));
        }
        assert!(hashing.next(key(1)).is_none(), "4 is not there");
        assert!(hashing.recorded(key(1), 4, Some(after(&hashing, 4))), "5 is");
        assert_eq!(hashing.so_far(key(1)).1.finalize(), Sha256::digest([1, 2, 3, 4]));
    }

    #[test]
    fn a_state_from_before_is_not_taken_for_a_later_one() {
        let hashing = Hashing::default();
        let early = after(&hashing, 1);
        hashing.recorded(key(1), 1, Some(early.clone()));
        hashing.hashed(key(1), 3, early.clone());
        assert!(!hashing.recorded(key(1), 3, Some(early)));
        assert_eq!(hashing.so_far(key(1)).0, 1);
    }

    #[test]
    fn how_much_is_remembered_is_bounded() {
        let hashing = Hashing::default();
        for number in 0..2 * HASHED_AHEAD_MAX as u128 {
            hashing.recorded(key(number), 1, None);
        }
        assert_eq!(hashing.objects().len(), HASHED_AHEAD_MAX);
    }
}
