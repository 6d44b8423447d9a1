//! A slot: what one job at a time has for itself, made ready while nobody waits.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::super::{JobSpec, SandboxError};
use super::etc::SlotEtc;
use super::network::{Network, SlotNetwork};
use super::plan::Plan;
use super::standby::{Filled, Standby};
use super::{Machine, cpus_of};

/// Processes and threads of one job where they are looked at one by one, each tenth of a second.
const WATCHED_PROCESSES_MAX: u32 = 1024;

/// A file may be said to be this much longer than the disk is big.
const FILE_SLACK_BYTES: u64 = 1 << 20;

/// What a slot's next job will use.
#[derive(Debug)]
pub(super) struct Slot {
    etc: SlotEtc,
    network: Option<SlotNetwork>,
    /// Stands in `network`, so it goes when that goes.
    standby: Option<Standby>,
    /// Control groups made so far: each has a name of its own.
    groups: u64,
}

impl Slot {
    pub(super) fn new(etc: SlotEtc, network: Option<SlotNetwork>) -> Self {
        Self { etc, network, standby: None, groups: 0 }
    }

    /// Gives everything back.
    pub(super) async fn close(&mut self) {
        if let Some(standby) = self.standby.take() {
            standby.tree.end().await;
        }
        self.network = None;
    }
}

/// A slot that a job occupies.
#[derive(Debug)]
pub(super) struct Occupied {
    pub(super) machine: Arc<Machine>,
    slot: OwnedMutexGuard<Slot>,
    number: u32,
}

impl Occupied {
    pub(super) fn new(machine: Arc<Machine>, slot: OwnedMutexGuard<Slot>, number: u32) -> Self {
        Self { machine, slot, number }
    }

    /// Hands a job over to the sandbox that waits for it, or to a new one.
    pub(super) async fn fill(&mut self, job: JobSpec) -> Result<Filled, SandboxError> {
        if job.network {
            self.connect().await?;
        }
        let machine = Arc::clone(&self.machine);
        let mut arguments = machine.isolation(&job);
        arguments.0.extend(machine.layout.mount(&job, &mut self.slot.etc, &machine.launcher)?);
        let plan = Plan {
            command: job.command,
            environment: job.environment,
            cwd: job.cwd.into_os_string(),
            umask: job.umask,
            user: machine.instance.job_uid(self.number),
            processes: u64::from(match machine.cgroups {
                Some(_) => job.limits.processes,
                None => job.limits.processes.min(WATCHED_PROCESSES_MAX),
            }),
            // Where the file system is what bounds it, a full disk is to be seen as one.
            file_bytes: match &machine.disks {
                Some(disks) if disks.holds(&job.root) => job.limits.disk_bytes + FILE_SLACK_BYTES,
                Some(_) | None => job.limits.disk_bytes,
            },
            cpus: if machine.cgroups.is_some() {
                Vec::new()
            } else {
                cpus_of(self.number, job.limits.cpu_millis)
            },
            read_only: machine.layout.read_only(),
        };
        let standby = self.standby().await?;
        if let Some(Err(source)) = standby.tree.cgroup.as_ref().map(|cgroup| cgroup.limit(&job.limits)) {
            standby.tree.end().await;
            return Err(SandboxError::System { step: "limit a control group".to_owned(), source });
        }
        standby.fill(arguments.0, &plan, [job.stdin, job.stdout, job.stderr]).await
    }

    /// Makes sure that the slot has a network, and that it fits the host as it is now.
    async fn connect(&mut self) -> Result<(), SandboxError> {
        if self.slot.network.as_ref().is_none_or(|network| !network.is_current()) {
            self.slot.close().await;
            self.slot.network = Some(self.machine.network.open(self.number).await?);
        }
        let resolver = self.slot.network.as_ref().map_or("", SlotNetwork::resolver);
        self.slot.etc.set_resolver(resolver).map_err(SandboxError::system("write resolv.conf"))
    }

    /// The sandbox that waits, or a new one.
    async fn standby(&mut self) -> Result<Standby, SandboxError> {
        if let Some(mut standby) = self.slot.standby.take() {
            if standby.is_waiting() {
                return Ok(standby);
            }
            standby.tree.end().await;
        }
        self.slot.groups += 1;
        let group = format!("slot-{}-{}", self.number, self.slot.groups);
        Standby::start(&self.machine, &group, self.slot.network.as_ref()).await
    }

    /// Lets the next job in: with a new network, if this one can have left something in its own.
    pub(super) fn vacate(mut self) {
        tokio::spawn(async move { self.make_ready().await });
    }

    /// Makes what the next job will need. What fails here is tried again, and reported, by that job.
    pub(super) async fn make_ready(&mut self) {
        let machine = Arc::clone(&self.machine);
        if let Err(error) = self.slot.etc.renew() {
            tracing::warn!(%error, slot = self.number, "a slot's /etc could not be made anew");
        }
        let made = matches!(machine.network, Network::Veth(_) | Network::Pasta(_));
        if made && !self.slot.network.as_ref().is_some_and(SlotNetwork::is_untouched) {
            self.slot.close().await;
            match machine.network.open(self.number).await {
                Ok(network) => self.slot.network = Some(network),
                Err(error) => tracing::warn!(%error, slot = self.number, "no network ahead for the next job"),
            }
        }
        if self.slot.standby.is_none() {
            match self.standby().await {
                Ok(standby) => self.slot.standby = Some(standby),
                Err(error) => tracing::warn!(%error, slot = self.number, "no sandbox ahead for the next job"),
            }
        }
    }
}
