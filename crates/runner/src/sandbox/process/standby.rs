//! Bubblewrap, started before its job is known.
//!
//! Starting a process and moving it into its control groups takes longer than all the mounts after it (the kernel waits
//! for a grace period), so it is done while nobody waits: bubblewrap blocks on reading its arguments, the launcher later
//! on reading its plan.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::Stdio;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::{ChildStderr, Command};

use super::super::SandboxError;
use super::cgroup::JobCgroup;
use super::job::Tree;
use super::kernel::{self, Entry};
use super::layout::LAUNCHER;
use super::network::SlotNetwork;
use super::plan::Plan;
use super::{Machine, launch};
use crate::guards;

/// A sandbox that waits for its job.
#[derive(Debug)]
pub(super) struct Standby {
    pub(super) tree: Tree,
    pub(super) stderr: ChildStderr,
    /// Where bubblewrap tells about process 1.
    pub(super) info: OwnedFd,
    /// The number of the other end inside.
    info_inside: RawFd,
    pub(super) control: StdUnixStream,
    arguments: OwnedFd,
}

impl Standby {
    /// Starts one, in the slot's network if it has one, and in a new control group of this name.
    pub(super) async fn start(
        machine: &Machine,
        group_name: &str,
        network: Option<&SlotNetwork>,
    ) -> Result<Self, SandboxError> {
        let system = SandboxError::system;
        let pipe =
            || nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|error| system("make a pipe")(error.into()));
        let (arguments_inside, arguments) = pipe()?;
        let (info, info_inside) = pipe()?;
        let (control, control_inside) = StdUnixStream::pair().map_err(system("make a socket pair"))?;
        let info_number = info_inside.as_raw_fd();

        let mut command = Command::new(&machine.bwrap);
        command
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        guards::pass_on(&mut command);
        command.arg("--args").arg(arguments_inside.as_raw_fd().to_string());
        command.args([LAUNCHER, launch::LAUNCH_ARGUMENT]).arg(control_inside.as_raw_fd().to_string());

        let cgroup = machine.cgroups.as_ref().map(|cgroups| cgroups.make_job(group_name)).transpose();
        let cgroup = cgroup.map_err(system("make a control group"))?;
        let doors = cgroup.as_ref().map_or(Ok(Vec::new()), JobCgroup::doors);
        let namespaces = network.map_or(Ok(Vec::new()), SlotNetwork::namespaces);
        let entry = Entry {
            inherit: vec![arguments_inside, info_inside, control_inside.into()],
            cgroups: doors.map_err(system("open a control group"))?,
            namespaces: namespaces.map_err(system("open a network namespace"))?,
        };
        kernel::enter_before_exec(&mut command, entry);
        let mut child = machine.spawner.spawn(command).await.map_err(system("start bubblewrap"))?;
        let stderr = child.stderr.take().expect("it was asked for");
        Ok(Self {
            tree: Tree { child, first: None, cgroup },
            stderr,
            info,
            info_inside: info_number,
            control,
            arguments,
        })
    }

    /// Whether it still waits.
    pub(super) fn is_waiting(&mut self) -> bool {
        matches!(self.tree.child.try_wait(), Ok(None))
    }

    /// Tells bubblewrap what to isolate and mount, and the launcher what to run with which streams.
    pub(super) async fn fill(
        self,
        mut arguments: Vec<OsString>,
        plan: &Plan,
        stdio: [OwnedFd; 3],
    ) -> Result<Filled, SandboxError> {
        let Self { tree, stderr, info, info_inside, control, arguments: listed } = self;
        arguments.extend(["--info-fd".into(), info_inside.to_string().into()]);
        let written = async {
            let plan = serde_json::to_vec(plan)?;
            let length = (plan.len() as u64).to_le_bytes();
            let numbers = stdio.each_ref().map(AsRawFd::as_raw_fd);
            let streams = [ControlMessage::ScmRights(&numbers)];
            let parts = [IoSlice::new(&length)];
            // One that ends early says why on stderr and by its exit: a broken pipe adds nothing.
            match sendmsg::<()>(control.as_raw_fd(), &parts, &streams, MsgFlags::empty(), None) {
                Ok(_) | Err(Errno::EPIPE) => {}
                Err(error) => return Err(error.into()),
            }
            control.set_nonblocking(true)?;
            let mut control = UnixStream::from_std(control)?;
            let mut listed = pipe::Sender::from_file(File::from(listed))?;
            // As above.
            let _ = listed.write_all(&joined(&arguments)).await;
            drop(listed);
            let _ = control.write_all(&plan).await;
            Ok(control)
        };
        match written.await {
            Ok(control) => Ok(Filled { tree, stderr, info, control }),
            Err(source) => {
                tree.end().await;
                Err(SandboxError::System { step: "hand the job over".to_owned(), source })
            }
        }
    }
}

/// A sandbox that starts its job.
#[derive(Debug)]
pub(super) struct Filled {
    pub(super) tree: Tree,
    pub(super) stderr: ChildStderr,
    pub(super) info: OwnedFd,
    pub(super) control: UnixStream,
}

/// Arguments as bubblewrap reads them from a file: each with a NUL after it.
fn joined(arguments: &[OsString]) -> Vec<u8> {
    let bytes = arguments.iter().map(OsString::as_os_str).map(OsStr::as_encoded_bytes);
    bytes.flat_map(|text| [text, b"\0"].concat()).collect()
}

/// The launcher's end of [`Standby::fill`]: the plan and the streams.
pub(super) fn receive(control: &StdUnixStream) -> io::Result<(Plan, [OwnedFd; 3])> {
    use std::io::{IoSliceMut, Read};

    use nix::sys::socket::{ControlMessageOwned, recvmsg};

    let mut length = [0; 8];
    let mut space = nix::cmsg_space!([RawFd; 3]);
    let mut numbers = Vec::new();
    {
        let mut parts = [IoSliceMut::new(&mut length)];
        let message = recvmsg::<()>(control.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())?;
        if message.bytes != 8 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(received) = part {
                numbers.extend(received);
            }
        }
    }
    let streams = numbers.into_iter().map(kernel::inherited).collect::<io::Result<Vec<_>>>()?;
    let streams: [OwnedFd; 3] =
        streams.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    let mut plan = Vec::new();
    control.take(u64::from_le_bytes(length)).read_to_end(&mut plan)?;
    Ok((serde_json::from_slice(&plan)?, streams))
}
