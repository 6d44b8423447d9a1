//! Environments: interpreters with installed packages, built once for a key, kept on this worker, and shared with others
//! through the grid's objects.
//!
//! Here is what is kept, and in which order it is looked for. What decides an environment is in `key`, how one is built
//! in `build`, where that may go in `reach` and how it gets there in `way`, what is said meanwhile in `said` and who hears it
//! in `telling`, how it travels in `packed`, who installs it in `uv`.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rgrid_core::submission::Sha256;

use self::uv::Uv;
use crate::remove::remove_tree;
use crate::sandbox::Forbidden;

pub(crate) mod build;
pub(crate) mod key;
pub(crate) mod obtain;
mod packed;
mod reach;
mod said;
mod telling;
pub(crate) mod uv;
mod way;

/// Where the interpreter of an environment lies inside.
pub(crate) const PYTHON: &str = "/rgrid/env/bin/python";
/// All environments of this worker take at most this, and at most a share of the disk.
const KEPT_BYTES_MAX: u64 = 20 << 30;
/// The share of the free disk that they may take, in percent.
const KEPT_DISK_PERCENT: u64 = 20;
/// How the folder of a build begins: what a killed runner left of them is removed.
const BUILDING: &str = "build-";
/// What was installed before, for the next build of the account; after a dash, in an image.
const CACHE: &str = "cache";
/// Beside an environment: how many bytes it takes.
const SIZE: &str = "size";

/// The environments of this worker.
pub(crate) struct Environments {
    folder: PathBuf,
    bytes_max: u64,
    uv: Uv,
    /// What no build may reach.
    forbidden: Arc<Forbidden>,
    in_use: Mutex<HashMap<PathBuf, u32>>,
    flights: Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>,
}

/// An environment that is not removed while this lives.
pub(crate) struct InUse {
    environments: Arc<Environments>,
    folder: PathBuf,
}

impl InUse {
    /// Where it lies on this machine.
    pub(crate) fn environment(&self) -> PathBuf {
        self.folder.join("env")
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut in_use = self.environments.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(users) = in_use.get_mut(&self.folder) {
            *users -= 1;
            if *users == 0 {
                in_use.remove(&self.folder);
            }
        }
    }
}

impl Environments {
    /// Starts with what is kept below the data folder.
    pub(crate) fn open(
        data_folder: &Path,
        disk_bytes: u64,
        uv: Uv,
        forbidden: Forbidden,
    ) -> std::io::Result<Self> {
        let folder = data_folder.join("environments");
        // Others may pass, for the users of jobs must; the runner's folder above is closed to everybody else.
        fs::DirBuilder::new().recursive(true).mode(0o711).create(&folder)?;
        for account in fs::read_dir(&folder)?.flatten() {
            for entry in fs::read_dir(account.path())?.flatten() {
                let name = entry.file_name();
                let left_behind = name.to_str().is_some_and(|name| name.starts_with(BUILDING));
                if left_behind {
                    remove_tree(&entry.path());
                }
            }
        }
        Ok(Self {
            folder,
            bytes_max: KEPT_BYTES_MAX.min(disk_bytes / 100 * KEPT_DISK_PERCENT),
            uv,
            forbidden: Arc::new(forbidden),
            in_use: Mutex::default(),
            flights: Mutex::default(),
        })
    }

    /// The folder of an account: nothing in it is ever another one's.
    fn of_account(&self, account: &str) -> std::io::Result<PathBuf> {
        let folder = self.folder.join(account);
        fs::DirBuilder::new().recursive(true).mode(0o711).create(&folder)?;
        Ok(folder)
    }

    fn place(&self, account: &str, key: Sha256) -> PathBuf {
        self.folder.join(account).join(key.to_string())
    }

    /// The environment if it is here; it stays as long as the answer lives.
    pub(crate) fn kept(self: &Arc<Self>, account: &str, key: Sha256) -> Option<InUse> {
        let folder = self.place(account, key);
        // Held before it is looked at: what is in use is not removed.
        *self.in_use.lock().unwrap_or_else(PoisonError::into_inner).entry(folder.clone()).or_default() += 1;
        let held = InUse { environments: Arc::clone(self), folder };
        if !held.folder.join(SIZE).is_file() {
            return None;
        }
        // When it was last used is told by its folder's own time. It only decides who goes first.
        if let Ok(folder) = fs::File::open(&held.folder) {
            let _ = nix::sys::stat::futimens(
                &folder,
                &nix::sys::time::TimeSpec::UTIME_OMIT,
                &nix::sys::time::TimeSpec::UTIME_NOW,
            );
        }
        Some(held)
    }

    /// One builds or fetches, the others of this worker wait.
    fn flight(&self, folder: &Path) -> Arc<tokio::sync::Mutex<()>> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|_, flight| Arc::strong_count(flight) > 1);
        flights.entry(folder.to_owned()).or_default().clone()
    }

    /// Takes an environment that was made in `made` (its folder `env`) into what is kept, as a whole.
    fn keep(&self, account: &str, key: Sha256, made: &Path) -> std::io::Result<()> {
        let bytes = tree_bytes(&made.join("env"));
        fs::write(made.join(SIZE), bytes.to_string())?;
        let folder = self.place(account, key);
        if folder.exists() {
            remove_tree(&folder);
        }
        fs::rename(made, &folder)?;
        self.shrink();
        Ok(())
    }

    /// Removes the least recently used ones that nobody uses, until the rest is within the limit.
    fn shrink(&self) {
        let mut kept: Vec<(i64, u64, PathBuf)> = Vec::new();
        for account in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            for entry in fs::read_dir(account.path()).into_iter().flatten().flatten() {
                let path = entry.path();
                let is_cache = entry.file_name().to_str().is_some_and(|name| name.starts_with(CACHE));
                let size = fs::read_to_string(path.join(SIZE)).ok().and_then(|text| text.parse().ok());
                let bytes = if is_cache { tree_bytes(&path) } else { size.unwrap_or(0) };
                if let Ok(found) = entry.metadata()
                    && (is_cache || size.is_some())
                {
                    kept.push((found.mtime(), bytes, path));
                }
            }
        }
        kept.sort();
        let mut total: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in kept {
            if total <= self.bytes_max {
                return;
            }
            // Who takes it now waits for this lock, and then finds it gone.
            let in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
            if !in_use.contains_key(&path) {
                let aside = path.with_extension("gone");
                if fs::rename(&path, &aside).is_ok() {
                    drop(in_use);
                    remove_tree(&aside);
                    total -= bytes;
                }
            }
        }
    }
}

/// Bytes that a tree takes on the disk; a file that has several names counts once.
fn tree_bytes(folder: &Path) -> u64 {
    fn walk(folder: &Path, seen: &mut std::collections::HashSet<u64>) -> u64 {
        let mut bytes = 0;
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(found) = entry.metadata() else { continue };
            if found.is_dir() {
                bytes += walk(&entry.path(), seen);
            } else if seen.insert(found.ino()) {
                bytes += found.blocks() * 512;
            }
        }
        bytes
    }
    walk(folder, &mut std::collections::HashSet::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(folder: &Path, name: &str, bytes: usize) -> PathBuf {
        let made = folder.join(name);
        fs::create_dir_all(made.join("env")).unwrap();
        fs::write(made.join("env/file"), vec![1; bytes]).unwrap();
        made
    }

    #[test]
    fn the_least_recently_used_one_goes_first_and_one_in_use_never() {
        let data = tempfile::tempdir().unwrap();
        let mut environments =
            Environments::open(data.path(), 0, Uv::default(), Forbidden::default()).unwrap();
        environments.bytes_max = 250_000;
        let environments = Arc::new(environments);
        let account = environments.of_account("account_a").unwrap();
        let key = |n| Sha256([n; 32]);
        let mut held = None;
        for n in 1..=4 {
            environments
                .keep("account_a", key(n), &made(&account, &format!("{BUILDING}{n}"), 100_000))
                .unwrap();
            let old = fs::File::open(environments.place("account_a", key(n))).unwrap();
            let time = nix::sys::time::TimeSpec::new(i64::from(n), 0);
            nix::sys::stat::futimens(&old, &time, &time).unwrap();
            if n == 1 {
                held = environments.kept("account_a", key(1));
                nix::sys::stat::futimens(&old, &time, &time).unwrap();
            }
        }
        let here: Vec<bool> =
            (1..=4).map(|n| environments.place("account_a", key(n)).join(SIZE).exists()).collect();
        assert_eq!(here, [true, false, false, true]);
        assert!(held.is_some() && environments.kept("account_b", key(1)).is_none());
    }

    #[test]
    fn what_a_killed_runner_was_building_is_removed() {
        let data = tempfile::tempdir().unwrap();
        let account = data.path().join("environments/account_a");
        made(&account, "build-7", 10);
        let environments =
            Arc::new(Environments::open(data.path(), 1 << 40, Uv::default(), Forbidden::default()).unwrap());
        assert!(!account.join("build-7").exists());
        assert!(environments.kept("account_a", Sha256([7; 32])).is_none());
    }
}
