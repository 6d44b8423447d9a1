//! The process sandbox: bubblewrap, our launcher inside it, and one file per kernel mechanism around them.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use nix::fcntl::OFlag;
use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::process::Command;
use tokio::sync::{Mutex, OwnedMutexGuard};

use rgrid_api::workers::SandboxBody;

use super::{JobSpec, SandboxConfig, SandboxError};
use cgroup::Cgroups;
use etc::SlotEtc;
use instance::Instance;
use job::Parts;
use kernel::Entry;
use layout::{Arguments, LAUNCHER, Layout};
use network::{Network, SlotNetwork};
use plan::Plan;
use spawner::Spawner;
use watch::Ledger;

mod cgroup;
mod etc;
mod instance;
mod job;
mod kernel;
mod landlock;
pub(crate) mod launch;
mod layout;
mod network;
mod plan;
mod seccomp;
mod spawner;
mod watch;

pub use job::RunningJob;

/// What the launcher may do as root, until the job's program runs: become its user, and end it.
const LAUNCHER_CAPABILITIES: &[&str] = &["CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_KILL"];

/// What can run jobs on this machine, as a probe found it.
#[derive(Debug, Clone)]
pub struct Sandbox {
    machine: Arc<Machine>,
}

/// All that jobs share.
#[derive(Debug)]
pub(super) struct Machine {
    bwrap: PathBuf,
    launcher: PathBuf,
    data_folder: PathBuf,
    instance: Instance,
    layout: Layout,
    cgroups: Option<Cgroups>,
    network: Network,
    spawner: Spawner,
    ledger: Ledger,
    slots: Vec<Arc<Mutex<Slot>>>,
    root: bool,
}

/// What one job at a time has for itself.
#[derive(Debug)]
struct Slot {
    etc: SlotEtc,
    network: Option<SlotNetwork>,
    jobs: u64,
}

/// A slot that a job occupies.
#[derive(Debug)]
pub(super) struct Occupied {
    machine: Arc<Machine>,
    slot: OwnedMutexGuard<Slot>,
    number: u32,
    /// The job could leave something in the slot's network.
    networked: bool,
}

impl Sandbox {
    /// Puts together what a probe found.
    pub(super) async fn assemble(config: &SandboxConfig, bwrap: PathBuf) -> Result<Self, SandboxError> {
        let root = nix::unistd::Uid::effective().is_root();
        let instance = Instance::take(&config.data_folder, root)?;
        let cgroups = Cgroups::make(&instance.group_name());
        if let Some(cgroups) = &cgroups {
            cgroups.sweep();
        }
        let own = (nix::unistd::Uid::effective().as_raw(), nix::unistd::Gid::effective().as_raw());
        let (network, mut first) = Network::probe(config, &instance, root).await;
        let mut slots = Vec::new();
        for slot in 0..config.slots.clamp(1, instance::SLOTS_MAX) {
            let (uid, gid) = instance.job_uid(slot).unwrap_or(own);
            let folder = config.data_folder.join("sandbox").join(format!("etc-{slot}"));
            let step = format!("prepare {}", folder.display());
            let etc = SlotEtc::make(folder, uid, gid).map_err(SandboxError::system(step))?;
            slots.push(Arc::new(Mutex::new(Slot { etc, network: first.take(), jobs: 0 })));
        }
        let machine = Machine {
            bwrap,
            launcher: config.launcher.clone(),
            data_folder: config.data_folder.clone(),
            instance,
            layout: Layout::of_this_host(),
            cgroups,
            network,
            spawner: Spawner::new().map_err(SandboxError::system("start a thread"))?,
            ledger: Ledger::default(),
            slots,
            root,
        };
        let sandbox = Self { machine: Arc::new(machine) };
        sandbox.make_networks_ahead();
        Ok(sandbox)
    }

    /// The first slot has its network by now; the others get theirs while nobody waits.
    fn make_networks_ahead(&self) {
        if matches!(self.machine.network, Network::Host | Network::None(_)) {
            return;
        }
        let machine = Arc::clone(&self.machine);
        tokio::spawn(async move {
            for number in 1..u32::try_from(machine.slots.len()).unwrap_or(0) {
                if let Ok(mut occupied) = machine.occupy(number).await {
                    occupied.open_network().await;
                }
            }
        });
    }

    /// How it isolates and limits.
    #[must_use]
    pub fn describe(&self) -> SandboxBody {
        let grade = |hard: bool| if hard { "hard" } else { "watched" }.to_owned();
        SandboxBody {
            kind: "process".to_owned(),
            network: self.machine.network.name().to_owned(),
            limits: grade(self.machine.cgroups.is_some()),
            disk: grade(false),
        }
    }

    /// The user and group of a slot's jobs, where the runner may choose them: as root one per slot, never its own.
    #[must_use]
    pub fn job_uid(&self, slot: u32) -> Option<(u32, u32)> {
        self.machine.instance.job_uid(slot)
    }

    /// Where the workspaces of a slot must lie: its own file system, where disk limits are hard.
    #[must_use]
    pub fn workspace_folder(&self, slot: u32) -> PathBuf {
        self.machine.data_folder.join("sandbox").join(format!("slot-{slot}"))
    }

    /// Makes a folder ready to be a job's root, ahead of [`start`](Self::start), which otherwise does it.
    pub fn prepare_root(&self, root: &Path) -> io::Result<()> {
        self.machine.layout.make_root(root)
    }

    /// Starts a job; returns when its program runs.
    pub async fn start(&self, job: JobSpec) -> Result<RunningJob, SandboxError> {
        let mut occupied = self.machine.occupy(job.slot).await?;
        occupied.networked = job.network && !matches!(self.machine.network, Network::Host);
        if job.network {
            occupied.connect().await?;
        }
        RunningJob::start(job, occupied).await
    }

    /// Gives back what the machine lent: namespaces, rules, groups. Jobs must have ended.
    pub async fn close(self) {
        for slot in &self.machine.slots {
            slot.lock().await.network = None;
        }
        self.machine.network.close().await;
        if let Some(cgroups) = &self.machine.cgroups {
            cgroups.remove();
        }
    }
}

impl Machine {
    async fn occupy(self: &Arc<Self>, number: u32) -> Result<Occupied, SandboxError> {
        let slot = self.slots.get(number as usize);
        let slot = slot.ok_or_else(|| SandboxError::Refused(format!("there is no slot {number}")))?;
        let mut slot = Arc::clone(slot).lock_owned().await;
        slot.jobs += 1;
        Ok(Occupied { machine: Arc::clone(self), slot, number, networked: false })
    }

    /// Bubblewrap's own arguments, before the mounts.
    fn isolation(&self, job: &JobSpec, info: i32) -> Arguments {
        let mut arguments = Arguments::default();
        arguments.words(["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]);
        arguments.words(["--hostname", etc::HOSTNAME, "--die-with-parent", "--new-session", "--as-pid-1"]);
        if self.root {
            arguments.words(["--cap-drop", "ALL"]);
            for capability in LAUNCHER_CAPABILITIES {
                arguments.words(["--cap-add", capability]);
            }
        } else {
            let (uid, gid) = (nix::unistd::Uid::effective(), nix::unistd::Gid::effective());
            arguments.words(["--unshare-user", "--uid", &uid.to_string(), "--gid", &gid.to_string()]);
        }
        if !job.network {
            arguments.words(["--unshare-net"]);
        }
        arguments.words(["--info-fd", &info.to_string()]);
        arguments
    }
}

impl Occupied {
    /// Makes sure that the slot has a network, and that it fits the host as it is now.
    async fn connect(&mut self) -> Result<(), SandboxError> {
        if self.slot.network.as_ref().is_none_or(|network| !network.is_current()) {
            self.slot.network = None;
            self.slot.network = Some(self.machine.network.open(self.number).await?);
        }
        let resolver = self.slot.network.as_ref().map_or("", |network| network.resolver.as_str());
        self.slot.etc.set_resolver(resolver).map_err(SandboxError::system("write resolv.conf"))
    }

    /// Builds the command of bubblewrap and everything it shall find open.
    fn prepare(&self, job: JobSpec) -> Result<Parts, SandboxError> {
        let machine = &*self.machine;
        let system = SandboxError::system;
        let (info, info_inside) =
            nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|e| system("make a pipe")(e.into()))?;
        let (control, control_inside) = StdUnixStream::pair().map_err(system("make a socket pair"))?;
        let mut arguments = machine.isolation(&job, info_inside.as_raw_fd());
        arguments.0.extend(machine.layout.mount(&job, &self.slot.etc, &machine.launcher)?);
        arguments.words(["--chdir", "/"]);
        let plan = Plan {
            command: job.command,
            environment: job.environment,
            cwd: job.cwd.into_os_string(),
            user: machine.instance.job_uid(self.number),
            processes: u64::from(job.limits.processes),
            file_bytes: job.limits.disk_bytes,
            cpus: if machine.cgroups.is_some() {
                Vec::new()
            } else {
                cpus_of(self.number, job.limits.cpu_millis)
            },
            read_only: machine.layout.read_only(),
        };
        let plan = serde_json::to_vec(&plan).map_err(|e| system("write the plan")(e.into()))?;
        let plan = memory_file(c"plan", &plan).map_err(system("write the plan"))?;
        let listed =
            memory_file(c"arguments", &joined(&arguments.0)).map_err(system("write the arguments"))?;
        let inside: [OwnedFd; 5] = [control_inside.into(), plan, job.stdin, job.stdout, job.stderr];

        let mut command = Command::new(&machine.bwrap);
        command
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command.arg("--args").arg(listed.as_raw_fd().to_string());
        command.args([LAUNCHER, launch::LAUNCH_ARGUMENT]);
        command.args(inside.iter().map(|file| file.as_raw_fd().to_string()));

        let group_name = format!("slot-{}-{}", self.number, self.slot.jobs);
        let cgroup =
            machine.cgroups.as_ref().map(|cgroups| cgroups.make_job(&group_name, &job.limits)).transpose();
        let cgroup = cgroup.map_err(system("make a control group"))?;
        let doors = cgroup.as_ref().map_or(Ok(Vec::new()), cgroup::JobCgroup::doors);
        let mut entry = Entry { cgroups: doors.map_err(system("open a control group"))?, ..Entry::default() };
        if let Some(network) = self.slot.network.as_ref().filter(|_| job.network) {
            entry.namespaces = network.namespaces().map_err(system("open a network namespace"))?;
        }
        entry.inherit = inside.into_iter().chain([listed, info_inside]).collect();
        kernel::enter_before_exec(&mut command, entry);
        Ok(Parts { command, control, info, cgroup, limits: job.limits, root: job.root })
    }

    /// Lets the next job in; with a new network, if this one can have left something in its own.
    fn vacate(mut self) {
        if !self.networked || self.slot.network.as_ref().is_some_and(SlotNetwork::is_untouched) {
            return;
        }
        self.slot.network = None;
        tokio::spawn(async move { self.open_network().await });
    }

    /// Makes the slot's network for the job to come; it tries again itself if this fails.
    async fn open_network(&mut self) {
        if self.slot.network.is_some() {
            return;
        }
        match self.machine.network.open(self.number).await {
            Ok(network) => self.slot.network = Some(network),
            Err(error) => tracing::warn!(%error, slot = self.number, "no network ahead for the next job"),
        }
    }
}

/// CPUs for a slot whose time no group limits: as many as it was given, the next slot's beside them. Empty for all.
fn cpus_of(slot: u32, cpu_millis: u32) -> Vec<usize> {
    let Ok(own) = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)) else { return Vec::new() };
    let own: Vec<usize> =
        (0..nix::sched::CpuSet::count()).filter(|cpu| own.is_set(*cpu).unwrap_or(false)).collect();
    let wanted = cpu_millis.div_ceil(1000).max(1) as usize;
    if wanted >= own.len() {
        return Vec::new();
    }
    (0..wanted).map(|index| own[(slot as usize * wanted + index) % own.len()]).collect()
}

/// A file in memory with this content, read from its start.
fn memory_file(name: &std::ffi::CStr, content: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?);
    file.write_all(content)?;
    io::Seek::rewind(&mut file)?;
    Ok(file.into())
}

/// Arguments as bubblewrap reads them from a file: each with a NUL after it.
fn joined(arguments: &[OsString]) -> Vec<u8> {
    arguments
        .iter()
        .map(OsString::as_os_str)
        .map(OsStr::as_encoded_bytes)
        .flat_map(|text| [text, b"\0"].concat())
        .collect()
}
