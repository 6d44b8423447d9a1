//! A slot: one job at a time, and the container that waits for the next one. Which that will be is not known; it is taken to
//! be of the last one's image and limits.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::super::process::network::SlotNetwork;
use super::super::running::RunningJob;
use super::super::{JobSpec, SandboxError};
use super::mounts::{self, Bind};
use super::waiting::{Making, Shape, Waiting};
use super::{Host, environment, job, write};

/// A container that nobody used waits for so long: while it does, nobody can remove its image.
const WAITING_MAX: Duration = Duration::from_secs(900);
/// What only the container of one attempt says.
const OF_ATTEMPT: [&str; 2] = ["rgrid.execution", "rgrid.attempt"];

/// One slot.
#[derive(Debug, Default)]
pub(super) struct Slot {
    occupied: Arc<Mutex<()>>,
    /// Who makes one holds this: who needs one waits for it, and makes none beside it.
    ahead: Mutex<Option<Waiting>>,
}

/// Starts a job in a container that waits for it, or in a new one.
pub(super) async fn start(host: Arc<Host>, job: JobSpec) -> Result<RunningJob, SandboxError> {
    let (number, slot) = (job.slot, host.slot(job.slot)?);
    let occupied = Arc::clone(&slot.occupied).lock_owned().await;
    let name = job.image.as_deref();
    let name = name.ok_or_else(|| SandboxError::Refused("it names no image".to_owned()))?;
    let image = host.image(name).await?;
    let answer = host.ask(&image, name).await?;
    let shape = Shape { image: image.id.clone(), user: host.user(number), limits: job.limits };
    let binds = mounts::of(&job, &answer.taken)?;
    let (mut waiting, other) = if host.enters {
        host.obtain(&job, shape).await?
    } else {
        (host.make(number, shape, &job.name, &job.labels, binds.clone()).await?, None)
    };
    if host.enters {
        waiting.mount(&binds)?;
    }
    if job.network {
        host.connect(number, &mut waiting).await?;
    }
    let variables = environment(&image, &job.environment);
    let (shape, labels) = (waiting.shape.clone(), job.labels.clone());
    let network = job.network;
    let vacate = vacate(Arc::clone(&host), number, network, occupied);
    let running = job::run(waiting, job, &variables, vacate).await?;
    drop(other); // nothing on the way of this job waits for its removal
    host.tracker.spawn(make_ready(Arc::clone(&host), number, network, shape, labels));
    Ok(running)
}

/// Lets the next job in: with a network, when it can be expected to need one.
async fn vacate(host: Arc<Host>, slot: u32, network: bool, occupied: OwnedMutexGuard<()>) {
    if network {
        host.connect_ahead(slot).await;
    }
    drop(occupied);
}

/// Makes the container of the next job while nobody waits for it.
async fn make_ready(
    host: Arc<Host>,
    number: u32,
    network: bool,
    shape: Shape,
    labels: Vec<(String, String)>,
) {
    if !host.enters {
        return; // it could be given nothing
    }
    let Ok(slot) = host.slot(number) else { return };
    let id = {
        let mut ahead = slot.ahead.lock().await;
        if host.closing.is_cancelled() {
            return;
        }
        if let Some(other) = ahead.take() {
            other.container.remove().await;
        }
        let name = host.name_ahead(number);
        let labels: Vec<_> =
            labels.into_iter().filter(|(name, _)| !OF_ATTEMPT.contains(&name.as_str())).collect();
        match host.make(number, shape, &name, &labels, Vec::new()).await {
            Ok(mut made) => {
                // The job was faster: nobody else uses the slot's network, and nobody will come back to do this.
                if network && let Ok(_free) = slot.occupied.try_lock() {
                    let _ = host.connect(number, &mut made).await; // or the next job says why not
                }
                ahead.insert(made).container.id.clone()
            }
            Err(error) => {
                // The job that needs one tries again, and says why it fails.
                tracing::warn!(%error, slot = number, "no container ahead for the next job");
                return;
            }
        }
    };
    tokio::select! {
        () = tokio::time::sleep(WAITING_MAX) => {}
        () = host.closing.cancelled() => return,
    }
    let mut ahead = slot.ahead.lock().await;
    if let Some(waited) = ahead.take_if(|waiting| waiting.container.id == id) {
        waited.container.remove().await;
    }
}

impl Slot {
    /// Ends it, when its last job has ended.
    pub(super) async fn close(&self) {
        drop(self.occupied.lock().await);
        if let Some(waiting) = self.ahead.lock().await.take() {
            waiting.container.remove().await;
        }
    }
}

impl Host {
    fn slot(&self, number: u32) -> Result<&Slot, SandboxError> {
        let slot = self.slots.get(number as usize);
        slot.ok_or_else(|| SandboxError::Refused(format!("there is no slot {number}")))
    }

    /// The container that waits for a job, or a new one; and the one that waits and does not fit.
    async fn obtain(
        self: &Arc<Self>,
        job: &JobSpec,
        shape: Shape,
    ) -> Result<(Waiting, Option<Waiting>), SandboxError> {
        let ahead = self.slot(job.slot)?.ahead.lock().await.take();
        // Who goes without network has a container of which nothing else is known.
        let fits = |waiting: &Waiting| {
            waiting.shape == shape && (job.network || waiting.network.is_none()) && waiting.is_waiting()
        };
        match ahead {
            Some(waiting) if fits(&waiting) => {
                self.rename(&waiting, &job.name);
                Ok((waiting, None))
            }
            other => {
                let clear = async {
                    match &self.networks {
                        Ok(networks) if job.network => networks.clear(job.slot).await.map(|()| true),
                        Ok(_) | Err(_) => Ok(false),
                    }
                };
                let made = self.make(job.slot, shape, &job.name, &job.labels, Vec::new());
                let (mut made, cleared) = tokio::try_join!(made, clear)?;
                made.cleared = cleared;
                Ok((made, other))
            }
        }
    }

    /// Makes a container of a slot, with these mounts beside its own small files.
    async fn make(
        self: &Arc<Self>,
        slot: u32,
        shape: Shape,
        name: &str,
        labels: &[(String, String)],
        mut binds: Vec<Bind>,
    ) -> Result<Waiting, SandboxError> {
        let folder = self.slot_folder(slot);
        let (passwd, group) = crate::sandbox::process::etc::users(shape.user.0, shape.user.1);
        // Of the resolver only the file is fixed now.
        let resolver = std::fs::read_to_string(folder.join(RESOLVER)).unwrap_or_default();
        for (name, text) in [("passwd", &passwd), ("group", &group), (RESOLVER, &resolver)] {
            let path = folder.join(name);
            write(&path, text).map_err(SandboxError::system(format!("write {}", path.display())))?;
            binds.push(Bind { host: path, inside: Path::new("/etc").join(name), writable: false });
        }
        Waiting::make(self, shape, Making { name, labels, binds, folder: &folder }).await
    }

    /// Gives a container its slot's network, unless it has it and the host is as it was.
    async fn connect(&self, slot: u32, waiting: &mut Waiting) -> Result<(), SandboxError> {
        let networks = self.networks.as_ref().map_err(|why| SandboxError::NoNetwork(why.clone()))?;
        if waiting.network.as_ref().is_none_or(|network| !network.is_current()) {
            if !std::mem::take(&mut waiting.cleared) {
                networks.clear(slot).await?;
            }
            waiting.network = Some(networks.connect(slot, waiting.inside()?).await?);
        }
        let resolver = waiting.network.as_ref().map_or("", SlotNetwork::resolver);
        let path = self.slot_folder(slot).join(RESOLVER);
        write(&path, resolver).map_err(SandboxError::system(format!("write {}", path.display())))
    }

    /// The same for the container that waits, if there is one already.
    async fn connect_ahead(&self, slot: u32) {
        let Ok(found) = self.slot(slot) else { return };
        // While one is made nobody needs this one; it is given a network by the job that takes it.
        let Ok(mut ahead) = found.ahead.try_lock() else { return };
        if let Some(waiting) = ahead.as_mut()
            && let Err(error) = self.connect(slot, waiting).await
        {
            tracing::warn!(%error, slot, "no network ahead for the next job");
        }
    }

    /// Names a container after its attempt, for people; nobody waits for that.
    fn rename(self: &Arc<Self>, waiting: &Waiting, name: &str) {
        let (host, id, name) = (Arc::clone(self), waiting.container.id.clone(), name.to_owned());
        self.tracker.spawn(async move {
            if let Err(error) = host.engine.rename(&id, &name).await {
                tracing::debug!(%error, id, "a container keeps its name"); // it has ended, mostly
            }
        });
    }
}

/// Where names are asked for.
const RESOLVER: &str = "resolv.conf";
