//! Hard limits of disk: a workspace lies on a file system of its own, in a sparse file that the kernel shows as a block
//! device. What a job may not use of it a file of ours takes up, the ballast, which can be made bigger and smaller in a
//! moment: so one file system serves attempts of many sizes, one after the other.
//!
//! The mounts are in a namespace that this process does not share, and the files have no names: when the runner is
//! killed, the kernel takes all of it away.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::fcntl::{FallocateFlags, fallocate};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::fstatvfs;

use super::loop_device;
use crate::guards;
use crate::remove::remove_tree;

/// The smallest file system; bigger ones double.
const CLASS_BYTES_MIN: u64 = 1 << 30;
/// Room for the file system's own tables, beside a sixteenth of its size.
const TABLES_BYTES: u64 = 64 << 20;
/// Bytes for each file there can be: a script that writes small ones runs out of bytes first.
const BYTES_PER_INODE: &str = "8192";
/// No journal, for nothing of it outlives its job.
const FEATURES: &str = "^has_journal,^resize_inode";
/// Nothing is written in the background, and a flush need not reach the disk.
const MOUNT_OPTIONS: &str = "noinit_itable,nobarrier";
/// A limit is met to this much: less would move the ballast for every folder that is made.
const TOLERANCE_BYTES: u64 = 256 << 10;
/// A file system that took more than this of the machine's disk is made anew instead of kept.
const KEPT_BYTES_MAX: u64 = 64 << 20;
/// What the ballast is called.
const BALLAST: &str = ".rgrid-ballast";
/// Where administrators' programs lie, which services' PATH may lack.
const SYSTEM_PATH: &str = "/usr/sbin:/sbin:/usr/bin:/bin";

/// Gives this process a mount namespace of its own, so that what it mounts goes with it. To be called while it has one
/// thread. False when the system does not let it.
#[must_use]
pub fn keep_mounts_to_itself() -> bool {
    let nothing: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).is_ok()
        && mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_SLAVE, nothing).is_ok()
}

/// Why the disk of jobs cannot be limited hard on this machine, as far as that is seen without trying: a fragment.
#[must_use]
pub fn no_hard_disk() -> Option<&'static str> {
    if !nix::unistd::Uid::effective().is_root() {
        Some("only root can mount a file system for each")
    } else if mkfs().is_none() {
        Some("mkfs.ext4 is missing; apt-get install e2fsprogs")
    } else if !Path::new("/dev/loop-control").exists() {
        Some("this machine has no loop devices")
    } else {
        None
    }
}

fn mkfs() -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(SYSTEM_PATH.split(':')).map(Path::new);
    folders.map(|folder| folder.join("mkfs.ext4")).find(|file| file.is_file())
}

/// The file systems of a runner.
#[derive(Debug)]
pub(in super::super) struct Disks {
    folder: PathBuf,
    mkfs: PathBuf,
    numbers: AtomicU64,
    free: Mutex<Vec<FileSystem>>,
    free_max: usize,
}

impl Disks {
    /// Makes the first one; fails with a fragment that says why there can be none.
    pub(in super::super) fn open(
        data_folder: &Path,
        slots: u32,
        own_mounts: bool,
    ) -> Result<Arc<Self>, String> {
        if let Some(why) = no_hard_disk() {
            return Err(why.to_owned());
        }
        if !own_mounts {
            return Err("mounts would outlive a runner that is killed".to_owned());
        }
        let folder = data_folder.join("sandbox").join("disks");
        // A killed runner's mounts went with it; its empty folders did not.
        remove_tree(&folder);
        let open = || -> io::Result<Arc<Self>> {
            fs::DirBuilder::new().recursive(true).mode(0o711).create(&folder)?;
            let mkfs = mkfs().ok_or(io::ErrorKind::NotFound)?;
            let free_max = slots as usize;
            let disks = Self { folder, mkfs, numbers: AtomicU64::new(0), free: Mutex::default(), free_max };
            let first = disks.make(class(rgrid_core::limits::DISK_BYTES))?;
            disks.lock().push(first);
            Ok(Arc::new(disks))
        };
        open().map_err(|error| format!("no file system can be mounted: {error}"))
    }

    /// Whether something lies on one of these.
    pub(in super::super) fn holds(&self, path: &Path) -> bool {
        path.starts_with(&self.folder)
    }

    /// The folder on the machine's own disk in which all of them are.
    pub(in super::super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// An empty file system with room for `bytes`.
    pub(in super::super) fn take(&self, bytes: u64) -> io::Result<FileSystem> {
        let known = {
            let mut free = self.lock();
            let fits = free.iter().position(|disk| disk.class == class(bytes));
            fits.map(|index| free.swap_remove(index))
        };
        let mut disk = known.map_or_else(|| self.make(class(bytes)), Ok)?;
        disk.bound(bytes)?;
        Ok(disk)
    }

    /// Takes one back. It is empty.
    pub(in super::super) fn give_back(&self, disk: FileSystem) {
        let kept = disk.taken_bytes().is_ok_and(|bytes| bytes <= KEPT_BYTES_MAX);
        let dropped = {
            let mut free = self.lock();
            match kept {
                false => Some(disk),
                true => {
                    free.push(disk);
                    // One of another size goes before one that was just used.
                    (free.len() > self.free_max).then(|| free.remove(0))
                }
            }
        };
        drop(dropped); // unmounts, which takes a while: without the lock
    }

    /// Unmounts those that nobody uses.
    pub(in super::super) fn close(&self) {
        let free = std::mem::take(&mut *self.lock());
        drop(free);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<FileSystem>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, class: u64) -> io::Result<FileSystem> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let point = self.folder.join(number.to_string());
        let path = self.folder.join(format!("{number}.img"));
        let image = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let named = Named(&path);
        image.set_len(class + class / 16 + TABLES_BYTES)?;
        self.format(&path)?;
        let (device, attached) = loop_device::attach(&image)?;
        drop(named);
        fs::DirBuilder::new().mode(0o711).create(&point)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some(&device), &point, Some("ext4"), flags, Some(MOUNT_OPTIONS))?;
        drop(attached);
        let ballast = || -> io::Result<File> {
            // A script's root folder is the only one that lies here.
            fs::remove_dir(point.join("lost+found"))?;
            File::options().read(true).write(true).create_new(true).mode(0o600).open(point.join(BALLAST))
        };
        match ballast() {
            Ok(ballast) => Ok(FileSystem { class, point, image, ballast }),
            Err(error) => {
                unmount(&point);
                Err(error)
            }
        }
    }

    fn format(&self, path: &Path) -> io::Result<()> {
        let made = Command::new(&self.mkfs)
            .args(["-q", "-F", "-m", "0", "-i", BYTES_PER_INODE, "-O", FEATURES])
            .args(["-E", "lazy_itable_init=1,nodiscard"])
            .arg(path)
            .stdin(Stdio::null())
            .output()?;
        if made.status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!("mkfs.ext4: {}", String::from_utf8_lossy(&made.stderr).trim())))
    }
}

/// A file that has its name only until somebody holds it.
struct Named<'a>(&'a Path);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0); // what stays goes with the folder at the next start
    }
}

/// The size of the file system that serves this limit, in bytes.
fn class(bytes: u64) -> u64 {
    bytes.checked_next_power_of_two().unwrap_or(bytes).max(CLASS_BYTES_MIN)
}

/// One mounted file system.
#[derive(Debug)]
pub(in super::super) struct FileSystem {
    class: u64,
    point: PathBuf,
    image: File,
    ballast: File,
}

impl FileSystem {
    /// Where it is mounted.
    pub(in super::super) fn folder(&self) -> &Path {
        &self.point
    }

    /// Whether it can have exactly this much room.
    pub(in super::super) fn fits(&self, bytes: u64) -> bool {
        self.class == class(bytes)
    }

    /// Leaves room for `bytes` more, and for no more.
    pub(in super::super) fn bound(&mut self, bytes: u64) -> io::Result<()> {
        let found = fstatvfs(&self.ballast)?;
        let ballast = self.ballast.metadata()?.blocks() * 512;
        let free = found.blocks_available() * found.fragment_size();
        let wanted = (free + ballast).saturating_sub(bytes);
        if wanted.abs_diff(ballast) <= TOLERANCE_BYTES || !guards::holds(&guards::DISK_LIMIT) {
            return Ok(());
        }
        if wanted < ballast {
            self.ballast.set_len(wanted)?;
        }
        let length = i64::try_from(wanted).map_err(io::Error::other)?;
        if length > 0 {
            fallocate(&self.ballast, FallocateFlags::empty(), 0, length)?;
        }
        Ok(())
    }

    /// What it takes of the machine's disk.
    fn taken_bytes(&self) -> io::Result<u64> {
        Ok(self.image.metadata()?.blocks() * 512)
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        unmount(&self.point);
    }
}

/// At the latest when the last that uses it ends.
fn unmount(point: &Path) {
    if let Err(error) = umount2(point, MntFlags::MNT_DETACH) {
        tracing::warn!(%error, point = %point.display(), "a job's file system stays mounted");
        return;
    }
    let _ = fs::remove_dir(point); // an empty folder does no harm
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_much_the_same_size_share_a_class() {
        assert_eq!(class(1), 1 << 30);
        assert_eq!(class(1 << 30), 1 << 30);
        assert_eq!(class((1 << 30) + 1), 2 << 30);
        assert_eq!(class(20 << 30), 32 << 30);
        assert_eq!(class(u64::MAX), u64::MAX);
    }
}
