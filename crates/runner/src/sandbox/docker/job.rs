//! A job in a container that waited for it: from the handing over to the end of its last process.

use std::future::Future;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines, Take};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, pipe};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::conclusion::{Counted, conclude};
use super::super::process::cgroup::JobCgroup;
use super::super::process::job::next_report;
use super::super::process::kernel;
use super::super::process::plan::Report;
use super::super::process::watch::{DiskBound, Exceeded, Watch};
use super::super::running::RunningJob;
use super::super::{JobEnd, JobSpec, SandboxError};
use super::waiting::{Container, Waiting};
use super::{Host, control};

/// How long process 1 may take until the program runs.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// What process 1 may say in all: it is the job's own, so nothing else bounds it.
const REPORT_BYTES_MAX: u64 = 64 << 10;
/// And in its first line.
const LINE_BYTES_MAX: usize = 512;
/// A killed container is looked at again after this.
const KILL_PERIOD: Duration = Duration::from_secs(2);
/// And as often at most, before the engine is left to it.
const KILLS_MAX: u32 = 15;

/// Hands the job over. `vacate` is done when nothing of it runs any more, before its container is gone.
pub(super) async fn run(
    waiting: Waiting,
    job: JobSpec,
    variables: &[Vec<u8>],
    vacate: impl Future<Output = ()> + Send + 'static,
) -> Result<RunningJob, SandboxError> {
    let Waiting { container, mut control, first, process, .. } = waiting;
    let host = Arc::clone(&container.host);
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
    let (ended, end) = watch::channel(None);
    let kill = CancellationToken::new();
    let disk = match &host.disks {
        Some(disks) if disks.holds(&root) => DiskBound::Hard { host: disks.folder().to_owned() },
        Some(_) | None => DiskBound::Watched,
    };
    let tracker = host.tracker.clone();
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
    tracker.spawn(async move {
        let container = supervisor.run(ended).await;
        vacate.await;
        container.gone().await;
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
    /// Answers the container when nothing of it runs any more; that it goes away is housekeeping, which nobody waits for.
    async fn run(mut self, ended: watch::Sender<Option<JobEnd>>) -> Container {
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
        self.container
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
        while !self.container.is_gone() {
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
