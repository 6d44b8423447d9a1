//! Where attempts run: a sandbox with its workspaces. The process sandbox's is there from the start; containers' is opened
//! when an image is asked for first, so that a machine with Docker starts no later than one without.

use std::sync::{Arc, OnceLock};

use tokio::sync::OnceCell;

use crate::sandbox::{Sandbox, SandboxConfig, SandboxError};
use crate::workspace::Workspaces;

/// A sandbox, and workspaces for it.
#[derive(Clone)]
pub(crate) struct Room {
    pub(crate) sandbox: Sandbox,
    pub(crate) workspaces: Arc<Workspaces>,
}

impl Room {
    /// Clears what an earlier runner left.
    pub(crate) fn open(sandbox: Sandbox, slots: u32) -> std::io::Result<Self> {
        let workspaces = Arc::new(Workspaces::open(sandbox.clone(), slots)?);
        Ok(Self { sandbox, workspaces })
    }

    /// Gives back what the machine lent.
    pub(crate) async fn close(self) {
        self.workspaces.close();
        self.sandbox.close().await;
    }
}

/// The room of attempts in containers.
pub(crate) struct Containers {
    config: SandboxConfig,
    /// What every container says.
    labels: OnceLock<Vec<(String, String)>>,
    room: OnceCell<Room>,
}

impl Containers {
    pub(crate) fn new(config: SandboxConfig) -> Self {
        Self { config, labels: OnceLock::new(), room: OnceCell::new() }
    }

    /// Says once what every container says from now on.
    pub(crate) fn label(&self, labels: Vec<(String, String)>) {
        self.labels.get_or_init(|| labels);
    }

    /// The room; opened when it is used first. What fails is tried again by the next.
    pub(crate) async fn room(&self) -> Result<&Room, SandboxError> {
        self.room
            .get_or_try_init(|| async {
                let sandbox = Sandbox::docker(&self.config).await?;
                Room::open(sandbox, self.config.slots).map_err(SandboxError::system("make workspaces ready"))
            })
            .await
    }

    /// What the container of an attempt says.
    pub(crate) fn labels(&self, execution: &str, attempt: u32) -> Vec<(String, String)> {
        let own = [("rgrid.execution", execution.to_owned()), ("rgrid.attempt", attempt.to_string())];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        own.into_iter().chain(self.labels.get().into_iter().flatten().cloned()).collect()
    }

    /// Closes it, if it was opened.
    pub(crate) async fn close(&self) {
        if let Some(room) = self.room.get() {
            room.clone().close().await;
        }
    }
}
