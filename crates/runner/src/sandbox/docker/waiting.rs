//! One container from its making to its removal, and until its job comes: process 1 in it waits, started and connected.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::Pid;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

use super::super::process::kernel;
use super::super::process::network::SlotNetwork;
use super::super::{JobLimits, SandboxError};
use super::container::{self, Wanted};
use super::control::{self, Listening};
use super::inside::{Inside, has_ended};
use super::mounts::Bind;
use super::{Host, LAUNCHER};

/// How long process 1 may take from the start of the container until it is there.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long a container may take to go away after its end.
const REMOVAL_DEADLINE: Duration = Duration::from_secs(30);

/// What a container is made for, and cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    /// The image, by its id.
    pub(super) image: String,
    pub(super) user: (u32, u32),
    pub(super) limits: JobLimits,
}

/// How a container is known, and what it has from the start.
pub(super) struct Making<'a> {
    /// Its name, for people.
    pub(super) name: &'a str,
    pub(super) labels: &'a [(String, String)],
    pub(super) binds: Vec<Bind>,
    /// For our end of its control socket.
    pub(super) folder: &'a Path,
}

/// A container whose process 1 waits for its job.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) shape: Shape,
    pub(super) container: Container,
    pub(super) control: UnixStream,
    /// Process 1, as the host numbers it.
    pub(super) first: Option<Pid>,
    /// The same, opened: nothing is read, it only tells when it could be.
    pub(super) process: Option<pipe::Receiver>,
    /// Where we may go inside.
    pub(super) inside: Option<Inside>,
    /// Its network, once it has one.
    pub(super) network: Option<SlotNetwork>,
    /// The host is ready to give it one.
    pub(super) cleared: bool,
}

/// A container that is there. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) host: Arc<Host>,
    pub(super) id: String,
    /// Ends when it is gone.
    gone: Option<JoinHandle<()>>,
}

impl Container {
    /// Whether it is gone already.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Returns when it is gone: by itself or, when that takes too long after its end, removed.
    pub(super) async fn gone(mut self) {
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
    pub(super) async fn remove(self) {
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
        let tracker = host.tracker.clone();
        tracker.spawn(async move {
            if let Err(error) = host.engine.remove(&id).await {
                tracing::warn!(%error, id, "a container stays behind until a runner starts");
            }
        });
    }
}

impl Waiting {
    /// Makes a container and waits until its process 1 is there.
    pub(super) async fn make(
        host: &Arc<Host>,
        shape: Shape,
        making: Making<'_>,
    ) -> Result<Self, SandboxError> {
        let listening = Listening::at(making.folder, shape.user);
        let listening = listening.map_err(SandboxError::system("make a socket"))?;
        let mut binds = making.binds;
        binds.push(Bind {
            host: listening.path().to_owned(),
            inside: control::INSIDE.into(),
            writable: true,
        });
        let entrypoint = ["python3", "-I", "-S", "-c", LAUNCHER, control::INSIDE];
        let request = container::request(&Wanted {
            image: &shape.image,
            entrypoint: entrypoint.map(str::to_owned).to_vec(),
            user: shape.user,
            limits: shape.limits,
            binds: &binds,
            labels: making.labels,
            owner: &host.owner,
        })?;
        let id = host.engine.create(making.name, request).await?;
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
            there = tokio::time::timeout(START_DEADLINE, listening.accept()) => there.ok(),
            () = ended => None,
        };
        match there {
            Some(Ok((control, first))) => Self::enter(shape, container, control, first),
            Some(Err(error)) => {
                container.remove().await;
                Err(SandboxError::System { step: "meet a container's process 1".to_owned(), source: error })
            }
            None => {
                if container.is_gone() {
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

    fn enter(
        shape: Shape,
        container: Container,
        control: UnixStream,
        first: Option<Pid>,
    ) -> Result<Self, SandboxError> {
        let opened = first.and_then(|first| Some((first, kernel::open_process(first).ok()?)));
        let inside = match &opened {
            Some((first, process)) if container.host.enters => {
                Some(Inside::of(*first, process).map_err(SandboxError::system("enter a container"))?)
            }
            Some(_) | None => None,
        };
        let process = opened.and_then(|(_, process)| pipe::Receiver::from_owned_fd_unchecked(process).ok());
        Ok(Self { shape, container, control, first, process, inside, network: None, cleared: false })
    }

    /// Whether its process 1 still waits.
    pub(super) fn is_waiting(&self) -> bool {
        !self.container.is_gone() && self.process.as_ref().is_none_or(|process| !has_ended(process))
    }

    /// Mounts what a job needs. Blocks for a moment.
    pub(super) fn mount(&self, binds: &[Bind]) -> Result<(), SandboxError> {
        let inside = self.inside()?;
        inside.mount(binds).map_err(SandboxError::system("give a container its files"))
    }

    /// Where we may go inside.
    pub(super) fn inside(&self) -> Result<&Inside, SandboxError> {
        self.inside.as_ref().ok_or_else(|| {
            SandboxError::Unavailable(
                "the Docker engine runs containers where this runner cannot see them".to_owned(),
            )
        })
    }
}
