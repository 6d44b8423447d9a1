//! The docker sandbox: a container of the Docker Engine for each job, with a process of ours in it that starts the program,
//! as the launcher does in the process sandbox. Only the engine starts containers; what jobs print goes from them to us.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rgrid_api::workers::SandboxBody;
use rgrid_core::runtime::ImageName;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::process::cgroup::JobCgroup;
use super::process::disk::Disks;
use super::process::instance::{Instance, SLOTS_MAX};
use super::process::watch::Ledger;
use super::running::RunningJob;
use super::{ImageFound, JobSpec, Place, SandboxConfig, SandboxError};
use engine::Engine;
use images::{Image, Images};
use kept::Kept;
use network::Networks;
use slot::Slot;

mod container;
mod control;
mod engine;
mod images;
mod inside;
mod job;
mod kept;
mod mounts;
mod network;
mod owner;
mod slot;
mod waiting;

pub use engine::SOCKET;
pub use kept::ImageInUse;

/// What starts the program inside.
const LAUNCHER: &str = include_str!("launcher.py");
/// The user that an image is asked as.
const NOBODY: (u32, u32) = (65_534, 65_534);
/// The runner's folder of this sandbox, below its own.
const FOLDER: &str = "docker";

/// Whether an engine answers at this socket.
pub async fn docker_answers(socket: &Path) -> bool {
    match Engine::connect(socket).await {
        Ok(_) => true,
        Err(error) => {
            tracing::debug!(%error, "no containers here");
            false
        }
    }
}

/// Whether an engine answers at this socket that has one of these images.
pub async fn docker_has_one_of(socket: &Path, images: &[ImageName]) -> bool {
    let Ok(engine) = Engine::connect(socket).await else { return false };
    for image in images {
        if matches!(engine.image(image.as_str()).await, Ok(Some(_))) {
            return true;
        }
    }
    false
}

/// What can run jobs in containers of this machine's engine.
#[derive(Debug, Clone)]
pub struct Sandbox {
    host: Arc<Host>,
}

/// All that jobs share.
#[derive(Debug)]
struct Host {
    engine: Engine,
    data_folder: PathBuf,
    instance: Instance,
    disks: Option<Arc<Disks>>,
    /// Or why there are none.
    networks: Result<Networks, String>,
    /// What a container is given, it is given when it runs: that takes root.
    enters: bool,
    images: Images,
    /// Those that were pulled.
    kept: Arc<Kept>,
    /// One image is asked at a time.
    asking: Mutex<()>,
    ledger: Ledger,
    slots: Vec<Slot>,
    /// Containers that wait for a job have been counted so far: each has a name of its own.
    ahead: AtomicU64,
    /// What goes on although nobody waits for it.
    tracker: TaskTracker,
    /// Nothing more is made ahead.
    closing: CancellationToken,
    owner: String,
    /// Whether control groups of containers can be read here.
    counted: bool,
}

impl Sandbox {
    /// Finds the engine, and removes what killed runners left in it.
    pub(super) async fn open(config: &SandboxConfig) -> Result<Self, SandboxError> {
        let engine = Engine::connect(&config.docker_socket).await?;
        owner::remove_left_over(&engine).await?;
        let config = SandboxConfig { data_folder: config.data_folder.join(FOLDER), ..config.clone() };
        let folder = config.data_folder.join("sandbox");
        fs::create_dir_all(&folder).map_err(SandboxError::system(format!("make {}", folder.display())))?;
        let root = nix::unistd::Uid::effective().is_root();
        let instance = super::process::take_instance(&config.data_folder, root).await?;
        let disks = tokio::task::spawn_blocking({
            let (folder, slots, own_mounts) = (config.data_folder.clone(), config.slots, config.own_mounts);
            move || Disks::open(&folder, slots, own_mounts)
        });
        let networks = async {
            if !root {
                return Err("only root can keep containers away from the host's addresses".to_owned());
            }
            Networks::prepare(&config, &instance).await.map_err(|error| error.to_string())
        };
        let (networks, disks) = tokio::join!(networks, disks);
        let disks = disks.unwrap_or_else(|error| Err(error.to_string()));
        let disks = disks.map_err(|why| tracing::info!(why, "the disk of containers is watched")).ok();
        let host = Host {
            images: Images::open(&folder),
            kept: Kept::open(&folder, config.images_bytes_max),
            engine,
            data_folder: config.data_folder,
            instance,
            disks,
            networks,
            enters: root,
            asking: Mutex::default(),
            ledger: Ledger::default(),
            slots: (0..config.slots.clamp(1, SLOTS_MAX)).map(|_| Slot::default()).collect(),
            ahead: AtomicU64::new(0),
            tracker: TaskTracker::new(),
            closing: CancellationToken::new(),
            owner: owner::ourselves(),
            counted: JobCgroup::of_process(nix::unistd::Pid::this()).is_some(),
        };
        Ok(Self { host: Arc::new(host) })
    }

    /// How it isolates and limits.
    pub(super) fn describe(&self) -> SandboxBody {
        let grade = |hard: bool| if hard { "hard" } else { "watched" }.to_owned();
        SandboxBody {
            kind: "docker".to_owned(),
            network: if self.host.networks.is_ok() { "veth" } else { "none" }.to_owned(),
            limits: grade(self.host.counted),
            disk: grade(self.host.disks.is_some()),
        }
    }

    /// The user and group of a slot's jobs: never root, and never the runner's where it may choose.
    pub(super) fn job_uid(&self, slot: u32) -> Option<(u32, u32)> {
        self.host.instance.job_uid(slot)
    }

    /// Where workspaces of a slot lie whose disk is watched.
    pub(super) fn workspace_folder(&self, slot: u32) -> PathBuf {
        self.spool_folder().join(format!("slot-{slot}"))
    }

    /// A place for the workspace of a slot's job that may use `bytes` of disk.
    pub(super) fn place(&self, slot: u32, bytes: u64) -> io::Result<Place> {
        Place::take(self.host.disks.as_ref(), self.workspace_folder(slot), bytes)
    }

    /// A folder for what the runner writes beside a job, out of its sight and its limits.
    pub(super) fn spool_folder(&self) -> PathBuf {
        self.host.data_folder.join("sandbox")
    }

    /// Makes sure that an image is here; answers which it is now, and what its Python is.
    pub(super) async fn find_image(&self, name: &str, fetch: bool) -> Result<ImageFound, SandboxError> {
        let (image, in_use, answer) = self.host.find(name, fetch).await?;
        Ok(ImageFound {
            in_use,
            resolved: image.resolved(),
            id: image.id,
            executable: answer.executable,
            base_executable: answer.base_executable,
            build: answer.build,
        })
    }

    /// Pulls images while nobody waits for them, as far as there is room for all.
    pub(super) fn pull_ahead(&self, names: Vec<String>) {
        let host = Arc::clone(&self.host);
        self.host.tracker.clone().spawn(async move {
            for name in names {
                let pulling = async {
                    if host.kept.too_many().is_empty() {
                        host.find(&name, true).await?;
                    }
                    Ok::<(), SandboxError>(())
                };
                tokio::select! {
                    pulled = pulling => if let Err(error) = pulled {
                        // The job that needs it tries again, and says why it fails.
                        tracing::warn!(%error, name, "an image could not be pulled ahead");
                    },
                    () = host.closing.cancelled() => return,
                }
            }
        });
    }

    /// Starts a job; returns when its program runs.
    pub(super) async fn start(&self, job: JobSpec) -> Result<RunningJob, SandboxError> {
        Box::pin(slot::start(Arc::clone(&self.host), job)).await // large, and rare beside the process sandbox's
    }

    /// Gives back what the machine lent. Jobs must have ended.
    pub(super) async fn close(self) {
        self.host.closing.cancel();
        for slot in &self.host.slots {
            slot.close().await;
        }
        self.host.tracker.close();
        self.host.tracker.wait().await; // until the last container is gone
        if let Ok(networks) = &self.host.networks {
            networks.close().await;
        }
        if let Some(disks) = &self.host.disks {
            disks.close();
        }
        self.host.instance.release();
    }
}

impl Host {
    /// Fetches an image that is not here.
    async fn fetch(&self, name: &str) -> Result<(), SandboxError> {
        if self.engine.image(name).await?.is_none() {
            tracing::info!(name, "pulling an image");
            self.engine.pull(name).await?;
            if let Some(found) = self.engine.image(name).await?
                && let Some(id) = &found.id
            {
                let bytes = found.size.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
                self.kept.note(name, id, bytes);
            }
        }
        Ok(())
    }

    /// Makes sure that an image is here, pulled if it may be: which it is, held, and what it says of itself.
    async fn find(
        self: &Arc<Self>,
        name: &str,
        fetch: bool,
    ) -> Result<(Image, ImageInUse, images::Answer), SandboxError> {
        if fetch {
            self.fetch(name).await?;
        }
        let image = self.image(name).await?;
        let in_use = self.kept.hold(&image.id);
        if fetch {
            self.tracker.spawn(remove_images(Arc::clone(self)));
        }
        let answer = self.ask(&image, name).await?;
        Ok((image, in_use, answer))
    }

    /// The image of this name.
    async fn image(&self, name: &str) -> Result<Image, SandboxError> {
        if let Some(seen) = self.images.seen(name) {
            return Ok(seen);
        }
        let found = self.engine.image(name).await?;
        let id = found.as_ref().and_then(|found| found.id.clone());
        let id = id.ok_or_else(|| {
            SandboxError::Broken(format!("Docker has no image {name} here; `docker pull {name}` fetches it"))
        })?;
        let digest = found.as_ref().and_then(|found| found.repo_digests.as_ref()?.first().cloned());
        let environment = found.and_then(|found| found.config?.env).unwrap_or_default();
        let image = Image { id, digest, environment };
        self.images.note(&image);
        Ok(image)
    }

    /// What the image says of itself.
    async fn ask(self: &Arc<Self>, image: &Image, name: &str) -> Result<images::Answer, SandboxError> {
        if let Some(known) = self.images.known(&image.id) {
            return Ok(known);
        }
        let _asking = self.asking.lock().await;
        if let Some(known) = self.images.known(&image.id) {
            return Ok(known);
        }
        let answer = images::ask(self, image, name).await?;
        self.images.remember(&image.id, &answer);
        Ok(answer)
    }

    /// The user of a slot's jobs.
    fn user(&self, slot: u32) -> (u32, u32) {
        let own = (nix::unistd::Uid::effective().as_raw(), nix::unistd::Gid::effective().as_raw());
        self.instance.job_uid(slot).unwrap_or(own)
    }

    /// What a container of a slot is called until its job comes.
    fn name_ahead(&self, slot: u32) -> String {
        let number = self.ahead.fetch_add(1, Ordering::Relaxed);
        format!("rgrid-waits-{}-{}-{slot}-{number}", std::process::id(), self.instance.number())
    }

    /// What a container is called that is asked what is in its image; each anew, for the engine gives the last one's name
    /// free only when that is gone.
    fn name_to_ask(&self) -> String {
        let number = self.ahead.fetch_add(1, Ordering::Relaxed);
        format!("rgrid-asks-{}-{}-{number}", std::process::id(), self.instance.number())
    }

    /// The folder of a slot's small files.
    fn slot_folder(&self, slot: u32) -> PathBuf {
        self.data_folder.join("sandbox").join(format!("container-{slot}"))
    }
}

/// Removes images that were pulled, until the rest is within the limit.
async fn remove_images(host: Arc<Host>) {
    for name in host.kept.too_many() {
        match host.engine.remove_image(&name).await {
            Ok(true) => {
                tracing::info!(name, "an image is removed: those that were pulled take too much of the disk");
                host.kept.forget(&name);
            }
            // A container that waits has it, or somebody else's.
            Ok(false) => tracing::debug!(name, "an image stays for now"),
            Err(error) => tracing::warn!(%error, name, "an image cannot be removed"),
        }
    }
}

/// The image's variables, with the job's own before them; paths of both are looked through, the job's first.
fn environment(image: &Image, job: &[(OsString, OsString)]) -> Vec<Vec<u8>> {
    let pair =
        |name: &OsString, value: &OsString| [name.clone().into_vec(), value.clone().into_vec()].join(&b'=');
    let mut variables: Vec<Vec<u8>> = Vec::new();
    let mut image_path = None;
    for variable in &image.environment {
        let Some((name, value)) = variable.split_once('=') else { continue };
        if name == "PATH" {
            image_path = Some(value);
        } else if job.iter().all(|(own, _)| own != name) {
            variables.push(variable.clone().into_bytes());
        }
    }
    variables.extend(job.iter().map(|(name, value)| match image_path {
        Some(more) if name == "PATH" => {
            let mut both = value.clone();
            both.push(":");
            both.push(more);
            pair(name, &both)
        }
        Some(_) | None => pair(name, value),
    }));
    variables
}

/// Writes a file that a container mounts.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|now| now == text) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

/// An end of nothing, for a stream that is not needed.
fn nothing() -> io::Result<OwnedFd> {
    Ok(fs::File::options().read(true).write(true).open("/dev/null")?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jobs_variables_go_before_the_images_and_paths_are_joined() {
        let image = Image {
            id: String::new(),
            digest: None,
            environment: ["PATH=/opt/bin:/bin", "LANG=C", "CONDA=1"].map(str::to_owned).to_vec(),
        };
        let job: Vec<(OsString, OsString)> =
            vec![("LANG".into(), "C.UTF-8".into()), ("PATH".into(), "/usr/bin".into())];
        let all = environment(&image, &job).join(&b' ');
        assert_eq!(String::from_utf8(all).unwrap(), "CONDA=1 LANG=C.UTF-8 PATH=/usr/bin:/opt/bin:/bin");
    }
}
