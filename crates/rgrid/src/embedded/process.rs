//! Processes as the embedded grid needs them: known by more than a number, detached from whoever started them, or
//! tied to the life of their parent. Done with an entry of our own binary where others would run code between fork
//! and exec: that needs no unsafe code, and works with any number of threads.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write as _;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, getppid, setgid, setgroups, setsid, setuid};
use serde::{Deserialize, Serialize};

/// The hidden first argument that makes this binary tie itself to its parent and become another program.
pub(crate) const TIED: &str = "tied-exec";

/// How often we look whether a process has ended.
const LOOK: Duration = Duration::from_millis(5);

/// A process by number and start time: after its end, nobody else is mistaken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// In clock ticks since the boot, as the kernel counts them.
    pub(crate) started: u64,
}

impl Process {
    /// This process.
    pub(crate) fn ourselves() -> Option<Self> {
        Self::by_pid(i32::try_from(std::process::id()).ok()?)
    }

    /// The living process of that number.
    pub(crate) fn by_pid(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is a name in parentheses that may hold anything; the state follows the last one.
        let mut after_name = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = after_name.next()?;
        // Field 22 of the whole line, so the 19th after the state.
        let started = after_name.nth(18)?.parse().ok()?;
        // A zombie has ended: only its parent has not looked yet.
        if matches!(state, "Z" | "X") { None } else { Some(Self { pid, started }) }
    }

    /// True until it has ended.
    pub(crate) fn is_alive(self) -> bool {
        Self::by_pid(self.pid) == Some(self)
    }

    /// Sends a signal, if it is still there.
    pub(crate) fn signal(self, signal: Signal) {
        if self.is_alive() {
            // It may have ended in this moment, which is what signals are sent for.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// Waits until it has ended; false when it is still there after `patience`.
    pub(crate) fn wait(self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.is_alive() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }

    /// The program and its arguments.
    pub(crate) fn command_line(self) -> Vec<u8> {
        fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default()
    }
}

/// Leaves the session, the folder and every inherited descriptor of whoever started us, except the three standard
/// ones. `out=$(rgrid run x.py)` would else wait for the daemon.
pub(crate) fn detach() -> anyhow::Result<()> {
    // Refused only when we already lead a group, which a fresh child does not; then the session is not ours to leave.
    setsid()?;
    std::env::set_current_dir("/")?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let open: Vec<RawFd> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    for fd in open {
        // One of them was the listing itself, which is closed already.
        let _ = nix::unistd::close(fd);
    }
    Ok(())
}

/// A command that runs `program` under `account` (root only; `None` keeps ours) and gets `signal` when the calling
/// *thread* ends: call it from one that lives as long as the process.
pub(crate) fn tied(program: &OsStr, account: Option<(Uid, Gid)>, signal: Signal) -> Command {
    // The path through /proc stays right when an update replaces the file.
    let mut command = Command::new("/proc/self/exe");
    let (uid, gid) =
        account.map_or(("-".to_owned(), "-".to_owned()), |(u, g)| (u.to_string(), g.to_string()));
    command.arg0("rgrid").arg(TIED).arg(std::process::id().to_string()).arg((signal as i32).to_string());
    command.arg(uid).arg(gid).arg(program);
    command
}

/// What [`tied`] starts: becomes another account, ties itself to the parent, becomes the program. Returns only on
/// failure.
pub(crate) fn exec_tied(args: impl Iterator<Item = OsString>) -> ExitCode {
    // Whoever started us reads this in the log of the program it wanted.
    let _ = writeln!(std::io::stderr(), "rgrid {TIED}: {:#}", become_program(args));
    ExitCode::FAILURE
}

fn become_program(mut args: impl Iterator<Item = OsString>) -> anyhow::Error {
    let mut next = || args.next().and_then(|arg| arg.into_string().ok());
    let (parent, signal) = (next().and_then(|a| a.parse().ok()), next().and_then(|a| a.parse().ok()));
    let (uid, gid) = (next().and_then(|a| a.parse().ok()), next().and_then(|a| a.parse().ok()));
    let become_it = || -> anyhow::Result<()> {
        if let (Some(uid), Some(gid)) = (uid, gid) {
            setgroups(&[])?;
            setgid(Gid::from_raw(gid))?;
            setuid(Uid::from_raw(uid))?;
        }
        // After the change of account: that one clears it.
        prctl::set_pdeathsig(Signal::try_from(signal.unwrap_or(Signal::SIGTERM as i32))?)?;
        anyhow::ensure!(Some(getppid().as_raw()) == parent, "the parent has ended");
        Ok(())
    };
    if let Err(error) = become_it() {
        return error;
    }
    match args.next() {
        Some(program) => Command::new(program).args(args).exec().into(),
        None => anyhow::anyhow!("no program is named"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_time_too() {
        let ours = Process::ourselves().unwrap();
        assert!(ours.is_alive());
        assert!(!Process { started: ours.started + 1, ..ours }.is_alive());
    }

    #[test]
    fn a_zombie_counts_as_ended() {
        let mut child = Command::new("true").spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while Process::by_pid(child.id() as i32).is_some() {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }
}
