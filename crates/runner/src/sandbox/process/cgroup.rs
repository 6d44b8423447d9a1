//! Hard limits of memory, CPU and processes: control groups, version 1 or 2, by writing their files ourselves.
//!
//! One group per job below one per runner. Where no group can be made, limits are watched instead (`watch`).

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::JobLimits;
use crate::guards;

/// What must all be there for limits to be hard.
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];
/// What is used when it is there: version 1 counts CPU time in a hierarchy of its own.
const ACCOUNTING: &str = "cpuacct";
/// The period of the CPU quota.
const CPU_PERIOD_US: u64 = 100_000;
/// The least quota the kernel takes.
const CPU_QUOTA_US_MIN: u64 = 1_000;
/// Bubblewrap and the launcher are processes of the group too.
const OWN_PROCESSES: u64 = 2;
/// How long an emptied group may take to go away, and how often that is tried.
const REMOVE_DEADLINE: Duration = Duration::from_secs(2);
const REMOVE_PERIOD: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// A folder in which groups with this controller can be made.
#[derive(Debug, Clone)]
struct Hierarchy {
    controller: &'static str,
    version: Version,
    folder: PathBuf,
}

/// The runner's groups, one in each hierarchy it needs.
#[derive(Debug)]
pub(super) struct Cgroups {
    hierarchies: Vec<Hierarchy>,
    /// Of the first group's folder: held while the runner lives, seen by whoever shares the groups.
    _lock: Option<File>,
}

/// What there is under a name.
pub(super) enum Groups {
    /// The runner's own now.
    Ours(Cgroups),
    /// Those of a runner that lives, in another container perhaps.
    Taken,
    /// This machine or user cannot have all that are needed.
    None,
}

impl Cgroups {
    /// Makes the runner's groups, and removes what a killed runner left in them.
    pub(super) fn make(name: &str) -> Groups {
        let deadline = Instant::now() + REMOVE_DEADLINE;
        let made = loop {
            let Some(made) = Self::find_all(name) else { return Groups::None };
            let Some(first) = made.hierarchies.first() else { return Groups::None };
            let opened = File::open(&first.folder).map(|folder| (folder.try_lock(), folder));
            match opened {
                Ok((Err(TryLockError::WouldBlock), _)) => return Groups::Taken,
                // Their last holder may have removed them between our finding and our locking: from now on nobody does, and
                // those that are missing are made.
                Ok((Ok(()), folder)) if is_at(&folder, &first.folder) => match Self::find_all(name) {
                    Some(found) => break Self { _lock: Some(folder), ..found },
                    None => return Groups::None,
                },
                Ok((Ok(()), _)) if Instant::now() < deadline => {}
                Err(error) if is_gone(&error) && Instant::now() < deadline => {}
                Ok((Ok(()), _)) => return Groups::Taken,
                // Without locks there: as it was made.
                Ok((Err(TryLockError::Error(_)), _)) | Err(_) => break made,
            }
        };
        while !made.sweep() && Instant::now() < deadline {
            std::thread::sleep(REMOVE_PERIOD);
        }
        Groups::Ours(made)
    }

    fn find_all(name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let mut hierarchies = Vec::new();
        for controller in CONTROLLERS {
            hierarchies.push(find(controller, &mounts, &own, name)?);
        }
        hierarchies
            .extend(find(ACCOUNTING, &mounts, &own, name).filter(|found| found.version == Version::One));
        Some(Self { hierarchies, _lock: None })
    }

    /// Makes a job's group.
    pub(super) fn make_job(&self, name: &str) -> io::Result<JobCgroup> {
        let mut job = JobCgroup { folders: Vec::new() };
        for hierarchy in &self.hierarchies {
            let folder = hierarchy.folder.join(name);
            let known = job.folders.iter().any(|(other, _)| other.folder == folder);
            if !known {
                fs::create_dir(&folder)?;
            }
            job.folders.push((Hierarchy { folder, ..hierarchy.clone() }, !known));
        }
        Ok(job)
    }

    /// Ends what a killed runner left in its jobs' groups, and removes them; false when some do not go yet.
    fn sweep(&self) -> bool {
        let mut gone = true;
        for hierarchy in &self.hierarchies {
            let Ok(entries) = fs::read_dir(&hierarchy.folder) else { continue };
            for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
                kill_all(&entry.path());
                gone &= fs::remove_dir(entry.path()).is_ok();
            }
        }
        gone
    }

    /// Removes the runner's groups; jobs' must be gone. The first, which has the lock, goes last: who finds it gone finds
    /// none of them half-way.
    pub(super) fn remove(&self) {
        for hierarchy in self.hierarchies.iter().rev() {
            let _ = fs::remove_dir(&hierarchy.folder); // at the latest the next start sweeps it
        }
    }
}

/// What is said of a group that is removed, or was.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ENODEV)
}

/// True when the path leads to this very folder.
fn is_at(opened: &File, path: &Path) -> bool {
    let ours = opened.metadata().map(|found| (found.dev(), found.ino()));
    let there = fs::metadata(path).map(|found| (found.dev(), found.ino()));
    matches!((ours, there), (Ok(ours), Ok(there)) if ours == there)
}

/// Finds the hierarchy of a controller and makes the runner's group there: below its own group, else at the top.
fn find(controller: &'static str, mounts: &str, own: &str, name: &str) -> Option<Hierarchy> {
    for (version, mount, own_folder) in places(controller, mounts, own) {
        for base in own_folder.into_iter().chain([mount]) {
            let folder = base.join(name);
            if prepare(version, controller, &base, &folder).is_ok() {
                return Some(Hierarchy { controller, version, folder });
            }
        }
    }
    None
}

/// Where a hierarchy with this controller is mounted, and where in it is the group of the process whose `cgroup` file
/// this is.
fn places<'a>(
    controller: &'a str,
    mounts: &'a str,
    own: &'a str,
) -> impl Iterator<Item = (Version, PathBuf, Option<PathBuf>)> + 'a {
    mounts.lines().filter_map(move |line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, mount) = (place.next()?, Path::new(place.next()?));
        let mut kind = kind.split(' ');
        let (kind, options) = (kind.next()?, kind.nth(1)?);
        let version = match kind {
            "cgroup" if options.split(',').any(|option| option == controller) => Version::One,
            "cgroup2" if lists(&mount.join("cgroup.controllers"), controller) => Version::Two,
            _ => return None,
        };
        let own_path = own.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let ours = match version {
                Version::One => controllers.split(',').any(|each| each == controller),
                Version::Two => controllers.is_empty(),
            };
            ours.then_some(path)
        });
        let below = own_path.and_then(|path| path.strip_prefix(root.trim_end_matches('/')));
        let own_folder = below.map(|below| mount.join(below.trim_start_matches('/')));
        Some((version, mount.to_owned(), own_folder))
    })
}

fn lists(file: &Path, controller: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.split_whitespace().any(|each| each == controller))
}

/// Makes the runner's group below `base`, able to have groups of its own with this controller.
fn prepare(version: Version, controller: &str, base: &Path, folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    match version {
        Version::One => Ok(()),
        Version::Two => {
            let enable =
                |group: &Path| fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"));
            if enable(base).is_err() {
                // A group with processes cannot share out its controllers: they move into one beside the jobs'.
                let aside = base.join("rgrid-runner");
                fs::create_dir_all(&aside)?;
                for pid in fs::read_to_string(base.join("cgroup.procs"))?.lines() {
                    let _ = fs::write(aside.join("cgroup.procs"), pid); // it may have ended meanwhile
                }
                enable(base)?;
            }
            enable(folder)
        }
    }
}

fn limit(hierarchy: &Hierarchy, limits: &JobLimits) -> io::Result<()> {
    if hierarchy.controller == "memory" && !guards::holds(&guards::MEMORY_LIMIT)
        || hierarchy.controller == "pids" && !guards::holds(&guards::PROCESS_LIMIT)
    {
        return Ok(());
    }
    let set = |file: &str, value: String| fs::write(hierarchy.folder.join(file), value);
    let quota = (u64::from(limits.cpu_millis) * CPU_PERIOD_US / 1000).max(CPU_QUOTA_US_MIN);
    let processes = u64::from(limits.processes) + OWN_PROCESSES;
    match (hierarchy.controller, hierarchy.version) {
        ("memory", Version::One) => {
            set("memory.limit_in_bytes", limits.memory_bytes.to_string())?;
            match set("memory.memsw.limit_in_bytes", limits.memory_bytes.to_string()) {
                // Without swap accounting there is no such file.
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            }
        }
        ("memory", Version::Two) => {
            set("memory.max", limits.memory_bytes.to_string())?;
            set("memory.oom.group", "1".to_owned())?;
            match set("memory.swap.max", "0".to_owned()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            }
        }
        ("cpu", Version::One) => {
            set("cpu.cfs_period_us", CPU_PERIOD_US.to_string())?;
            set("cpu.cfs_quota_us", quota.to_string())
        }
        ("cpu", Version::Two) => set("cpu.max", format!("{quota} {CPU_PERIOD_US}")),
        ("pids", Version::One | Version::Two) => set("pids.max", processes.to_string()),
        (_, Version::One | Version::Two) => Ok(()),
    }
}

/// One job's groups. Each with whether it is this entry that removes the folder (version 2 has one for all).
#[derive(Debug)]
pub(in super::super) struct JobCgroup {
    folders: Vec<(Hierarchy, bool)>,
}

impl JobCgroup {
    /// The groups in which somebody else has put a process: only to be read. `None` where its memory is not counted.
    pub(in super::super) fn of_process(pid: Pid) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let found = |controller: &'static str| {
            places(controller, &mounts, &own).find_map(|(version, _, folder)| {
                let folder = folder.filter(|folder| folder.is_dir())?;
                Some((Hierarchy { controller, version, folder }, false))
            })
        };
        let folders: Vec<_> = CONTROLLERS.into_iter().chain([ACCOUNTING]).filter_map(found).collect();
        let job = Self { folders };
        job.of("memory").is_some().then_some(job)
    }

    /// Sets its limits.
    pub(super) fn limit(&self, limits: &JobLimits) -> io::Result<()> {
        self.folders.iter().try_for_each(|(hierarchy, _)| limit(hierarchy, limits))
    }

    /// Opens what a process writes to in order to join.
    pub(super) fn doors(&self) -> io::Result<Vec<OwnedFd>> {
        self.own_folders()
            .map(|folder| Ok(fs::OpenOptions::new().write(true).open(folder.join("cgroup.procs"))?.into()))
            .collect()
    }

    fn own_folders(&self) -> impl Iterator<Item = &Path> {
        self.folders.iter().filter(|(_, own)| *own).map(|(hierarchy, _)| hierarchy.folder.as_path())
    }

    fn of(&self, controller: &str) -> Option<&Hierarchy> {
        self.folders
            .iter()
            .map(|(hierarchy, _)| hierarchy)
            .find(|hierarchy| hierarchy.controller == controller)
    }

    /// How many processes the kernel has killed here for want of memory.
    pub(in super::super) fn oom_kills(&self) -> u64 {
        let Some(memory) = self.of("memory") else { return 0 };
        let file = match memory.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        field(&memory.folder.join(file), "oom_kill").unwrap_or(0)
    }

    /// The most memory that was charged at once.
    pub(in super::super) fn peak_memory_bytes(&self) -> Option<u64> {
        let memory = self.of("memory")?;
        match memory.version {
            Version::One => number(&memory.folder.join("memory.max_usage_in_bytes")),
            Version::Two => number(&memory.folder.join("memory.peak")),
        }
    }

    /// CPU time used so far.
    pub(in super::super) fn cpu_ms(&self) -> Option<u64> {
        if let Some(accounting) = self.of(ACCOUNTING) {
            return Some(number(&accounting.folder.join("cpuacct.usage"))? / 1_000_000);
        }
        let cpu = self.of("cpu").filter(|cpu| cpu.version == Version::Two)?;
        Some(field(&cpu.folder.join("cpu.stat"), "usage_usec")? / 1000)
    }

    /// SIGKILL to every process in it.
    pub(super) fn kill(&self) {
        for folder in self.own_folders() {
            kill_all(folder);
        }
    }

    /// Removes it, when the last of its processes is gone.
    pub(super) async fn remove(self) {
        let deadline = tokio::time::Instant::now() + REMOVE_DEADLINE;
        for folder in self.own_folders() {
            while let Err(error) = fs::remove_dir(folder) {
                if error.kind() == io::ErrorKind::NotFound {
                    break;
                }
                if tokio::time::Instant::now() >= deadline {
                    tracing::warn!(folder = %folder.display(), %error, "a job's control group stays behind");
                    break;
                }
                kill_all(folder);
                tokio::time::sleep(REMOVE_PERIOD).await;
            }
        }
    }
}

fn kill_all(folder: &Path) {
    if fs::write(folder.join("cgroup.kill"), "1").is_ok() {
        return; // version 2, from Linux 5.14 on
    }
    let Ok(pids) = fs::read_to_string(folder.join("cgroup.procs")) else { return };
    for pid in pids.lines().filter_map(|line| line.parse().ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL); // it may have ended meanwhile
    }
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn field(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn runners_that_come_and_go_never_have_the_same_groups_at_once() {
        const RUNNERS: u32 = 4;
        const ROUNDS: u32 = 200;
        let name = format!("rgrid-test-{}", std::process::id());
        let (holders, had) = (AtomicU32::new(0), AtomicU32::new(0));
        let come_and_go = || {
            for round in 0..ROUNDS {
                let Groups::Ours(groups) = Cgroups::make(&name) else { continue };
                if groups._lock.is_none() {
                    return;
                }
                assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "somebody else has them");
                let there = groups.hierarchies.iter().all(|hierarchy| hierarchy.folder.is_dir());
                assert!(there, "in round {round} one of them is gone");
                had.fetch_add(1, Ordering::SeqCst);
                holders.fetch_sub(1, Ordering::SeqCst);
                groups.remove();
            }
        };
        std::thread::scope(|scope| (0..RUNNERS).for_each(|_| drop(scope.spawn(come_and_go))));
        // Where no groups can be made there is nothing to share.
        let can = matches!(Cgroups::make(&name), Groups::Ours(groups) if { groups.remove(); true });
        assert_eq!(had.into_inner() > 0, can);
    }
}
