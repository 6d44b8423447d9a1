//! The images that runners here have pulled: which, when each was last used, and which go when they take too much of the
//! disk. An image that somebody else brought to the engine is never among them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// An image that was pulled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pulled {
    /// The engine's name for it.
    id: String,
    bytes: u64,
    /// A number that grows with each use.
    used: u64,
}

/// What was pulled, and what is in use.
#[derive(Debug)]
pub(super) struct Kept {
    file: PathBuf,
    bytes_max: u64,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// By the name that it was pulled by.
    pulled: BTreeMap<String, Pulled>,
    /// How many use an image, by its id.
    users: HashMap<String, usize>,
}

/// An image is not removed while this lives.
#[derive(Debug)]
pub struct ImageInUse {
    kept: Arc<Kept>,
    id: String,
}

impl Drop for ImageInUse {
    fn drop(&mut self) {
        let mut known = self.kept.known();
        if let Some(users) = known.users.get_mut(&self.id) {
            *users -= 1;
            if *users == 0 {
                known.users.remove(&self.id);
            }
        }
    }
}

impl Kept {
    /// Starts with what is written in this folder. All together may take so many bytes.
    pub(super) fn open(folder: &Path, bytes_max: u64) -> Arc<Self> {
        let file = folder.join("pulled.json");
        // Without it they stay for the machine's owner to remove.
        let pulled = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let known = Known { pulled: pulled.unwrap_or_default(), users: HashMap::new() };
        Arc::new(Self { file, bytes_max, known: Mutex::new(known) })
    }

    /// Takes note of a pull.
    pub(super) fn note(&self, name: &str, id: &str, bytes: u64) {
        let mut known = self.known();
        let used = known.next();
        known.pulled.insert(name.to_owned(), Pulled { id: id.to_owned(), bytes, used });
        self.write(&known);
    }

    /// Holds an image, whoever brought it.
    pub(super) fn hold(self: &Arc<Self>, id: &str) -> ImageInUse {
        let mut known = self.known();
        *known.users.entry(id.to_owned()).or_default() += 1;
        let used = known.next();
        let mut changed = false;
        for pulled in known.pulled.values_mut().filter(|pulled| pulled.id == id) {
            (pulled.used, changed) = (used, true);
        }
        if changed {
            self.write(&known);
        }
        drop(known);
        ImageInUse { kept: Arc::clone(self), id: id.to_owned() }
    }

    /// The names that are to be removed so that the rest is within the limit: the least recently used first, none in use.
    pub(super) fn too_many(&self) -> Vec<String> {
        let known = self.known();
        // Several names of one image take its bytes once.
        let by_id: BTreeMap<&str, u64> =
            known.pulled.values().map(|pulled| (pulled.id.as_str(), pulled.bytes)).collect();
        let mut total: u64 = by_id.values().sum();
        let mut oldest: Vec<(&String, &Pulled)> = known.pulled.iter().collect();
        oldest.sort_by_key(|(_, pulled)| pulled.used);
        let mut going = Vec::new();
        for (name, pulled) in oldest {
            if total <= self.bytes_max {
                break;
            }
            if !known.users.contains_key(&pulled.id) {
                going.push(name.clone());
                let stays = |(other, one): (&String, &Pulled)| one.id == pulled.id && !going.contains(other);
                if !known.pulled.iter().any(stays) {
                    total -= pulled.bytes;
                }
            }
        }
        going
    }

    /// Forgets a name: it was removed, or is not ours any more.
    pub(super) fn forget(&self, name: &str) {
        let mut known = self.known();
        known.pulled.remove(name);
        self.write(&known);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, known: &Known) {
        let aside = self.file.with_extension("new");
        let body = serde_json::to_vec(&known.pulled).expect("a table of texts is JSON");
        if let Err(error) = std::fs::write(&aside, body).and_then(|()| std::fs::rename(&aside, &self.file)) {
            tracing::warn!(%error, "which images were pulled is not written down");
        }
    }
}

impl Known {
    fn next(&self) -> u64 {
        self.pulled.values().map(|pulled| pulled.used + 1).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_go_first_and_none_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::open(folder.path(), 250);
        for name in ["a", "b", "c"] {
            kept.note(name, &format!("id-{name}"), 100);
        }
        assert_eq!(kept.too_many(), ["a"]);
        drop(kept.hold("id-a"));
        assert_eq!(kept.too_many(), ["b"]);
        let held = kept.hold("id-b");
        drop(kept.hold("id-c"));
        assert_eq!(kept.too_many(), ["a"]);
        let reopened = Kept::open(folder.path(), 150);
        assert_eq!(reopened.too_many(), ["a", "b"], "what was held is not after a restart");
        drop(held);
        kept.forget("b");
        assert_eq!(kept.too_many(), [""; 0]);
    }

    #[test]
    fn two_names_of_one_image_take_its_room_once_and_what_nobody_pulled_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::open(folder.path(), 50);
        drop(kept.hold("somebody else's"));
        kept.note("a", "one", 100);
        kept.note("b", "one", 100);
        assert_eq!(kept.too_many(), ["a", "b"]);
        assert_eq!(Kept::open(folder.path(), 100).too_many(), [""; 0]);
    }
}
