//! A job's file system is mounted where only the runner sees it. For the moment in which a container takes its mounts
//! from it, the engine must see it too.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::linux::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// The engine's process, for its name spaces.
#[derive(Debug)]
pub(super) struct Place {
    mounts: File,
    /// It sees the same mounts as we.
    same_mounts: bool,
    /// It is in the same network as we.
    pub(super) same_network: bool,
}

impl Place {
    /// Of the engine that listens at this socket.
    pub(super) fn of(socket: &Path) -> io::Result<Self> {
        let pid = getsockopt(&UnixStream::connect(socket)?, PeerCredentials)?.pid();
        let same = |kind: &str| -> io::Result<bool> {
            let theirs = fs::read_link(format!("/proc/{pid}/ns/{kind}"))?;
            Ok(theirs == fs::read_link(format!("/proc/thread-self/ns/{kind}"))?)
        };
        Ok(Self {
            mounts: File::open(format!("/proc/{pid}/ns/mnt"))?,
            same_mounts: same("mnt")?,
            same_network: same("net")?,
        })
    }

    /// Lets the engine see the file system that is mounted at `point`, until the result is dropped.
    pub(super) fn show(&self, point: &Path) -> io::Result<Option<Shown>> {
        if self.same_mounts {
            return Ok(None);
        }
        let device = device_of(point)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let at = point.to_owned();
        let nothing: Option<&str> = None;
        self.within(move || Ok(mount(Some(&device), &at, Some("ext4"), flags, nothing)?))?;
        Ok(Some(Shown { mounts: self.mounts.try_clone()?, point: point.to_owned() }))
    }

    /// Takes away what a killed runner still showed below `folder`.
    pub(super) fn hide_below(&self, folder: &Path) -> io::Result<()> {
        if self.same_mounts {
            return Ok(());
        }
        let folder = folder.to_owned();
        self.within(move || {
            let listed = fs::read_to_string("/proc/thread-self/mountinfo")?;
            let points = listed.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
            points.filter(|point| point.starts_with(&folder)).for_each(|point| hide(&point));
            Ok(())
        })
    }

    fn within(&self, work: impl FnOnce() -> io::Result<()> + Send) -> io::Result<()> {
        within(&self.mounts, work)
    }
}

/// Does something among the mounts of another process.
fn within(mounts: &File, work: impl FnOnce() -> io::Result<()> + Send) -> io::Result<()> {
    std::thread::scope(|scope| {
        // A thread that went elsewhere is of no other use.
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_FS)?;
            setns(mounts.as_fd(), CloneFlags::CLONE_NEWNS)?;
            work()
        });
        thread.join().map_err(|_| io::Error::other("the thread among the engine's mounts panicked"))?
    })
}

/// The block device of the file system at `point`.
fn device_of(point: &Path) -> io::Result<PathBuf> {
    let device = fs::metadata(point)?.st_dev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let link = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}"))?;
    let name = link.file_name().ok_or(io::ErrorKind::NotFound)?;
    Ok(Path::new("/dev").join(name))
}

fn hide(point: &Path) {
    if let Err(error) = umount2(point, MntFlags::MNT_DETACH) {
        tracing::warn!(%error, point = %point.display(), "the engine goes on seeing a job's file system");
    }
}

/// What the engine sees for now. A container that has it mounted by then keeps it.
#[derive(Debug)]
pub(super) struct Shown {
    mounts: File,
    point: PathBuf,
}

impl Drop for Shown {
    fn drop(&mut self) {
        let _ = within(&self.mounts, || {
            hide(&self.point);
            Ok(())
        });
    }
}
