//! The seam to whoever owns the machines: list, create, delete. One file per provider, and no deciding here.

pub mod local;

use std::collections::HashMap;

use rgrid_core::id::WorkerId;

/// What the orchestrator needs of a provider.
pub trait Cloud: Send + Sync {
    /// Its name, as it stands in the workers' rows.
    fn name(&self) -> &'static str;

    /// Every machine of ours. An error or an incomplete listing is never read as absence.
    fn list(&self) -> impl Future<Output = Result<Listing, Error>> + Send;

    /// Makes a machine that will join as `worker` with `join_token`.
    fn create(&self, worker: WorkerId, join_token: &str) -> impl Future<Output = Result<(), Error>> + Send;

    /// Asks for the end of a worker's machine. Asking again is harmless, and so is asking for one that is gone.
    fn delete(&self, worker: WorkerId) -> impl Future<Output = Result<(), Error>> + Send;

    /// Returns when a machine has changed by itself; never, for a provider that does not say.
    fn changed(&self) -> impl Future<Output = ()> + Send;

    /// Ends what must not outlive this process.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// What a provider has of ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// Machines that are there.
    pub present: Vec<WorkerId>,
    /// The last words of machines that ended by themselves, for people.
    pub last_words: HashMap<WorkerId, String>,
}

/// Why a provider did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runner's process could not be started.
    #[error("the runner cannot be started")]
    Spawn(#[source] std::io::Error),
    /// The runner's process could not be signalled.
    #[error("the runner cannot be ended")]
    Signal(#[source] std::io::Error),
}
