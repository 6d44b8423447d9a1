//! What the runner tells the launcher and what the launcher answers. Both ends in one file.
//!
//! The plan travels over a socket, never in arguments or environment variables: those are in the process list, and
//! `LD_PRELOAD` of a job must not reach bubblewrap.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// All that the launcher needs to start the job's program.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    /// The program and its arguments.
    pub(super) command: Vec<OsString>,
    /// All its environment.
    pub(super) environment: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub(super) cwd: OsString,
    /// What is taken from the permission bits of new files.
    pub(super) umask: u32,
    /// The user and group to become; as an ordinary user there is nothing to change.
    pub(super) user: Option<(u32, u32)>,
    /// RLIMIT_NPROC.
    pub(super) processes: u64,
    /// RLIMIT_FSIZE.
    pub(super) file_bytes: u64,
    /// CPUs to run on, where no cgroup limits them; empty for all.
    pub(super) cpus: Vec<usize>,
    /// Folders of `/` that stay read-only.
    pub(super) read_only: Vec<PathBuf>,
}

/// A line from the launcher.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Report {
    /// The job's program runs.
    Started,
    /// It could not be started.
    Failed {
        /// What was being done.
        step: String,
        /// What the kernel said.
        errno: i32,
    },
    /// It ended, and nothing of it is left.
    Ended {
        /// Its exit code, unless a signal ended it.
        code: Option<u8>,
        /// The signal that ended it.
        signal: Option<u8>,
        /// CPU time of all its processes.
        cpu_ms: u64,
        /// The most memory one of its processes had resident.
        peak_bytes: u64,
        /// What lay in shared memory at the end.
        shared_bytes: u64,
    },
}

/// A byte to the launcher; the end of the stream means that the job must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Order {
    /// SIGINT to the job's main process.
    Interrupt,
    /// SIGTERM to every process.
    Terminate,
}

impl Order {
    /// Its byte on the wire.
    pub(in super::super) fn as_byte(self) -> u8 {
        match self {
            Self::Interrupt => b'I',
            Self::Terminate => b'T',
        }
    }

    /// The order of a byte.
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Interrupt, Self::Terminate].into_iter().find(|order| order.as_byte() == byte)
    }
}

/// An [`OsString`] cannot hold a NUL for the kernel: says which one does.
pub(super) fn c_string(text: &std::ffi::OsStr) -> std::io::Result<std::ffi::CString> {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::CString::new(text.as_bytes()).map_err(|_| std::io::Error::from_raw_os_error(nix::libc::EINVAL))
}
