//! The seam to whoever owns the machines: list, create, delete, catalog. One file or folder per provider, and no
//! deciding here.

pub mod hetzner;
pub mod local;

use std::collections::HashMap;

use chrono::TimeDelta;
use rgrid_core::Timestamp;
use rgrid_core::fleet::Backing;
use rgrid_core::fleet::catalog::Catalog;
use rgrid_core::id::{IntentId, WorkerId};
use rgrid_core::money::Rate;

/// What the orchestrator needs of a provider.
pub trait Cloud: Send + Sync + 'static {
    /// Its name, as it stands in the workers' rows.
    fn name(&self) -> &'static str;

    /// What its machines are to us. Calls to one that bills take long: they are made beside the rounds.
    fn backing(&self) -> Backing;

    /// Every machine of ours, and which of the `expected` are gone for certain. An error is never read as absence, and
    /// neither is a listing that lacks something.
    fn list(&self, expected: &[Target]) -> impl Future<Output = Result<Listing, Error>> + Send;

    /// Makes a machine that will join as the worker of `wish`; what is told of it, where the provider bills. Doing it
    /// again for the same wish never makes a second one.
    fn create(&self, wish: &Wish) -> impl Future<Output = Result<Option<Server>, Error>> + Send;

    /// Asks for the end of a worker's machine. Asking again is harmless, and so is asking for one that is gone.
    fn delete(&self, target: &Target) -> impl Future<Output = Result<Deletion, Error>> + Send;

    /// What could be ordered; empty where nothing is sold.
    fn catalog(&self) -> impl Future<Output = Result<Catalog, Error>> + Send;

    /// Returns when a machine has changed by itself; never, for a provider that does not say.
    fn changed(&self) -> impl Future<Output = ()> + Send;

    /// Ends what must not outlive this process.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// A machine to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Whose it will be.
    pub worker: WorkerId,
    /// What it joins with.
    pub join_token: String,
    /// What is bought; `None` where nothing is.
    pub server: Option<ServerWish>,
}

/// A server to buy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerWish {
    /// The row that was written before.
    pub intent: IntentId,
    /// Its name, which is the intent's: nobody else has it, so it is made once at most.
    pub name: String,
    /// Its type.
    pub machine_type: String,
    /// Where.
    pub location: String,
}

/// A server that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The provider's own id of it.
    pub id: String,
    /// When it was created, in the provider's words.
    pub created: Timestamp,
    /// What its type costs there now; `None` where the provider does not say.
    pub rate: Option<Rate>,
}

/// A machine that is spoken of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whose it is.
    pub worker: WorkerId,
    /// The provider's own id of it; `None` where it has none, or where it is not known.
    pub server: Option<String>,
    /// Its name; `None` where it has none.
    pub name: Option<String>,
}

/// What became of the wish that a machine end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// It was taken, at this moment of the provider's clock.
    Asked(Timestamp),
    /// There is no such machine, by this moment of the provider's clock.
    Gone(Timestamp),
}

/// What a provider has of ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// Workers whose machines are there.
    pub present: Vec<WorkerId>,
    /// Expected workers whose machines are gone for certain.
    pub gone: Vec<WorkerId>,
    /// The last words of machines that ended by themselves, for people.
    pub last_words: HashMap<WorkerId, String>,
    /// Servers that carry this grid's mark.
    pub servers: Vec<Listed>,
    /// By how much the provider's clock is ahead of this machine's; `None` where it has none of its own.
    pub skew: Option<TimeDelta>,
}

/// A server that carries this grid's mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What it is.
    pub server: Server,
    /// Its name.
    pub name: String,
    /// The worker that it is, or was to be.
    pub worker: WorkerId,
    /// The intent that it names; its name is that intent's.
    pub intent: IntentId,
    /// Which life of the grid made it.
    pub epoch: i64,
}

/// What a provider's refusal or failure means for whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// None of this type at this location now.
    Capacity,
    /// The account may have no more.
    Quota,
    /// The token is not accepted, or may not do this.
    Unauthorized,
    /// Too many calls, or too few left for one of this kind.
    TooManyCalls,
    /// It fails or does not answer; nothing was done.
    Unavailable,
    /// It may have been done.
    Ambiguous,
    /// Somebody else has the name.
    NameTaken,
    /// Something else is being done to it; later.
    Locked,
    /// The operator protects it.
    Protected,
    /// There is none.
    NotFound,
    /// Never, as it was asked.
    Refused,
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
    /// A provider of servers said no, or nothing that could be understood. No secret is in the words.
    #[error("the provider's answer to {call} was {words}")]
    Provider {
        /// What was asked.
        call: &'static str,
        /// What it means.
        failure: Failure,
        /// What was said, for people.
        words: String,
    },
    /// Leadership ended before the answer, so whoever leads now asks for itself.
    #[error("leadership ended before the provider had answered")]
    LeaseEnded {
        /// Something may have been done.
        begun: bool,
    },
}

impl Error {
    /// What it means; `None` for a process of this machine.
    pub fn failure(&self) -> Option<Failure> {
        match self {
            Self::Spawn(_) | Self::Signal(_) => None,
            Self::Provider { failure, .. } => Some(*failure),
            Self::LeaseEnded { begun: true } => Some(Failure::Ambiguous),
            Self::LeaseEnded { begun: false } => Some(Failure::Unavailable),
        }
    }
}
