//! Locks that were made lately, remembered by all that went into them. One small file each; a damaged one is as good as
//! none. No credentials stand in them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// A lock counts so long: then the index may have something newer.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Files that are kept; the oldest go first.
const FILES_MAX: usize = 400;
/// A remembered lock is no longer than this.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Changes when locks are made another way.
const FORMAT: &str = "rgrid lock 2\0";

/// A remembered lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub made_ns: u64,
    pub text: String,
    pub packages: BTreeMap<String, String>,
    /// Path, whether it is editable, and the state of what decides what it needs.
    pub local: Vec<(PathBuf, bool, String)>,
    pub warnings: Vec<String>,
}

/// Now, in nanoseconds of Unix time.
pub(super) fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

impl Kept {
    /// The one that was made from `key`.
    pub(super) fn load(cache_folder: &Path, key: &str) -> Option<Self> {
        let bytes = super::read_file(&file(cache_folder, key), FILE_BYTES_MAX).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Young enough to count, and made from what is still there.
    pub(super) fn is_fresh(&self) -> bool {
        let age = now_ns().checked_sub(self.made_ns);
        age.is_some_and(|age| u128::from(age) < KEPT_FOR.as_nanos()) && self.is_unchanged()
    }

    /// Made from what is still there.
    pub(super) fn is_unchanged(&self) -> bool {
        self.local.iter().all(|(path, _, state)| super::local::state(path) == *state)
    }

    /// Remembers it. A cache that cannot be written costs time and nothing else, so the failure ends here.
    pub(super) fn save(&self, cache_folder: &Path, key: &str) {
        let file = file(cache_folder, key);
        let _ = serde_json::to_vec(self).map_err(io::Error::other).and_then(|bytes| write(&file, &bytes));
        if let Some(folder) = file.parent() {
            forget_oldest(folder);
        }
    }
}

fn file(cache_folder: &Path, key: &str) -> PathBuf {
    let hash = sha2::Sha256::digest([FORMAT, key].concat());
    let name: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    cache_folder.join("locks").join(format!("{name}.json"))
}

/// Writes a file as a whole, unless it is there with these bytes.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|has| has == bytes) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut aside = tempfile::NamedTempFile::new_in(folder)?;
    aside.write_all(bytes)?;
    aside.persist(path)?;
    Ok(())
}

fn forget_oldest(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> =
        entries.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
    files.sort();
    let surplus = files.len().saturating_sub(FILES_MAX);
    for (_, path) in files.into_iter().take(surplus) {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_remembered_for_a_day_and_while_its_packages_stay() {
        let folder = tempfile::tempdir().unwrap();
        let lib = folder.path().join("lib");
        fs::create_dir(&lib).unwrap();
        let local = vec![(lib.clone(), true, super::super::local::state(&lib))];
        let kept = Kept {
            made_ns: now_ns(),
            text: "six==1.16\n".to_owned(),
            packages: BTreeMap::new(),
            local,
            warnings: Vec::new(),
        };
        kept.save(folder.path(), "key");
        assert_eq!(Kept::load(folder.path(), "key").as_ref(), Some(&kept));
        assert_eq!(Kept::load(folder.path(), "other"), None);
        assert!(kept.is_fresh());
        let day = u64::try_from(KEPT_FOR.as_nanos()).unwrap();
        let old = Kept { made_ns: kept.made_ns - day - 1, ..kept.clone() };
        assert!(!old.is_fresh() && old.is_unchanged());
        fs::write(lib.join("pyproject.toml"), "[project]\n").unwrap();
        assert!(!kept.is_fresh() && !kept.is_unchanged());
    }
}
