//! Blobs that this worker has seen, by account and hash, so that an input travels once. The least recently used go
//! when the cache is over its size; those that an attempt is about to place stay.
//!
//! No job ever sees a file of this folder: `workspace.rs` copies (or clones, where the file system can).

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rgrid_core::id::AccountId;
use rgrid_core::submission::Sha256;
use sha2::Digest;
use tempfile::NamedTempFile;

/// Folder of downloads that are not whole yet.
const INCOMING: &str = "incoming";

/// Tells during which run of the machine the cache was written.
const BOOT: &str = "boot";

/// A blob belongs to its account: nothing is shared across them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct BlobKey {
    pub(crate) account: AccountId,
    pub(crate) sha256: Sha256,
}

struct Entry {
    size_bytes: u64,
    /// The larger, the later it was used.
    used: u64,
    pins: u32,
}

#[derive(Default)]
struct Index {
    entries: HashMap<BlobKey, Entry>,
    total_bytes: u64,
    uses: u64,
}

/// The cache. Cheap to clone.
#[derive(Clone)]
pub(crate) struct BlobCache {
    folder: Arc<Path>,
    bytes_max: u64,
    index: Arc<Mutex<Index>>,
}

/// Keeps blobs from being evicted.
pub(crate) struct Pins {
    cache: BlobCache,
    keys: Vec<BlobKey>,
}

impl Drop for Pins {
    fn drop(&mut self) {
        let mut index = self.cache.index();
        for key in &self.keys {
            if let Some(entry) = index.entries.get_mut(key) {
                entry.pins -= 1;
            }
        }
        self.cache.evict(&mut index);
    }
}

impl Pins {
    /// Holds also what `other` holds.
    pub(crate) fn join(&mut self, mut other: Self) {
        self.keys.append(&mut other.keys);
    }

    /// Pins a blob if it is there, and whole.
    pub(crate) fn pin(&mut self, key: BlobKey, size_bytes: u64) -> bool {
        let mut index = self.cache.index();
        if !index.entries.contains_key(&key) {
            return false;
        }
        // Somebody may have tidied the folder behind our back.
        let whole = fs::metadata(self.cache.path(key)).is_ok_and(|metadata| metadata.len() == size_bytes);
        if whole {
            self.cache.touch(&mut index, key);
            self.keys.push(key);
        } else if index.entries.get(&key).is_some_and(|entry| entry.pins == 0) {
            let gone = index.entries.remove(&key).map_or(0, |entry| entry.size_bytes);
            index.total_bytes -= gone;
        }
        whole
    }
}

impl BlobCache {
    /// Opens the cache in `folder`, with what an earlier runner left there. Downloads that were cut are dropped.
    pub(crate) fn open(folder: &Path, bytes_max: u64) -> std::io::Result<Self> {
        // Blobs are not synced to the disk: what was written before a crash of the machine may lack bytes.
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let same_boot = fs::read_to_string(folder.join(BOOT)).is_ok_and(|written| written == boot);
        let stale = if same_boot { folder.join(INCOMING) } else { folder.to_owned() };
        if stale.exists() {
            fs::remove_dir_all(&stale)?;
        }
        fs::create_dir_all(folder.join(INCOMING))?;
        fs::write(folder.join(BOOT), boot)?;
        let mut found = Vec::new();
        for account in fs::read_dir(folder)?.flatten() {
            let Some(id) = account.file_name().to_str().and_then(|name| name.parse::<AccountId>().ok())
            else {
                continue;
            };
            for shelf in fs::read_dir(account.path())?.flatten() {
                for blob in fs::read_dir(shelf.path())?.flatten() {
                    let Some(sha256) = blob.file_name().to_str().and_then(|name| name.parse().ok()) else {
                        continue;
                    };
                    let metadata = blob.metadata()?;
                    found.push((metadata.modified()?, BlobKey { account: id, sha256 }, metadata.len()));
                }
            }
        }
        // The order of arrival stands in for the order of use, which is not kept across a restart.
        found.sort_by_key(|(modified, ..)| *modified);
        let mut index = Index::default();
        for (_, key, size_bytes) in found {
            index.uses += 1;
            index.total_bytes += size_bytes;
            index.entries.insert(key, Entry { size_bytes, used: index.uses, pins: 0 });
        }
        let cache = Self { folder: folder.into(), bytes_max, index: Arc::default() };
        cache.evict(&mut index);
        *cache.index() = index;
        Ok(cache)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // Each change leaves the index whole.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a blob lies when it is here.
    pub(crate) fn path(&self, key: BlobKey) -> PathBuf {
        let name = key.sha256.to_string();
        self.folder.join(key.account.to_string()).join(&name[..2]).join(name)
    }

    /// Keeps what it pins, until it is dropped.
    pub(crate) fn pins(&self) -> Pins {
        Pins { cache: self.clone(), keys: Vec::new() }
    }

    fn touch(&self, index: &mut Index, key: BlobKey) {
        index.uses += 1;
        let now = index.uses;
        if let Some(entry) = index.entries.get_mut(&key) {
            entry.used = now;
            entry.pins += 1;
        }
    }

    /// A place for a blob on its way in.
    pub(crate) fn incoming(&self) -> std::io::Result<Incoming> {
        let file = NamedTempFile::new_in(self.folder.join(INCOMING))?;
        Ok(Incoming { file, hasher: sha2::Sha256::new(), size_bytes: 0 })
    }

    /// Takes a whole blob in, and pins it. Its hash is what was computed on the way.
    pub(crate) fn keep(&self, account: AccountId, whole: Whole, pins: &mut Pins) -> std::io::Result<()> {
        let key = BlobKey { account, sha256: whole.sha256 };
        let path = self.path(key);
        let shelf = path.parent().expect("a blob's path has a shelf");
        fs::create_dir_all(shelf)?;
        let mut index = self.index();
        whole.file.persist(&path).map_err(|error| error.error)?;
        if !index.entries.contains_key(&key) {
            index.total_bytes += whole.size_bytes;
            index.entries.insert(key, Entry { size_bytes: whole.size_bytes, used: 0, pins: 0 });
        }
        self.touch(&mut index, key);
        pins.keys.push(key);
        self.evict(&mut index);
        Ok(())
    }

    fn evict(&self, index: &mut Index) {
        if index.total_bytes <= self.bytes_max {
            return;
        }
        let mut unpinned: Vec<_> = index
            .entries
            .iter()
            .filter(|(_, e)| e.pins == 0)
            .map(|(key, e)| (e.used, *key, e.size_bytes))
            .collect();
        unpinned.sort_by_key(|(used, ..)| *used);
        for (_, key, size_bytes) in unpinned {
            if index.total_bytes <= self.bytes_max {
                break;
            }
            match fs::remove_file(self.path(key)) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(%error, "a cached blob cannot be removed");
                    continue;
                }
            }
            index.entries.remove(&key);
            index.total_bytes -= size_bytes;
        }
    }
}

/// A blob on its way in, hashed as it is written.
pub(crate) struct Incoming {
    file: NamedTempFile,
    hasher: sha2::Sha256,
    size_bytes: u64,
}

/// A blob whose bytes are all here.
pub(crate) struct Whole {
    file: NamedTempFile,
    pub(crate) sha256: Sha256,
    pub(crate) size_bytes: u64,
}

impl Incoming {
    /// The next bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hasher.update(bytes);
        self.size_bytes += bytes.len() as u64;
        let file: &mut File = self.file.as_file_mut();
        file.write_all(bytes)
    }

    /// How much is here.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// No more bytes.
    pub(crate) fn finish(self) -> Whole {
        Whole { file: self.file, sha256: Sha256(self.hasher.finalize().into()), size_bytes: self.size_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> AccountId {
        AccountId::new(1, [7; 10])
    }

    fn add(cache: &BlobCache, bytes: &[u8]) -> (BlobKey, Pins) {
        let mut incoming = cache.incoming().unwrap();
        incoming.write(bytes).unwrap();
        let whole = incoming.finish();
        let key = BlobKey { account: account(), sha256: whole.sha256 };
        let mut pins = cache.pins();
        cache.keep(account(), whole, &mut pins).unwrap();
        (key, pins)
    }

    #[test]
    fn the_least_recently_used_goes_first_and_what_is_pinned_stays() {
        let folder = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(folder.path(), 10).unwrap();
        let (a, a_pins) = add(&cache, b"aaaa");
        let (b, b_pins) = add(&cache, b"bbbb");
        drop(b_pins);
        let (c, c_pins) = add(&cache, b"cccc");
        assert!(cache.path(a).exists() && !cache.path(b).exists() && cache.path(c).exists());
        drop((a_pins, c_pins));
        assert!(!cache.pins().pin(b, 4) && cache.pins().pin(a, 4));
        let (_, _pins) = add(&cache, b"dddd");
        assert!(cache.path(a).exists() && !cache.path(c).exists());
    }

    #[test]
    fn a_reopened_cache_knows_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let (key, _) = add(&BlobCache::open(folder.path(), 100).unwrap(), b"kept");
        let cache = BlobCache::open(folder.path(), 100).unwrap();
        assert!(cache.pins().pin(key, 4));
        assert!(!cache.pins().pin(key, 5), "a cut blob is not whole");
        let other = BlobKey { account: AccountId::new(2, [0; 10]), ..key };
        assert!(!cache.pins().pin(other, 4));
    }
}
