//! What a container that runs already is given: folders and files of the host, mounted in its own name space, each at its
//! place. A container's mounts are otherwise decided when it is made, which is before its job is known.
//!
//! A mount is copied here, where its path is ours to trust, and only the copy is taken inside. Inside, each place is looked
//! up below the container's root, without following what leads out of it; and nothing of a job runs there yet.
#![expect(unsafe_code, reason = "three system calls on mounts have no safe wrapper in nix")]

use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstat, mkdirat, mknodat};
use nix::unistd::Pid;

use super::mounts::Bind;

/// No right comes from what is mounted: not to become somebody, not to use a device.
const RIGHTLESS: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

/// The name spaces of a container.
#[derive(Debug)]
pub(super) struct Inside {
    mounts: File,
    network: OwnedFd,
}

impl Inside {
    /// Those of a process, which `process` was opened as.
    pub(super) fn of(first: Pid, process: &OwnedFd) -> io::Result<Self> {
        let space = |kind: &str| File::open(format!("/proc/{first}/ns/{kind}"));
        let (mounts, network) = (space("mnt")?, space("net")?);
        // The number is its own as long as it lives; ours would be a host's.
        let own = fs::metadata("/proc/thread-self/ns/mnt")?;
        let theirs = fstat(&mounts)?;
        if has_ended(process) || std::os::unix::fs::MetadataExt::ino(&own) == theirs.st_ino {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        Ok(Self { mounts, network: network.into() })
    }

    /// Its network.
    pub(super) fn network(&self) -> io::Result<OwnedFd> {
        self.network.try_clone()
    }

    /// Mounts all of these, outer ones first.
    pub(super) fn mount(&self, binds: &[Bind]) -> io::Result<()> {
        let mut binds: Vec<&Bind> = binds.iter().collect();
        binds.sort_by_key(|bind| bind.inside.components().count());
        let copies = binds
            .into_iter()
            .map(|bind| Ok((copy(bind)?, bind.host.is_dir(), bind.inside.as_path())))
            .collect::<io::Result<Vec<_>>>()?;
        std::thread::scope(|scope| {
            // A thread that went elsewhere is of no other use.
            let thread = scope.spawn(|| {
                unshare(CloneFlags::CLONE_FS)?;
                setns(self.mounts.as_fd(), CloneFlags::CLONE_NEWNS)?;
                attach(&copies)
            });
            thread.join().map_err(|_| io::Error::other("the thread inside a container panicked"))?
        })
    }
}

/// Whether a process that was opened has ended.
pub(super) fn has_ended(process: &impl AsFd) -> bool {
    let mut polled = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::ZERO) != Ok(0)
}

/// A copy of the mount in which a path lies, from that path on, as a container may have it.
fn copy(bind: &Bind) -> io::Result<OwnedFd> {
    let path = CString::new(bind.host.as_os_str().as_bytes())?;
    let copy = open_tree(libc::AT_FDCWD, &path, 0)?;
    let read_only = if bind.writable { 0 } else { libc::MOUNT_ATTR_RDONLY };
    change(&copy, RIGHTLESS | read_only, 0)?;
    Ok(copy)
}

/// Puts each copy at its place below the root of this thread.
fn attach(copies: &[(OwnedFd, bool, &Path)]) -> io::Result<()> {
    let root: OwnedFd = File::open("/")?.into();
    // The root is read-only for who is inside, not the file system behind it: places are made there.
    let writable = open_tree(root.as_raw_fd(), c"", libc::AT_EMPTY_PATH)?;
    change(&writable, 0, libc::MOUNT_ATTR_RDONLY)?;
    for (copy, is_folder, inside) in copies {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", inside.display()));
        make_place(&root, &writable, inside, *is_folder).map_err(named)?;
        let place = look_up(&root, inside).map_err(named)?;
        put(copy, &place).map_err(named)?;
    }
    Ok(())
}

/// Makes sure that there is something at a path to mount on.
fn make_place(root: &OwnedFd, writable: &OwnedFd, inside: &Path, is_folder: bool) -> io::Result<()> {
    match look_up(root, inside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found.map(drop),
    }
    let (Some(above), Some(name)) = (inside.parent(), inside.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    make_place(root, writable, above, true)?;
    match make(&look_up(root, above)?, name, is_folder) {
        Err(Errno::EROFS) => Ok(make(&look_up(writable, above)?, name, is_folder)?),
        made => Ok(made?),
    }
}

/// Makes an empty folder or file that everybody may look at.
fn make(above: &OwnedFd, name: &OsStr, is_folder: bool) -> nix::Result<()> {
    let mode = Mode::from_bits_truncate(if is_folder { 0o755 } else { 0o644 });
    if is_folder {
        mkdirat(above, name, mode)?;
    } else {
        mknodat(above, name, SFlag::S_IFREG, mode, 0)?;
    }
    fchmodat(above, name, mode, FchmodatFlags::FollowSymlink)
}

/// Opens what is at a path below a root, as somebody would find it whose root that is.
fn look_up(root: &OwnedFd, inside: &Path) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    Ok(openat2(root, inside, how)?)
}

/// `open_tree(2)` of one mount, as a copy that is nowhere yet.
fn open_tree(folder: RawFd, path: &CStr, flags: i32) -> io::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | flags.unsigned_abs();
    // SAFETY: reads a path that ends in a NUL; a wrong descriptor gives EBADF.
    let number = unsafe { libc::syscall(libc::SYS_open_tree, folder, path.as_ptr(), flags) };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    let number = RawFd::try_from(number).map_err(io::Error::other)?;
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// `mount_setattr(2)`: sets and clears attributes of a copy, which shares no later mount with anybody.
fn change(copy: &OwnedFd, set: u64, clear: u64) -> io::Result<()> {
    let attributes =
        libc::mount_attr { attr_set: set, attr_clr: clear, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    let length = size_of::<libc::mount_attr>();
    let (folder, flags) = (copy.as_raw_fd(), AtFlags::AT_EMPTY_PATH.bits());
    // SAFETY: the kernel reads `length` bytes of a structure that is so long, and an empty path.
    let done = unsafe {
        libc::syscall(libc::SYS_mount_setattr, folder, c"".as_ptr(), flags, &raw const attributes, length)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `move_mount(2)`: puts a copy at a place.
fn put(copy: &OwnedFd, place: &OwnedFd) -> io::Result<()> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    let (from, to, nothing) = (copy.as_raw_fd(), place.as_raw_fd(), c"".as_ptr());
    // SAFETY: takes two descriptors that are borrowed here, and empty paths.
    let done = unsafe { libc::syscall(libc::SYS_move_mount, from, nothing, to, nothing, flags) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
