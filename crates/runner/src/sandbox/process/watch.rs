//! Watched limits: what no control group or file system enforces is measured each tenth of a second, and the job that
//! exceeds it is killed. Also where limits are hard: after the kernel has killed one process of a job for want of
//! memory, the rest would wait for it for ever.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::super::{JobExit, JobLimits};
use super::cgroup::JobCgroup;
use crate::guards;

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(100);
/// The closer look at a job's processes, the biggest first, ends after this: a process that is making another one, and
/// waits for the CPU meanwhile, lets nobody see its pages.
const CLOSER_LOOK_MAX: Duration = Duration::from_secs(1);
/// Memory that is kept free on the machine: below it the biggest watched job is ended before the kernel chooses.
const MEMORY_RESERVE_BYTES: u64 = 128 << 20;
/// Disk that is kept free, likewise.
const DISK_RESERVE_BYTES: u64 = 256 << 20;
/// Between two measurements of the disk passes at least this many times what one takes.
const DISK_SHARE: u32 = 20;
/// From this part of the limit on, in percent, a job that failed is said to have filled its disk, or its memory with
/// files.
const FULL_PERCENT: u64 = 98;

/// What a job used too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Exceeded {
    /// Memory.
    Memory,
    /// Disk.
    Disk,
}

/// What all watched jobs of a runner use, by slot: memory and disk. When the machine runs short the biggest goes.
#[derive(Debug, Default)]
pub(in super::super) struct Ledger {
    used: Mutex<BTreeMap<u32, (u64, u64)>>,
}

impl Ledger {
    fn note(&self, slot: u32, memory: u64, disk: u64) {
        self.lock().insert(slot, (memory, disk));
    }

    fn forget(&self, slot: u32) {
        self.lock().remove(&slot);
    }

    fn is_biggest(&self, slot: u32, what: impl Fn(&(u64, u64)) -> u64) -> bool {
        let used = self.lock();
        used.iter().max_by_key(|(_, used)| what(used)).is_some_and(|(biggest, _)| *biggest == slot)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, (u64, u64)>> {
        self.used.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Watches one job.
#[derive(Debug)]
pub(in super::super) struct Watch {
    pub(in super::super) slot: u32,
    /// Process 1 of the job, as the host numbers it.
    pub(in super::super) first: Option<Pid>,
    pub(in super::super) root: PathBuf,
    pub(in super::super) limits: JobLimits,
    pub(in super::super) disk: DiskBound,
    /// The most memory seen.
    pub(in super::super) peak: AtomicU64,
    /// A file system of its own was seen to be full.
    was_full: AtomicBool,
}

/// What bounds a job's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum DiskBound {
    /// We look, and end it.
    Watched,
    /// A file system of its own, in a file that lies here.
    Hard { host: PathBuf },
}

impl Watch {
    pub(in super::super) fn new(
        slot: u32,
        first: Option<Pid>,
        root: PathBuf,
        limits: JobLimits,
        disk: DiskBound,
    ) -> Self {
        Self { slot, first, root, limits, disk, peak: AtomicU64::new(0), was_full: AtomicBool::new(false) }
    }

    /// Returns when the job has used too much; until then it does not.
    pub(in super::super) async fn until_exceeded(
        &self,
        cgroup: Option<&JobCgroup>,
        ledger: &Ledger,
    ) -> Exceeded {
        let _forgotten = Forgotten { ledger, slot: self.slot };
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut disk = DiskWatch::new();
        ticks.tick().await; // the first one is at once
        loop {
            ticks.tick().await;
            let memory = match cgroup {
                Some(cgroup) if cgroup.oom_kills() > 0 => return Exceeded::Memory,
                Some(_) => 0,
                None => self.memory_bytes().await,
            };
            if memory > self.limits.memory_bytes && guards::holds(&guards::MEMORY_LIMIT) {
                return Exceeded::Memory;
            }
            let used = match self.disk {
                DiskBound::Watched => disk.used(self).await,
                DiskBound::Hard { .. } => self.look_at_file_system(),
            };
            if used > self.limits.disk_bytes && self.disk == DiskBound::Watched {
                return Exceeded::Disk;
            }
            ledger.note(self.slot, memory, used);
            if cgroup.is_none() && is_short_of_memory() && ledger.is_biggest(self.slot, |(memory, _)| *memory)
            {
                return Exceeded::Memory;
            }
            let machines = match &self.disk {
                DiskBound::Watched => &self.root,
                DiskBound::Hard { host } => host,
            };
            let short = free_bytes(machines).is_some_and(|free| free < DISK_RESERVE_BYTES);
            if short && used > 0 && ledger.is_biggest(self.slot, |(_, disk)| *disk) {
                return Exceeded::Disk;
            }
        }
    }

    /// Memory of the whole tree. A thread of its own looks: at a thousand processes that fight for the CPU it takes
    /// seconds, in which this runner has other jobs to look after, and its leases to keep.
    async fn memory_bytes(&self) -> u64 {
        let Some(first) = self.first else { return 0 };
        let limit = self.limits.memory_bytes;
        let used = tokio::task::spawn_blocking(move || tree_bytes(first, limit)).await.unwrap_or(0);
        self.peak.fetch_max(used, Ordering::Relaxed);
        used
    }

    /// Whether a job that failed had its disk full: then it saw an error of its own and ended by itself.
    pub(in super::super) async fn ended_with_full_disk(&self, exit: JobExit) -> bool {
        let nearly = self.limits.disk_bytes / 100 * FULL_PERCENT;
        if self.disk != DiskBound::Watched {
            self.look_at_file_system();
            return self.was_full.load(Ordering::Relaxed);
        }
        // The limit of one file is that of the disk, and this is how it is told to a program that does not ask.
        exit == JobExit::Signalled(Signal::SIGXFSZ as u8) || self.measure().await > nearly
    }

    /// Bytes used of a file system of its own; takes note when it is full, be it of bytes or of files.
    fn look_at_file_system(&self) -> u64 {
        let Ok(found) = nix::sys::statvfs::statvfs(&self.root) else { return 0 };
        let free = found.blocks_available() * found.fragment_size();
        let nearly = self.limits.disk_bytes / 100 * FULL_PERCENT;
        if free < self.limits.disk_bytes - nearly || found.files_available() == 0 {
            self.was_full.store(true, Ordering::Relaxed);
        }
        self.limits.disk_bytes.saturating_sub(free)
    }

    /// Whether a job that failed had filled its memory with files in `/dev/shm`: what it saw was a full disk.
    pub(in super::super) fn ended_with_full_memory(&self, shared_bytes: u64) -> bool {
        shared_bytes > self.limits.memory_bytes / 100 * FULL_PERCENT
    }

    /// Bytes on disk of everything below the root, and of deleted files that are still open.
    async fn measure(&self) -> u64 {
        let (root, first) = (self.root.clone(), self.first);
        let work = move || folder_bytes(&root) + first.map_or(0, |first| deleted_bytes(&root, first));
        tokio::task::spawn_blocking(work).await.unwrap_or(0)
    }
}

/// Takes a job out of the ledger when it is no longer watched.
struct Forgotten<'a> {
    ledger: &'a Ledger,
    slot: u32,
}

impl Drop for Forgotten<'_> {
    fn drop(&mut self) {
        self.ledger.forget(self.slot);
    }
}

/// When the disk was measured last, and what was found.
#[derive(Debug)]
struct DiskWatch {
    used: u64,
    /// The file system then: while it is the same, nothing was written.
    state: Option<(u64, u64)>,
    next: Instant,
}

impl DiskWatch {
    fn new() -> Self {
        Self { used: 0, state: None, next: Instant::now() }
    }

    /// The disk used; measured again unless nothing was written or the last measurement took long.
    async fn used(&mut self, watch: &Watch) -> u64 {
        let state = file_system_state(&watch.root);
        let started = Instant::now();
        if started >= self.next && (state.is_none() || state != self.state) {
            self.used = watch.measure().await;
            self.state = state;
            self.next = Instant::now() + started.elapsed() * DISK_SHARE;
        }
        self.used
    }
}

/// Every process below this one, itself included.
fn processes_below(first: Pid) -> Vec<i32> {
    let mut found = vec![first.as_raw()];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        next += 1;
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|word| word.parse::<i32>().ok()));
        }
    }
    found
}

/// Memory of a process and of all below it: shared pages by halves, as it were (PSS), where that makes the difference of
/// being below `limit`; and what lies in `/dev/shm`.
fn tree_bytes(first: Pid, limit: u64) -> u64 {
    let shared = used_bytes(Path::new(&format!("/proc/{first}/root/dev/shm")));
    let tree = processes_below(first);
    let mut resident: Vec<_> = tree.into_iter().filter_map(|pid| Some((resident_bytes(pid)?, pid))).collect();
    let used = resident.iter().map(|(bytes, _)| bytes).sum::<u64>() + shared;
    // Resident counts shared pages each time: only when that is too much is it worth a closer look.
    if used <= limit {
        return used;
    }
    resident.sort_unstable_by(|one, other| other.cmp(one));
    let begun = Instant::now();
    let in_time = resident.into_iter().take_while(|_| begun.elapsed() < CLOSER_LOOK_MAX);
    in_time.map(|(bytes, pid)| proportional_bytes(pid).unwrap_or(bytes)).sum::<u64>() + shared
}

fn resident_bytes(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * page_bytes())
}

fn page_bytes() -> u64 {
    let bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4096)
}

fn proportional_bytes(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    kibibytes(&text, "Pss:")
}

pub(super) fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn is_short_of_memory() -> bool {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    kibibytes(&text, "MemAvailable:").is_some_and(|free| free < MEMORY_RESERVE_BYTES)
}

/// Free blocks and free entries: they change with all that is written.
fn file_system_state(path: &Path) -> Option<(u64, u64)> {
    let found = nix::sys::statvfs::statvfs(path).ok()?;
    Some((found.blocks_free(), found.files_free()))
}

fn free_bytes(path: &Path) -> Option<u64> {
    let found = nix::sys::statvfs::statvfs(path).ok()?;
    Some(found.blocks_available() * found.fragment_size())
}

/// Bytes used of the file system at `path`.
pub(super) fn used_bytes(path: &Path) -> u64 {
    nix::sys::statvfs::statvfs(path)
        .map_or(0, |found| (found.blocks() - found.blocks_free()) * found.fragment_size())
}

/// Bytes on disk of a folder with all in it; a file with several names counts once.
fn folder_bytes(root: &Path) -> u64 {
    let mut seen = HashSet::new();
    let mut folders = vec![root.to_owned()];
    let mut bytes = 0;
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(found) = entry.metadata() else { continue };
            if found.nlink() > 1 && !found.is_dir() && !seen.insert((found.dev(), found.ino())) {
                continue;
            }
            bytes += found.blocks() * 512;
            if found.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    bytes
}

/// Bytes on the root's disk of files that have no name any more but are open in the job.
fn deleted_bytes(root: &Path, first: Pid) -> u64 {
    let Ok(disk) = fs::metadata(root).map(|found| found.dev()) else { return 0 };
    let mut seen = HashSet::new();
    let mut bytes = 0;
    for pid in processes_below(first) {
        let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for file in open.flatten() {
            let Ok(found) = fs::metadata(file.path()) else { continue };
            if found.is_file() && found.nlink() == 0 && found.dev() == disk && seen.insert(found.ino()) {
                bytes += found.blocks() * 512;
            }
        }
    }
    bytes
}
