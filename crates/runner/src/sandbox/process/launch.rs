//! What runs inside the sandbox before the job's program, and beside it: process 1 of its namespace.
//!
//! It drops to the job's user, puts the last restrictions on, starts the program, passes signals on, reaps what is
//! left behind, and reports the program's own end: a shell's 128+n would hide whether a signal or a code ended it.
//! When it exits, the kernel kills everything in the namespace.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, UsageWho, getrusage, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::Mode;
use nix::unistd::{ForkResult, Gid, Pid, Uid};

use super::plan::{Order, Plan, Report, c_string};
use super::{kernel, landlock, seccomp, standby, watch};
use crate::guards;

/// The first argument that makes a program a launcher.
pub const LAUNCH_ARGUMENT: &str = "sandbox-launch";

/// How much more likely than a system service a job is to be chosen when memory runs out.
const OOM_SCORE: &str = "500";

/// A step that failed, and what the kernel said.
type Failure = (&'static str, io::Error);

/// Does a launcher's work; `arguments` are those after [`LAUNCH_ARGUMENT`]. The result is the exit code.
pub fn launch_main(arguments: &[OsString]) -> i32 {
    match arguments.first().and_then(|first| first.to_str()) {
        Some("hold") => super::network::pasta::hold(),
        _ => match run(arguments) {
            Ok(()) => 0,
            Err(_) => 1, // the runner has the report, or is gone
        },
    }
}

fn run(arguments: &[OsString]) -> io::Result<()> {
    let number = arguments.first().and_then(|text| text.to_str()?.parse::<RawFd>().ok());
    let mut control = UnixStream::from(kernel::inherited(number.unwrap_or(-1))?);
    match standby::receive(&control).map_err(|source| ("read the plan", source)).and_then(start) {
        Ok((program, signals)) => {
            send(&mut control, &Report::Started)?;
            attend(&mut control, program, &signals)
        }
        Err((step, source)) => {
            let errno = source.raw_os_error().unwrap_or(nix::libc::EIO);
            send(&mut control, &Report::Failed { step: step.to_owned(), errno })
        }
    }
}

fn send(control: &mut UnixStream, report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    control.write_all(&line)
}

/// Starts the job's program; returns its process and where SIGCHLD is read.
fn start((plan, stdio): (Plan, [OwnedFd; 3])) -> Result<(Pid, SignalFd), Failure> {
    let prepared = Prepared::new(plan, stdio)?;
    let mut child_signals = SigSet::empty();
    child_signals.add(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&child_signals), None)
        .map_err(|e| ("block signals", e.into()))?;
    let signals = SignalFd::with_flags(&child_signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|e| ("make a signal descriptor", e.into()))?;
    let (failed, failure) =
        nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|e| ("make a pipe", io::Error::from(e)))?;
    match kernel::fork_alone().map_err(|source| ("fork", source))? {
        ForkResult::Child => {
            drop(failed);
            let (step, source) = match prepared.become_the_program() {
                Ok(never) => match never {},
                Err(failure) => failure,
            };
            let mut failure = File::from(failure);
            let errno = source.raw_os_error().unwrap_or(nix::libc::EIO);
            // If even this fails the pipe ends empty and the exit code 127 is what is left to see.
            let _ = write!(failure, "{errno} {step}");
            std::process::exit(127);
        }
        ForkResult::Parent { child } => {
            // The job runs in another domain, mostly under another user; nobody may look into this process. Not
            // earlier: the child would inherit it and lose its own /proc/self.
            nix::sys::prctl::set_dumpable(false).map_err(|e| ("protect the launcher", e.into()))?;
            drop(failure);
            drop(prepared);
            let mut said = String::new();
            File::from(failed)
                .read_to_string(&mut said)
                .map_err(|source| ("read the child's report", source))?;
            if let Some((errno, step)) = said.split_once(' ') {
                let source = io::Error::from_raw_os_error(errno.parse().unwrap_or(nix::libc::EIO));
                return Err((STEPS.iter().find(|known| **known == step).copied().unwrap_or("start"), source));
            }
            if Uid::effective().is_root() {
                kernel::keep_capabilities(&[kernel::CAP_KILL])
                    .map_err(|source| ("drop capabilities", source))?;
            }
            Ok((child, signals))
        }
    }
}

/// Everything made ready before the fork.
struct Prepared {
    plan: Plan,
    stdio: [OwnedFd; 3],
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    cwd: CString,
    rules: ::landlock::RulesetCreated,
    filter: Vec<nix::libc::sock_filter>,
}

/// The steps of [`Prepared::become_the_program`], as they are reported.
const STEPS: &[&str] = &[
    "start a session",
    "set up the standard streams",
    "set limits",
    "become the job's user",
    "enter the working directory",
    "restrict itself",
    "execute the program",
];

impl Prepared {
    fn new(plan: Plan, stdio: [OwnedFd; 3]) -> Result<Self, Failure> {
        let invalid = |source| ("read the plan", source);
        let arguments = plan
            .command
            .iter()
            .map(|text| c_string(text))
            .collect::<io::Result<Vec<_>>>()
            .map_err(invalid)?;
        let program = arguments
            .first()
            .cloned()
            .ok_or(("read the plan", io::Error::from(io::ErrorKind::InvalidInput)))?;
        let environment = plan
            .environment
            .iter()
            .map(|(name, value)| {
                let mut entry = name.clone();
                entry.push("=");
                entry.push(value);
                c_string(&entry)
            })
            .collect::<io::Result<Vec<_>>>()
            .map_err(invalid)?;
        let cwd = c_string(&plan.cwd).map_err(invalid)?;
        let root = std::fs::metadata("/").map_err(|source| ("look at the root", source))?;
        let uid = plan.user.map_or(Uid::effective().as_raw(), |(uid, _)| uid);
        let writable = (root.uid() == uid && root.mode() & 0o200 != 0) || root.mode() & 0o002 != 0;
        let rules = landlock::rules(&plan.read_only, writable)
            .map_err(|source| ("prepare its restrictions", io::Error::other(source)))?;
        Ok(Self { plan, stdio, program, arguments, environment, cwd, rules, filter: seccomp::program() })
    }

    /// Runs in the child; returns only when a step failed.
    fn become_the_program(self) -> Result<std::convert::Infallible, Failure> {
        fn step<T, E: Into<io::Error>>(index: usize, result: Result<T, E>) -> Result<T, Failure> {
            result.map_err(|source| (STEPS[index], source.into()))
        }
        step(0, nix::unistd::setsid())?;
        let [stdin, stdout, stderr] = &self.stdio;
        step(1, nix::unistd::dup2_stdin(stdin))?;
        step(1, nix::unistd::dup2_stdout(stdout))?;
        step(1, nix::unistd::dup2_stderr(stderr))?;
        step(1, kernel::close_rest_on_exec())?;
        step(2, self.set_limits())?;
        if let Some((uid, gid)) = self.plan.user {
            step(3, kernel::empty_bounding_set())?;
            step(3, nix::unistd::setgroups(&[]))?;
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            step(3, nix::unistd::setresgid(gid, gid, gid))?;
            step(3, nix::unistd::setresuid(uid, uid, uid))?;
        }
        step(3, kernel::keep_capabilities(&[]))?;
        step(3, nix::sys::prctl::set_no_new_privs())?;
        step(4, nix::unistd::chdir(self.cwd.as_c_str()))?;
        if guards::holds(&guards::LANDLOCK) {
            step(5, self.rules.restrict_self().map_err(io::Error::other))?;
        }
        if guards::holds(&guards::SECCOMP) {
            step(5, kernel::install_filter(&self.filter))?;
        }
        // The grid's own files are nobody else's business; a script's are made as in its user's shell.
        nix::sys::stat::umask(Mode::from_bits_truncate(self.plan.umask));
        step(6, restore_signals())?;
        step(6, nix::unistd::execve(&self.program, &self.arguments, &self.environment))
    }

    fn set_limits(&self) -> io::Result<()> {
        // Readable by the job as its own process; the launcher stays as it is and is not chosen.
        std::fs::write("/proc/self/oom_score_adj", OOM_SCORE)?;
        lower(Resource::RLIMIT_CORE, 0)?;
        if guards::holds(&guards::PROCESS_LIMIT) {
            lower(Resource::RLIMIT_NPROC, self.plan.processes)?;
        }
        lower(Resource::RLIMIT_FSIZE, self.plan.file_bytes)?;
        if !self.plan.cpus.is_empty() {
            let mut set = nix::sched::CpuSet::new();
            for &cpu in &self.plan.cpus {
                set.set(cpu)?;
            }
            nix::sched::sched_setaffinity(Pid::from_raw(0), &set)?;
        }
        Ok(())
    }
}

/// Sets both limits of a resource, never above what this process has.
fn lower(resource: Resource, value: u64) -> io::Result<()> {
    let (_, hard) = nix::sys::resource::getrlimit(resource)?;
    let value = value.min(hard);
    Ok(setrlimit(resource, value, value)?)
}

/// The program starts with the signals of a fresh process: Rust ignores SIGPIPE, Python must not inherit that.
fn restore_signals() -> nix::Result<()> {
    kernel::default_signals();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

/// Passes orders on and reaps, until the program has ended and nothing of it is left.
fn attend(control: &mut UnixStream, program: Pid, signals: &SignalFd) -> io::Result<()> {
    loop {
        let mut ready = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(control.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut ready, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ordered = ready[1].any().unwrap_or(false);
        while let Ok(Some(_)) = signals.read_signal() {}
        if let Some(end) = reap(program) {
            return send(control, &end_everything(end));
        }
        if ordered && !obey(control, program)? {
            return Ok(()); // the runner is gone; this exit ends the job
        }
    }
}

/// Reaps what has ended; returns how the program did, when it is among them.
fn reap(program: Pid) -> Option<ExitStatus> {
    let mut end = None;
    while let Some((pid, status)) = kernel::reap_one(false) {
        if pid == program {
            end = Some(status);
        }
    }
    end
}

/// Reads one order. False at the end of the stream.
fn obey(control: &mut UnixStream, program: Pid) -> io::Result<bool> {
    let mut byte = [0];
    if control.read(&mut byte)? == 0 {
        return Ok(false);
    }
    // The target may have ended this instant; then there is nothing to pass on.
    let _ = match Order::from_byte(byte[0]) {
        Some(Order::Interrupt) => kill(program, Signal::SIGINT),
        Some(Order::Terminate) => kill(Pid::from_raw(-1), Signal::SIGTERM),
        None => Ok(()),
    };
    Ok(true)
}

/// Kills and reaps what the program left behind, so that its time and memory are counted, and reports.
fn end_everything(end: ExitStatus) -> Report {
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL); // fails when nothing is left
    while kernel::reap_one(true).is_some() {}
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).ok();
    let milliseconds = |time: nix::sys::time::TimeVal| time.tv_sec() * 1000 + time.tv_usec() / 1000;
    let cpu = usage.map_or(0, |usage| milliseconds(usage.user_time()) + milliseconds(usage.system_time()));
    let peak = usage.map_or(0, |usage| usage.max_rss() * 1024);
    Report::Ended {
        code: end.code().and_then(|code| u8::try_from(code).ok()),
        signal: end.signal().and_then(|signal| u8::try_from(signal).ok()),
        cpu_ms: u64::try_from(cpu).unwrap_or(0),
        peak_bytes: u64::try_from(peak).unwrap_or(0),
        shared_bytes: watch::used_bytes(Path::new("/dev/shm")),
    }
}
