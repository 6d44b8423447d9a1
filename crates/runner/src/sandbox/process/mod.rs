//! The process sandbox: bubblewrap, our launcher inside it, and one file per kernel mechanism around them.

use rgrid_api::workers::SandboxBody;

use super::{JobEnd, JobSpec, SandboxConfig, SandboxError};

pub(crate) mod launch;

/// What can run jobs on this machine, as a probe found it.
#[derive(Debug)]
pub struct Sandbox {
    description: SandboxBody,
}

impl Sandbox {
    /// Finds out what this machine can do, by doing it.
    pub async fn probe(_config: &SandboxConfig) -> Result<Self, SandboxError> {
        Err(SandboxError::Unavailable("under construction".to_owned()))
    }

    /// How it isolates and limits.
    #[must_use]
    pub fn describe(&self) -> SandboxBody {
        self.description.clone()
    }

    /// The user and group of a slot's jobs, where the runner may choose them.
    #[must_use]
    pub fn job_uid(&self, _slot: u32) -> Option<(u32, u32)> {
        None
    }

    /// Where the workspaces of a slot must lie: its own file system, where disk limits are hard.
    #[must_use]
    pub fn workspace_folder(&self, _slot: u32) -> std::path::PathBuf {
        std::path::PathBuf::new()
    }

    /// Starts a job; returns when its program runs.
    pub async fn start(&self, _job: JobSpec) -> Result<RunningJob, SandboxError> {
        Err(SandboxError::Unavailable("under construction".to_owned()))
    }

    /// Gives back what the machine lent: namespaces, rules, mounts.
    pub async fn close(self) {}
}

/// A job that runs. Dropping it kills it.
#[derive(Debug)]
pub struct RunningJob {}

impl RunningJob {
    /// Waits for the end; afterwards nothing of the job is left.
    pub async fn wait(&mut self) -> JobEnd {
        std::future::pending().await
    }

    /// SIGINT to the main process, as Ctrl-C does it.
    pub fn interrupt(&self) {}

    /// SIGTERM to every process.
    pub fn terminate(&self) {}

    /// SIGKILL to every process; returns when nothing is left.
    pub async fn kill(&self) {}
}
