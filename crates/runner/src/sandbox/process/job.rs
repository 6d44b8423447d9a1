//! One job from its start to the last of its processes.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStderr};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::conclusion::{Counted, conclude};
use super::super::running::RunningJob;
use super::super::{JobEnd, JobSpec, SandboxError};
use super::cgroup::JobCgroup;
use super::kernel;
use super::plan::Report;
use super::slot::Occupied;
use super::standby::Filled;
use super::watch::{DiskBound, Watch};
use crate::guards;

/// How long bubblewrap and the launcher may take until the job's program runs.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long a killed job's last process may take to die: one that waits for a disk or a network file system first ends that.
const DEATH_DEADLINE: Duration = Duration::from_secs(30);
/// What bubblewrap may say when it fails.
const COMPLAINT_BYTES_MAX: u64 = 4096;

type Reports = Lines<BufReader<tokio::net::unix::OwnedReadHalf>>;

/// Hands the job to its sandbox and waits until the launcher has started the program.
pub(super) async fn start(job: JobSpec, mut occupied: Occupied) -> Result<RunningJob, SandboxError> {
    let (slot, root, limits) = (job.slot, job.root.clone(), job.limits);
    let Filled { mut tree, stderr, info, control } = match occupied.fill(job).await {
        Ok(filled) => filled,
        Err(error) => {
            occupied.vacate();
            return Err(error);
        }
    };
    let (reports, orders) = control.into_split();
    let mut reports = BufReader::new(reports).lines();
    let started = tokio::time::timeout(START_DEADLINE, next_report(&mut reports)).await.unwrap_or_default();
    match started {
        Some(Report::Started) => {}
        Some(Report::Failed { step, errno }) => {
            tree.end().await;
            occupied.vacate();
            return Err(SandboxError::Launch { step, source: io::Error::from_raw_os_error(errno) });
        }
        Some(Report::Ended { .. }) | None => {
            tree.kill();
            let said = complaint(stderr).await;
            tree.end().await;
            occupied.vacate();
            return Err(SandboxError::Broken(said));
        }
    }
    tree.first = first_process(info).await.map(|first| First::of(first, &tree.child));
    let (ended, end) = watch::channel(None);
    let kill = CancellationToken::new();
    let disk = match &occupied.machine.disks {
        Some(disks) if disks.holds(&root) => DiskBound::Hard { host: disks.folder().to_owned() },
        Some(_) | None => DiskBound::Watched,
    };
    let watch = Watch::new(slot, tree.first.as_ref().map(|first| first.pid), root, limits, disk);
    let supervisor = Supervisor { tree, reports, kill: kill.clone(), watch, occupied };
    tokio::spawn(supervisor.run(ended));
    Ok(RunningJob::new(orders, kill, end))
}

/// The next word of a launcher.
pub(in super::super) async fn next_report<R: AsyncBufRead + Unpin>(reports: &mut Lines<R>) -> Option<Report> {
    let line = reports.next_line().await.ok()??;
    serde_json::from_str(&line).ok()
}

/// What bubblewrap said.
async fn complaint(stderr: ChildStderr) -> String {
    let mut said = Vec::new();
    // A partial text is better than none.
    let _ =
        tokio::time::timeout(Duration::from_secs(1), stderr.take(COMPLAINT_BYTES_MAX).read_to_end(&mut said))
            .await;
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    if said.is_empty() { "it ended without a word".to_owned() } else { said }
}

/// The host's number of the sandbox's process 1, from bubblewrap's information.
async fn first_process(info: OwnedFd) -> Option<Pid> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct About {
        child_pid: i32,
    }
    let mut info = pipe::Receiver::from_owned_fd(info).ok()?;
    let mut text = Vec::new();
    while !text.contains(&b'}') {
        let mut part = [0; 512];
        match info.read(&mut part).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => text.extend_from_slice(&part[..count]),
        }
    }
    let about: About = serde_json::from_slice(&text).ok()?;
    Some(Pid::from_raw(about.child_pid))
}

/// The job's processes as the host sees them.
#[derive(Debug)]
pub(super) struct Tree {
    /// Bubblewrap outside. It ends when process 1 has; killed with its group, it may be gone before the others are.
    pub(super) child: Child,
    /// Process 1 inside, once the program runs.
    pub(super) first: Option<First>,
    pub(super) cgroup: Option<JobCgroup>,
}

/// Process 1 of a job. It has ended when nothing is left of the job.
#[derive(Debug)]
pub(super) struct First {
    /// As the host numbers it.
    pid: Pid,
    /// The same, opened: nothing is read, it only tells when it could be. `None` where the host does not open processes,
    /// and for one that has ended.
    process: Option<pipe::Receiver>,
}

impl First {
    fn of(pid: Pid, bubblewrap: &Child) -> Self {
        let opened = kernel::open_process(pid).and_then(pipe::Receiver::from_owned_fd_unchecked).ok();
        Self { pid, process: opened.filter(|_| is_of(pid, bubblewrap)) }
    }

    /// SIGKILL; false when it was not sent.
    fn kill(&self, bubblewrap: &Child) -> bool {
        match &self.process {
            Some(process) => kernel::kill_process(process).is_ok(),
            None => is_of(self.pid, bubblewrap) && kill(self.pid, Signal::SIGKILL).is_ok(),
        }
    }
}

/// Whether this number is still the process that it was. Only bubblewrap reaps it: it is while that is the parent.
fn is_of(pid: Pid, bubblewrap: &Child) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    bubblewrap.id().is_some_and(|parent| parent_in(&stat) == Some(parent))
}

/// SIGKILL to all of it, whatever has been set up so far.
fn kill_tree(child: &mut Child, first: Option<&First>, cgroup: Option<&JobCgroup>) {
    if let Some(cgroup) = cgroup {
        cgroup.kill();
    }
    if !first.is_some_and(|first| first.kill(child)) {
        let _ = child.start_kill(); // takes process 1 along: it dies with its parent
    }
}

impl Tree {
    fn kill(&mut self) {
        kill_tree(&mut self.child, self.first.as_ref(), self.cgroup.as_ref());
    }

    /// Kills what bubblewrap has left behind; returns when nothing is left. False when that does not come to pass.
    async fn until_dead(&mut self) -> bool {
        self.kill();
        let Some(First { pid, process: Some(process) }) = &self.first else { return true };
        if !guards::holds(&guards::LAST_PROCESS) {
            return true;
        }
        let dead = tokio::time::timeout(DEATH_DEADLINE, process.readable()).await.is_ok();
        if !dead {
            tracing::warn!(first = %pid, "a job's processes do not end although they were killed");
        }
        dead
    }

    /// Kills what is left and removes the group.
    pub(super) async fn end(mut self) {
        self.kill();
        let _ = self.child.wait().await; // fails only for one that was waited for
        if let Some(cgroup) = self.cgroup {
            cgroup.remove().await;
        }
    }
}

/// The parent in the text of `/proc/PID/stat`; the name before it may hold anything.
pub(super) fn parent_in(stat: &str) -> Option<u32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

/// Looks after one job until nothing of it is left.
struct Supervisor {
    tree: Tree,
    reports: Reports,
    kill: CancellationToken,
    watch: Watch,
    occupied: Occupied,
}

impl Supervisor {
    async fn run(mut self, ended: watch::Sender<Option<JobEnd>>) {
        let mut report = None;
        let mut exceeded = None;
        {
            let Tree { child, first, cgroup } = &mut self.tree;
            let watching = self.watch.until_exceeded(cgroup.as_ref(), &self.occupied.machine.ledger);
            tokio::pin!(watching);
            let mut reading = true;
            let mut killed = false;
            loop {
                tokio::select! {
                    next = next_report(&mut self.reports), if reading => match next {
                        Some(next) => report = Some(next),
                        None => reading = false,
                    },
                    _ = child.wait() => break,
                    () = self.kill.cancelled(), if !killed => {
                        killed = true;
                        kill_tree(child, first.as_ref(), cgroup.as_ref());
                    }
                    what = &mut watching, if exceeded.is_none() => {
                        exceeded = Some(what);
                        kill_tree(child, first.as_ref(), cgroup.as_ref());
                    }
                }
            }
        }
        if self.tree.until_dead().await {
            while let Some(next) = next_report(&mut self.reports).await {
                report = Some(next);
            }
        }
        let counted = Counted::of(self.tree.cgroup.as_ref());
        ended.send_replace(Some(conclude(report, exceeded, counted, &self.watch).await));
        // Its processes are gone; what follows is housekeeping, for which nobody needs to wait.
        self.tree.end().await;
        self.occupied.vacate();
    }
}
