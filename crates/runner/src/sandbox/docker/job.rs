//! One container from its making to its removal, and the job in it.

use std::future::Future;
use std::io;
use std::net::Shutdown;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines, Take};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, pipe};
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::conclusion::{Counted, conclude};
use super::super::process::cgroup::JobCgroup;
use super::super::process::job::next_report;
use super::super::process::kernel;
use super::super::process::plan::Report;
use super::super::process::watch::{DiskBound, Exceeded, Watch};
use super::super::running::RunningJob;
use super::super::{JobEnd, JobLimits, JobSpec, SandboxError};
use super::container::{self, Wanted};
use super::control::{self, Waiting};
use super::mounts::{self, Bind};
use super::{Host, LAUNCHER, environment, write};

/// How long process 1 may take from the start of the container until it is there, and until the program runs.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long a container may take to go away after its end.
const REMOVAL_DEADLINE: Duration = Duration::from_secs(30);
/// What process 1 may say in all: it is the job's own, so nothing else bounds it.
const REPORT_BYTES_MAX: u64 = 64 << 10;
/// And in its first line.
const LINE_BYTES_MAX: usize = 512;
/// A killed container is looked at again after this.
const KILL_PERIOD: Duration = Duration::from_secs(2);
/// And as often at most, before the engine is left to it.
const KILLS_MAX: u32 = 15;

/// What a container is made for.
pub(super) struct Shape<'a> {
    /// Its name, for people.
    pub(super) name: &'a str,
    pub(super) labels: &'a [(String, String)],
    pub(super) image: &'a str,
    pub(super) user: (u32, u32),
    pub(super) limits: JobLimits,
    pub(super) network: Option<&'a str>,
    pub(super) binds: Vec<Bind>,
    /// Where its workspace lies, if that is a file system of its own.
    pub(super) disk: Option<&'a Path>,
    /// For our end of its control socket.
    pub(super) folder: &'a Path,
}

/// A container whose process 1 waits for its job.
pub(super) struct Entered {
    container: Container,
    control: UnixStream,
    first: Option<Pid>,
}

/// A container that is there. Dropped, it is removed.
struct Container {
    host: Arc<Host>,
    id: String,
    /// Ends when it is gone.
    gone: Option<JoinHandle<()>>,
}

impl Container {
    /// Returns when it is gone: by itself or, when that takes too long after its end, removed.
    async fn gone(mut self) {
        let Some(mut gone) = self.gone.take() else { return };
        if tokio::time::timeout(REMOVAL_DEADLINE, &mut gone).await.is_ok() {
            return; // a panic in it was reported by the runtime
        }
        if let Err(error) = self.host.engine.remove(&self.id).await {
            tracing::warn!(%error, id = self.id, "a container stays behind until a runner starts");
        }
        gone.abort();
    }

    /// Removes it, whatever it does.
    async fn remove(self) {
        if let Err(error) = self.host.engine.remove(&self.id).await {
            tracing::warn!(%error, id = self.id, "a container cannot be removed");
        }
        self.gone().await;
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.gone.is_none() {
            return;
        }
        let (host, id) = (Arc::clone(&self.host), std::mem::take(&mut self.id));
        tokio::spawn(async move {
            if let Err(error) = host.engine.remove(&id).await {
                tracing::warn!(%error, id, "a container stays behind until a runner starts");
            }
        });
    }
}

/// Makes a container and waits until its process 1 is there.
pub(super) async fn enter(host: &Arc<Host>, shape: Shape<'_>) -> Result<Entered, SandboxError> {
    let waiting = Waiting::listen(shape.folder, shape.user).map_err(SandboxError::system("make a socket"))?;
    let mut binds = shape.binds;
    binds.push(Bind { host: waiting.path().to_owned(), inside: control::INSIDE.into(), writable: true });
    let entrypoint = ["python3", "-I", "-S", "-c", LAUNCHER, control::INSIDE];
    let wanted = Wanted {
        image: shape.image,
        entrypoint: entrypoint.map(str::to_owned).to_vec(),
        user: shape.user,
        limits: shape.limits,
        network: shape.network,
        binds: &binds,
        labels: shape.labels,
        owner: &host.owner,
    };
    let request = container::request(&wanted)?;
    let shown = shape.disk.map_or(Ok(None), |disk| host.place.show(disk));
    let shown = shown.map_err(SandboxError::system("let the engine see a job's file system"))?;
    let id = host.engine.create(shape.name, request).await?;
    let gone = tokio::spawn({
        let (host, id) = (Arc::clone(host), id.clone());
        async move { host.engine.gone(&id).await }
    });
    let mut container = Container { host: Arc::clone(host), id, gone: Some(gone) };
    if let Err(error) = host.engine.start(&container.id).await {
        container.remove().await;
        return Err(error);
    }
    let ended = async {
        if let Some(gone) = &mut container.gone {
            let _ = gone.await;
        }
    };
    let there = tokio::select! {
        there = tokio::time::timeout(START_DEADLINE, waiting.accept()) => there.ok(),
        () = ended => None,
    };
    drop(shown); // what the container has mounted it keeps
    match there {
        Some(Ok((control, first))) => Ok(Entered { container, control, first }),
        Some(Err(error)) => {
            container.remove().await;
            Err(SandboxError::System { step: "meet a container's process 1".to_owned(), source: error })
        }
        None => {
            if container.gone.as_ref().is_some_and(JoinHandle::is_finished) {
                container.gone = None;
            } else {
                container.remove().await;
            }
            Err(SandboxError::Broken(
                "the container ended before its Python had started what was to run".to_owned(),
            ))
        }
    }
}

/// Starts a job in a container made for it.
pub(super) async fn start(
    host: Arc<Host>,
    slot: OwnedMutexGuard<()>,
    job: JobSpec,
) -> Result<RunningJob, SandboxError> {
    let name = job.image.as_deref();
    let name = name.ok_or_else(|| SandboxError::Refused("it names no image".to_owned()))?;
    let image = host.image(name).await?;
    let answer = host.ask(&image, name).await?;
    let user = host.user(job.slot);
    let folder = host.slot_folder(job.slot);
    let mut binds = mounts::of(&job, &answer.taken)?;
    let etc = |name: &str, text: &str| -> Result<Bind, SandboxError> {
        let path = folder.join(name);
        write(&path, text).map_err(SandboxError::system(format!("write {}", path.display())))?;
        Ok(Bind { host: path, inside: Path::new("/etc").join(name), writable: false })
    };
    let (passwd, group) = crate::sandbox::process::etc::users(user.0, user.1);
    binds.push(etc("passwd", &passwd)?);
    binds.push(etc("group", &group)?);
    let bridge = match (job.network, &host.bridges) {
        (false, _) => None,
        (true, Err(why)) => return Err(SandboxError::NoNetwork(why.clone())),
        (true, Ok(bridges)) => Some(bridges.of(&host.engine, &host.owner, job.slot).await?),
    };
    if let Some(bridge) = &bridge {
        binds.push(etc("resolv.conf", &bridge.resolver)?);
    }
    let disk = host.disks.as_ref().and_then(|disks| disks.point_of(&job.root));
    let shape = Shape {
        name: &job.name,
        labels: &job.labels,
        image: &image.id,
        user,
        limits: job.limits,
        network: bridge.as_ref().map(|bridge| bridge.name.as_str()),
        binds,
        disk: disk.as_deref(),
        folder: &folder,
    };
    let entered = enter(&host, shape).await?;
    let variables = environment(&image, &job.environment);
    run(host, entered, job, &variables, slot).await
}

/// Hands the job over. `held` is let go when its container is gone.
pub(super) async fn run(
    host: Arc<Host>,
    entered: Entered,
    job: JobSpec,
    variables: &[Vec<u8>],
    held: impl Send + 'static,
) -> Result<RunningJob, SandboxError> {
    let Entered { container, mut control, first } = entered;
    let (slot, root, limits) = (job.slot, job.root.clone(), job.limits);
    let started = async {
        control::send(&mut control, &job, variables).await?;
        drop(job); // its streams are the job's alone now
        // Byte by byte: what comes after is the supervisor's.
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') && line.len() < LINE_BYTES_MAX {
            line.push(control.read_u8().await?);
        }
        Ok::<_, io::Error>((control, serde_json::from_slice::<Report>(&line).ok()))
    };
    let control = match tokio::time::timeout(START_DEADLINE, started).await {
        Ok(Ok((control, Some(Report::Started)))) => control,
        Ok(Ok((_, Some(Report::Failed { step, errno })))) => {
            container.remove().await;
            return Err(SandboxError::Launch { step, source: io::Error::from_raw_os_error(errno) });
        }
        Ok(Ok((_, Some(Report::Ended { .. }) | None)) | Err(_)) | Err(_) => {
            container.remove().await;
            return Err(SandboxError::Broken("the container's process 1 did not start the job".to_owned()));
        }
    };
    let socket = control.into_std().and_then(|socket| {
        let ours = socket.try_clone()?;
        Ok((UnixStream::from_std(socket)?, ours))
    });
    let (control, socket) = socket.map_err(SandboxError::system("copy a descriptor"))?;
    let (reports, orders) = control.into_split();
    let process = first.and_then(|first| kernel::open_process(first).ok());
    // Nothing is read: it only tells when it could be.
    let process = process.and_then(|process| pipe::Receiver::from_owned_fd_unchecked(process).ok());
    let (ended, end) = watch::channel(None);
    let kill = CancellationToken::new();
    let disk = match &host.disks {
        Some(disks) if disks.holds(&root) => DiskBound::Hard { host: disks.folder().to_owned() },
        Some(_) | None => DiskBound::Watched,
    };
    let supervisor = Supervisor {
        host,
        container,
        process,
        cgroup: first.and_then(JobCgroup::of_process),
        reports: BufReader::new(reports.take(REPORT_BYTES_MAX)).lines(),
        socket,
        kill: kill.clone(),
        watch: Watch::new(slot, first, root, limits, disk),
    };
    tokio::spawn(async move {
        supervisor.run(ended).await;
        drop(held);
    });
    Ok(RunningJob::new(orders, kill, end))
}

/// Looks after one job until nothing of it is left.
struct Supervisor {
    host: Arc<Host>,
    container: Container,
    /// Process 1 of the container: with it ends all that is in it.
    process: Option<pipe::Receiver>,
    cgroup: Option<JobCgroup>,
    reports: Lines<BufReader<Take<OwnedReadHalf>>>,
    socket: std::os::unix::net::UnixStream,
    kill: CancellationToken,
    watch: Watch,
}

impl Supervisor {
    async fn run(mut self, ended: watch::Sender<Option<JobEnd>>) {
        let (mut report, mut exceeded) = (None, None);
        {
            let watching = self.watch.until_exceeded(self.cgroup.as_ref(), &self.host.ledger);
            tokio::pin!(watching);
            let mut stop: Option<tokio::time::Instant> = None;
            let mut killed = false;
            loop {
                let over = stop.unwrap_or_else(tokio::time::Instant::now);
                tokio::select! {
                    next = next_report(&mut self.reports) => match next {
                        Some(next @ Report::Ended { .. }) => {
                            report = Some(next);
                            break;
                        }
                        Some(Report::Started | Report::Failed { .. }) => {}
                        None => break, // process 1 is gone, or has nothing more to say
                    },
                    () = self.kill.cancelled(), if !killed => {
                        (killed, stop) = (true, Some(over + KILL_PERIOD));
                        kill(self.process.as_ref(), &self.container).await;
                    }
                    what = &mut watching, if exceeded.is_none() => {
                        (exceeded, stop) = (Some(what), Some(over + KILL_PERIOD));
                        kill(self.process.as_ref(), &self.container).await;
                    }
                    () = tokio::time::sleep_until(over), if stop.is_some() => break,
                }
            }
        }
        // Counted while process 1 is there: the engine removes the groups with the container.
        let counted = Counted::of(self.cgroup.as_ref());
        let _ = self.socket.shutdown(Shutdown::Both); // so that it leaves
        self.until_dead(report.is_none()).await;
        ended.send_replace(Some(self.end(report, exceeded, counted).await));
        // Its processes are gone; what follows is housekeeping, for which nobody but the slot needs to wait.
        self.container.gone().await;
    }

    async fn end(&self, report: Option<Report>, exceeded: Option<Exceeded>, counted: Counted) -> JobEnd {
        conclude(report, exceeded, counted, &self.watch).await
    }

    /// Returns when no process of the container is left. One that reported its end leaves by itself, mostly.
    async fn until_dead(&self, mut impatient: bool) {
        for _ in 0..KILLS_MAX {
            if impatient {
                kill(self.process.as_ref(), &self.container).await;
            }
            impatient = true;
            let dead: std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> = match &self.process {
                Some(process) => Box::pin(async {
                    let _ = process.readable().await; // or never, and then we kill
                }),
                None => Box::pin(self.without_process()),
            };
            if tokio::time::timeout(KILL_PERIOD, dead).await.is_ok() {
                return;
            }
        }
        tracing::warn!(id = self.container.id, "a container does not end although it was killed");
    }

    /// The same where the engine has to say so.
    async fn without_process(&self) {
        while self.container.gone.as_ref().is_some_and(|gone| !gone.is_finished()) {
            tokio::time::sleep(KILL_PERIOD / 100).await;
        }
    }
}

/// SIGKILL to all that is in the container: by ourselves where we may, which needs no engine.
async fn kill(process: Option<&pipe::Receiver>, container: &Container) {
    let ours = process.is_some_and(|process| kernel::kill_process(process).is_ok());
    if !ours && let Err(error) = container.host.engine.remove(&container.id).await {
        tracing::warn!(%error, id = container.id, "a container cannot be killed");
    }
}
