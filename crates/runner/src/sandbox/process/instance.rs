//! The number of this runner among all that run on this machine, and what a killed one left behind.
//!
//! Names of interfaces and groups, user numbers and addresses follow from it, so two runners never share any. It is
//! held by a file lock: when a runner is killed the kernel gives its number back, and whoever starts next cleans up. A
//! runner of root in a container that shares the network and not the file sees it by a socket's name.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use super::super::SandboxError;

/// Where runners of root meet; an ordinary user's are divided by the user already.
const MEETING_PLACE: &str = "/run/rgrid";
/// Runners on one machine. (The addresses after theirs are pasta's.)
const INSTANCES_MAX: u32 = 63;
/// Slots of one runner.
pub(in super::super) const SLOTS_MAX: u32 = 512;
/// Users of jobs: above everything that distributions and container tools give away.
const FIRST_UID: u32 = 1_900_000_000;
/// Where that number means nothing (a container with few users).
const FIRST_UID_SMALL: u32 = 32_000;

/// A number that is this process's alone.
#[derive(Debug)]
pub(in super::super) struct Instance {
    number: u32,
    root: bool,
    path: PathBuf,
    _lock: File,
    /// Of root's: nobody else in this network has its name.
    _name: Option<UnixListener>,
}

/// What was found under a number.
enum Found {
    /// Its runner lives, or it is of another network namespace, where we cannot clean up.
    Taken,
    /// Nothing: free to take.
    Free(Instance),
    /// A runner that was killed.
    Stale(Instance),
}

impl Instance {
    /// Takes a number that is not among `taken`; returns also those of killed runners, held until they are cleaned up.
    pub(in super::super) fn take(
        data_folder: &Path,
        root: bool,
        taken: &[u32],
    ) -> Result<(Self, Vec<Self>), SandboxError> {
        let folder = if root { PathBuf::from(MEETING_PLACE) } else { data_folder.join("sandbox") };
        let failed =
            |source| SandboxError::System { step: format!("take a number in {}", folder.display()), source };
        fs::create_dir_all(&folder).map_err(failed)?;
        let network = network_namespace();
        let (mut own, mut stale) = (None, Vec::new());
        for number in (0..INSTANCES_MAX).filter(|number| !taken.contains(number)) {
            let path = folder.join(format!("runner-{number}.lock"));
            if own.is_some() && !path.exists() {
                continue;
            }
            match Self::look(number, root, path, &network).map_err(failed)? {
                Found::Taken => {}
                Found::Free(instance) if own.is_none() => own = Some(instance),
                Found::Free(instance) => instance.release(),
                Found::Stale(instance) => stale.push(instance),
            }
        }
        let mut own = own
            .or_else(|| stale.pop())
            .ok_or_else(|| failed(io::Error::other(format!("{INSTANCES_MAX} runners run here already"))))?;
        own._lock.write_all(network.as_bytes()).map_err(failed)?;
        Ok((own, stale))
    }

    fn look(number: u32, root: bool, path: PathBuf, network: &str) -> io::Result<Found> {
        loop {
            let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => return Ok(Found::Taken),
                Err(fs::TryLockError::Error(error)) => return Err(error),
            }
            // Its last holder may have removed it between our opening and our locking.
            if fs::metadata(&path).is_ok_and(|now| now.ino() == file.metadata().map_or(0, |ours| ours.ino()))
            {
                let name = match root.then(|| name_in_network(number)).transpose() {
                    Ok(name) => name,
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Ok(Found::Taken),
                    Err(error) => return Err(error),
                };
                let mut holder = String::new();
                file.read_to_string(&mut holder)?;
                let instance = Self { number, root, path, _lock: file, _name: name };
                return Ok(match holder.as_str() {
                    "" => Found::Free(instance),
                    holder if holder == network => Found::Stale(instance),
                    _ => Found::Taken,
                });
            }
        }
    }

    /// Gives the number back; nothing of it is left.
    pub(in super::super) fn release(&self) {
        let _ = fs::remove_file(&self.path); // the lock goes with the descriptor in any case
    }

    /// Its number.
    pub(in super::super) fn number(&self) -> u32 {
        self.number
    }

    /// What groups of this runner are called.
    pub(super) fn group_name(&self) -> String {
        if self.root { format!("rgrid-{}", self.number) } else { format!("rgrid-user-{}", self.number) }
    }

    /// A number that no other slot of any runner here has.
    pub(in super::super) fn slot_number(&self, slot: u32) -> u32 {
        self.number * SLOTS_MAX + slot
    }

    /// The user and group of a slot's jobs: its own as root, else there is no choice.
    pub(in super::super) fn job_uid(&self, slot: u32) -> Option<(u32, u32)> {
        if !self.root {
            return None;
        }
        let first = if is_mapped(FIRST_UID) { FIRST_UID } else { FIRST_UID_SMALL };
        let uid = first + self.slot_number(slot);
        Some((uid, uid))
    }
}

/// Takes the name of a number in this network namespace, for as long as the socket is there. Nobody is heard on it.
fn name_in_network(number: u32) -> io::Result<UnixListener> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(format!("rgrid-runner-{number}"))?)
}

/// Names the network namespace of this thread.
fn network_namespace() -> String {
    fs::read_link("/proc/thread-self/ns/net")
        .map_or_else(|_| "unknown".to_owned(), |link| link.display().to_string())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_taken_where_its_name_is_whatever_file_its_holder_has() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let (network, number) = (network_namespace(), INSTANCES_MAX + std::process::id());
        let look = |folder: &tempfile::TempDir| {
            Instance::look(number, true, folder.path().join("runner.lock"), &network).unwrap()
        };
        let Found::Free(held) = look(&folders[0]) else { panic!("nobody has it") };
        assert!(matches!(look(&folders[1]), Found::Taken));
        drop(held);
        assert!(matches!(look(&folders[1]), Found::Free(_)));
    }
}
