//! The process sandbox: bubblewrap, our launcher inside it, and one file per kernel mechanism around them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rgrid_api::workers::SandboxBody;
use tokio::sync::Mutex;

use super::running::RunningJob;
use super::{JobSpec, Place, SandboxConfig, SandboxError};
use cgroup::{Cgroups, Groups};
pub(super) use disk::{Disks, FileSystem};
use etc::SlotEtc;
use instance::Instance;
use layout::{Arguments, Layout};
use network::Network;
use slot::{Occupied, Slot};
use spawner::Spawner;
use watch::Ledger;

pub(super) mod cgroup;
pub(super) mod disk;
pub(super) mod etc;
#[doc(hidden)]
pub mod fuzzing;
mod graft;
pub(super) mod instance;
pub(super) mod job;
pub(super) mod kernel;
mod landlock;
pub(crate) mod launch;
mod layout;
mod loop_device;
pub(super) mod network;
pub(super) mod plan;
pub(super) mod seccomp;
mod slot;
mod spawner;
mod standby;
pub(super) mod watch;

pub use disk::{keep_mounts_to_itself, no_hard_disk};

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
    disks: Option<Arc<Disks>>,
    network: Network,
    spawner: Spawner,
    ledger: Ledger,
    slots: Vec<Arc<Mutex<Slot>>>,
    root: bool,
}

impl Sandbox {
    /// Puts together what a probe found.
    pub(super) async fn assemble(config: &SandboxConfig, bwrap: PathBuf) -> Result<Self, SandboxError> {
        let root = nix::unistd::Uid::effective().is_root();
        let mut taken = Vec::new();
        let (instance, cgroups) = loop {
            let (instance, killed) = Instance::take(&config.data_folder, root, &taken)?;
            for killed in killed {
                clean_up(&killed, root).await;
            }
            match Cgroups::make(&instance.group_name()) {
                Groups::Ours(cgroups) => break (instance, Some(cgroups)),
                Groups::None => break (instance, None),
                // By a runner that does not meet us where numbers are given away.
                Groups::Taken => {
                    taken.push(instance.number());
                    instance.release();
                }
            }
        };
        let own = (nix::unistd::Uid::effective().as_raw(), nix::unistd::Gid::effective().as_raw());
        let disks = tokio::task::spawn_blocking({
            let (folder, slots, own_mounts) = (config.data_folder.clone(), config.slots, config.own_mounts);
            move || Disks::open(&folder, slots, own_mounts)
        });
        let ((network, mut first), disks) = tokio::join!(Network::probe(config, &instance, root), disks);
        let disks = disks.unwrap_or_else(|error| Err(error.to_string()));
        let disks = disks.map_err(|why| tracing::info!(why, "the disk of jobs is watched")).ok();
        let mut slots = Vec::new();
        for slot in 0..config.slots.clamp(1, instance::SLOTS_MAX) {
            let (uid, gid) = instance.job_uid(slot).unwrap_or(own);
            let folder = config.data_folder.join("sandbox").join(format!("etc-{slot}"));
            let step = format!("prepare {}", folder.display());
            let etc = SlotEtc::make(folder, uid, gid).map_err(SandboxError::system(step))?;
            slots.push(Arc::new(Mutex::new(Slot::new(etc, first.take()))));
        }
        let machine = Machine {
            bwrap,
            launcher: config.launcher.clone(),
            data_folder: config.data_folder.clone(),
            instance,
            layout: Layout::of_this_host(),
            cgroups,
            disks,
            network,
            spawner: Spawner::new().map_err(SandboxError::system("start a thread"))?,
            ledger: Ledger::default(),
            slots,
            root,
        };
        let sandbox = Self { machine: Arc::new(machine) };
        sandbox.make_ready();
        Ok(sandbox)
    }

    /// Makes all slots ready while nobody waits.
    fn make_ready(&self) {
        let machine = Arc::clone(&self.machine);
        tokio::spawn(async move {
            for number in (0..).take(machine.slots.len()) {
                if let Ok(mut occupied) = machine.occupy(number).await {
                    occupied.make_ready().await;
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
            disk: grade(self.machine.disks.is_some()),
        }
    }

    /// The user and group of a slot's jobs, where the runner may choose them: as root one per slot, never its own.
    #[must_use]
    pub fn job_uid(&self, slot: u32) -> Option<(u32, u32)> {
        self.machine.instance.job_uid(slot)
    }

    /// Where workspaces of a slot lie whose disk is watched.
    #[must_use]
    pub fn workspace_folder(&self, slot: u32) -> PathBuf {
        self.machine.data_folder.join("sandbox").join(format!("slot-{slot}"))
    }

    /// A place for the workspace of a slot's job that may use `bytes` of disk.
    pub fn place(&self, slot: u32, bytes: u64) -> io::Result<Place> {
        Place::take(self.machine.disks.as_ref(), self.workspace_folder(slot), bytes)
    }

    /// A folder for what the runner writes beside a job, out of its sight and its limits.
    #[must_use]
    pub fn spool_folder(&self) -> PathBuf {
        self.machine.data_folder.join("sandbox")
    }

    /// Makes a folder ready to be a job's root, ahead of [`start`](Self::start), which otherwise does it.
    pub fn prepare_root(&self, root: &Path) -> io::Result<()> {
        self.machine.layout.make_root(root)
    }

    /// Starts a job; returns when its program runs.
    pub async fn start(&self, job: JobSpec) -> Result<RunningJob, SandboxError> {
        let occupied = self.machine.occupy(job.slot).await?;
        job::start(job, occupied).await
    }

    /// Gives back what the machine lent: namespaces, rules, groups. Jobs must have ended.
    pub async fn close(self) {
        for slot in &self.machine.slots {
            slot.lock().await.close().await;
        }
        self.machine.network.close().await;
        if let Some(disks) = &self.machine.disks {
            disks.close();
        }
        if let Some(cgroups) = &self.machine.cgroups {
            cgroups.remove();
        }
        self.machine.instance.release();
    }
}

/// A number for a sandbox that makes no groups, after what killed runners left was removed.
pub(super) async fn take_instance(data_folder: &Path, root: bool) -> Result<Instance, SandboxError> {
    let (instance, killed) = Instance::take(data_folder, root, &[])?;
    for killed in killed {
        clean_up(&killed, root).await;
    }
    Ok(instance)
}

/// Removes what a killed runner left on the machine. Its jobs died with it.
async fn clean_up(killed: &Instance, root: bool) {
    tracing::info!(number = killed.number(), "cleaning up after a runner that was killed");
    match Cgroups::make(&killed.group_name()) {
        Groups::Ours(cgroups) => cgroups.remove(),
        Groups::Taken | Groups::None => {}
    }
    if root && let Err(error) = network::veth::clean_up(killed).await {
        tracing::warn!(%error, "its network rules stay behind");
        return;
    }
    killed.release();
}

impl Machine {
    async fn occupy(self: &Arc<Self>, number: u32) -> Result<Occupied, SandboxError> {
        let slot = self.slots.get(number as usize);
        let slot = slot.ok_or_else(|| SandboxError::Refused(format!("there is no slot {number}")))?;
        let slot = Arc::clone(slot).lock_owned().await;
        Ok(Occupied::new(Arc::clone(self), slot, number))
    }

    /// Bubblewrap's own arguments, before the mounts.
    fn isolation(&self, job: &JobSpec) -> Arguments {
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
        arguments.words(["--chdir", "/"]);
        arguments
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
