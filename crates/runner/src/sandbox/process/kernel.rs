//! The few kernel calls that have no safe wrapper, each made safe to call. Nothing else here, so that this stays the
//! one file to read for soundness.
#![expect(unsafe_code, reason = "fork, pre_exec, capset and seccomp have no safe wrapper in nix or std")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::libc;
use nix::unistd::{ForkResult, Pid};

/// Keeps the right to end processes of other users.
pub(super) const CAP_KILL: u32 = 5;

/// What a child does between fork and exec, on the host's side.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// Descriptors that stay open over the exec.
    pub(super) inherit: Vec<OwnedFd>,
    /// `cgroup.procs` files to join.
    pub(super) cgroups: Vec<OwnedFd>,
    /// Namespaces to enter, in this order, each with its `CLONE_NEW*` kind.
    pub(super) namespaces: Vec<(OwnedFd, libc::c_int)>,
}

/// Makes `command` pass through `entry` before it executes.
pub(super) fn enter_before_exec(command: &mut tokio::process::Command, entry: Entry) {
    let step = move || {
        for file in &entry.cgroups {
            // SAFETY: writes two bytes of a constant to a descriptor that `entry` owns.
            if unsafe { libc::write(file.as_raw_fd(), c"0\n".as_ptr().cast(), 2) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        for (file, kind) in &entry.namespaces {
            // SAFETY: a system call on a descriptor that `entry` owns; after fork there is one thread.
            if unsafe { libc::setns(file.as_raw_fd(), *kind) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        for file in &entry.inherit {
            // SAFETY: changes one flag of a descriptor that `entry` owns.
            if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls that are safe after fork; it neither allocates nor locks.
    unsafe { command.pre_exec(step) };
}

/// Takes over a descriptor that was inherited under this number.
///
/// Only for numbers this process was started with and has not taken over yet; a closed number is refused.
pub(super) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: reads one flag; a wrong number gives EBADF.
    if number <= 2 || unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the number is open, and the launcher takes each of its arguments over once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Forks. Refused when this process has more than one thread, which makes it safe.
pub(super) fn fork_alone() -> io::Result<ForkResult> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("the launcher has more than one thread"));
    }
    // SAFETY: with one thread no lock can be held by another one.
    unsafe { nix::unistd::fork() }.map_err(io::Error::from)
}

/// Keeps only these capabilities, and none that an exec could give back.
pub(super) fn keep_capabilities(kept: &[u32]) -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Set {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    let mut sets = [Set::default(); 2];
    for &capability in kept {
        let set = &mut sets[(capability / 32) as usize];
        set.effective |= 1 << (capability % 32);
        set.permitted |= 1 << (capability % 32);
    }
    // SAFETY: the kernel reads a header and two sets, laid out as capget(2) says.
    if unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Empties the capability bounding set: no program executed later can have one.
pub(super) fn empty_bounding_set() -> io::Result<()> {
    for capability in 0..64 {
        // SAFETY: takes integers only.
        let present = unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) };
        if present < 0 {
            return Ok(()); // beyond the last capability this kernel knows
        }
        // SAFETY: takes integers only.
        if present == 1 && unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Puts a system call filter on this process for good.
pub(super) fn install_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let length =
        u16::try_from(program.len()).map_err(|_| io::Error::other("the system call filter is too long"))?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `len` instructions from `filter`, which outlives the call.
    if unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Lets every descriptor above stderr close at the next exec.
pub(super) fn close_rest_on_exec() -> io::Result<()> {
    // SAFETY: takes integers only, and changes flags only.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) } == 0 {
        return Ok(());
    }
    // Before Linux 5.11: one by one.
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
        if let Some(number) = number.filter(|number| *number > 2) {
            // SAFETY: changes one flag; a number that is closed by now gives EBADF.
            unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

/// Gives every signal its default effect.
pub(super) fn default_signals() {
    for number in 1..=64 {
        // SAFETY: installs no handler; SIGKILL, SIGSTOP and unknown numbers give EINVAL.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}

/// Reaps one child that has ended, or waits for one. None when there is none.
///
/// Not nix's: that one fails, after reaping, on the end by a real-time signal.
pub(super) fn reap_one(wait: bool) -> Option<(Pid, ExitStatus)> {
    loop {
        let mut status = 0;
        // SAFETY: writes one integer.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, if wait { 0 } else { libc::WNOHANG }) };
        match pid {
            1.. => return Some((Pid::from_raw(pid), ExitStatus::from_raw(status))),
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            _ => return None,
        }
    }
}

/// A descriptor of a process: it can be read when the process has ended, and is of no other one that has its number.
pub(in super::super) fn open_process(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: takes integers only.
    let number = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    let number = RawFd::try_from(number).map_err(io::Error::other)?;
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// SIGKILL to a process that was opened.
pub(in super::super) fn kill_process(process: &impl AsRawFd) -> io::Result<()> {
    let nothing = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: takes integers and a null pointer.
    let done =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), libc::SIGKILL, nothing, 0) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
