//! The way to process 1 of a container: a socket of our own, which it connects to as soon as it runs. Over it go the plan
//! (never in arguments, variables or the engine's records), the job's three streams themselves, orders and reports.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::Pid;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};

use super::super::JobSpec;
use super::super::process::seccomp;
use crate::guards;

/// Where process 1 finds it inside.
pub(super) const INSIDE: &str = "/run/rgrid/control";
/// Its name on the host.
const NAME: &str = "control";

/// A socket that waits for one container.
#[derive(Debug)]
pub(super) struct Listening {
    listener: UnixListener,
    path: PathBuf,
}

impl Listening {
    /// Listens in `folder`, which only we may enter, for processes of this user.
    pub(super) fn at(folder: &Path, (uid, gid): (u32, u32)) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let path = folder.join(NAME);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        // The kernel takes paths of 107 bytes: this one is short however long the folder's is.
        let opened = fs::File::open(folder)?;
        let short = format!("/proc/self/fd/{}/{NAME}", opened.as_raw_fd());
        let listener = UnixListener::bind(short)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        chown(&path, Some(uid), Some(gid))?;
        Ok(Self { listener, path })
    }

    /// Where it lies on the host.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the container; nobody can connect afterwards. Answers also its process 1, as the host numbers it.
    pub(super) async fn accept(self) -> io::Result<(UnixStream, Option<Pid>)> {
        let (stream, _) = self.listener.accept().await?;
        let first = stream.peer_cred()?.pid().map(Pid::from_raw);
        Ok((stream, first))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // the next one does it otherwise
    }
}

/// Tells process 1 what to run, and gives it the streams.
pub(super) async fn send(stream: &mut UnixStream, job: &JobSpec, environment: &[Vec<u8>]) -> io::Result<()> {
    let plan = plan(job, environment)?;
    let length = (plan.len() as u64).to_le_bytes();
    let streams: [&OwnedFd; 3] = [&job.stdin, &job.stdout, &job.stderr];
    let numbers = streams.map(AsRawFd::as_raw_fd);
    stream
        .async_io(tokio::io::Interest::WRITABLE, || {
            let rights = [ControlMessage::ScmRights(&numbers)];
            let parts = [IoSlice::new(&length)];
            Ok(sendmsg::<()>(stream.as_fd().as_raw_fd(), &parts, &rights, MsgFlags::empty(), None)?)
        })
        .await?;
    stream.write_all(&plan).await
}

/// Fields with a NUL between them: folder, permission mask, the filter of system calls as hexadecimal digits, number of
/// words, the words, the variables.
fn plan(job: &JobSpec, environment: &[Vec<u8>]) -> io::Result<Vec<u8>> {
    let count = job.command.len().to_string();
    let mask = format!("{:o}", job.umask);
    let filter = if guards::holds(&guards::SECCOMP) { seccomp::bytes() } else { Vec::new() };
    let filter: String = filter.iter().map(|byte| format!("{byte:02x}")).collect();
    let cwd = job.cwd.as_os_str().as_bytes();
    let mut fields: Vec<&[u8]> = vec![cwd, mask.as_bytes(), filter.as_bytes(), count.as_bytes()];
    fields.extend(job.command.iter().map(|word| OsStr::as_bytes(word)));
    fields.extend(environment.iter().map(Vec::as_slice));
    if job.command.is_empty() || fields.iter().any(|field| field.contains(&0)) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    Ok(fields.join(&0))
}
