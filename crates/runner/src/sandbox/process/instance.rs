//! The number of this runner among all that run on this machine, and what a killed one left behind.
//!
//! Names of interfaces and groups, user numbers and addresses follow from it, so two runners never share any. It is
//! held by a file lock: when a runner dies the kernel gives its number back, and whoever takes it next cleans up.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::super::SandboxError;

/// Where runners of root meet; an ordinary user's are divided by the user already.
const MEETING_PLACE: &str = "/run/rgrid";
/// Runners on one machine.
const INSTANCES_MAX: u32 = 64;
/// Slots of one runner.
pub(super) const SLOTS_MAX: u32 = 512;
/// Users of jobs: above everything that distributions and container tools give away.
const FIRST_UID: u32 = 1_900_000_000;
/// Where that number means nothing (a container with few users).
const FIRST_UID_SMALL: u32 = 32_000;

/// A number that is this process's alone.
#[derive(Debug)]
pub(super) struct Instance {
    number: u32,
    root: bool,
    _lock: File,
}

impl Instance {
    /// Takes the lowest free number.
    pub(super) fn take(data_folder: &Path, root: bool) -> Result<Self, SandboxError> {
        let folder = if root { PathBuf::from(MEETING_PLACE) } else { data_folder.join("sandbox") };
        fs::create_dir_all(&folder).map_err(SandboxError::system(format!("make {}", folder.display())))?;
        for number in 0..INSTANCES_MAX {
            let path = folder.join(format!("runner-{number}.lock"));
            let step = || format!("open {}", path.display());
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .map_err(|source| SandboxError::System { step: step(), source })?;
            match file.try_lock() {
                Ok(()) => return Ok(Self { number, root, _lock: file }),
                Err(fs::TryLockError::WouldBlock) => {}
                Err(fs::TryLockError::Error(source)) => {
                    return Err(SandboxError::System { step: step(), source });
                }
            }
        }
        let source = io::Error::other(format!("{INSTANCES_MAX} runners run here already"));
        Err(SandboxError::System { step: "start another runner".to_owned(), source })
    }

    /// Its number.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// What groups of this runner are called.
    pub(super) fn group_name(&self) -> String {
        if self.root { format!("rgrid-{}", self.number) } else { format!("rgrid-user-{}", self.number) }
    }

    /// A number that no other slot of any runner here has.
    pub(super) fn slot_number(&self, slot: u32) -> u32 {
        self.number * SLOTS_MAX + slot
    }

    /// The user and group of a slot's jobs: its own as root, else there is no choice.
    pub(super) fn job_uid(&self, slot: u32) -> Option<(u32, u32)> {
        if !self.root {
            return None;
        }
        let first = if is_mapped(FIRST_UID) { FIRST_UID } else { FIRST_UID_SMALL };
        let uid = first + self.slot_number(slot);
        Some((uid, uid))
    }
}

/// Whether a user number exists in this process's user namespace.
fn is_mapped(uid: u32) -> bool {
    let Ok(map) = fs::read_to_string("/proc/self/uid_map") else { return false };
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
        match (numbers.next(), numbers.nth(1)) {
            (Some(first), Some(count)) => (first..first + count).contains(&u64::from(uid)),
            _ => false,
        }
    })
}
