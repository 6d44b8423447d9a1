//! What a caller of the store can act on: one variant for each thing that is done differently about it.

use rgrid_core::execution::Status;

use crate::{objects, vault};

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database does not answer, or had no time: the same call may succeed later.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// There is no such thing, or it is another account's.
    #[error("there is no {what} {name:?}")]
    NotFound {
        /// The product's noun.
        what: &'static str,
        /// What was asked for.
        name: String,
    },
    /// A shortened id fits several things.
    #[error("{text:?} fits several {what}s")]
    Ambiguous {
        /// The product's noun.
        what: &'static str,
        /// What was asked for.
        text: String,
        /// Some of what it fits.
        candidates: Vec<String>,
    },
    /// It cannot be done in the state the thing is in.
    #[error("{what} is {status}")]
    Conflict {
        /// The thing, as people name it.
        what: String,
        /// The state it is in.
        status: String,
    },
    /// An attempt that is no longer the current one; nothing was changed.
    #[error("the attempt is not current")]
    NotCurrent,
    /// A join token, credential or key that is unknown, used up, expired or revoked.
    #[error("the {what} is not valid")]
    Unauthorized {
        /// Which kind of secret.
        what: &'static str,
    },
    /// The same idempotency key came with another body.
    #[error("the idempotency key was used with another body")]
    IdempotencyMismatch,
    /// More than a limit allows.
    #[error("{what} is more than {limit}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// Something asked for is not possible as such.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field's name on the wire.
        field: &'static str,
        /// A fragment that ends the sentence.
        reason: String,
    },
    /// What is stored cannot be read: a fault of ours, or of a disk. An alarm.
    #[error("{what} is damaged: {reason}")]
    Corrupt {
        /// What is damaged.
        what: &'static str,
        /// How.
        reason: String,
    },
    /// This process does not lead any more; nothing was changed.
    #[error("another orchestrator leads")]
    NotLeader,
    /// The database's schema is not the one of this version.
    #[error("the database needs `rgrid migrate` (missing: {missing:?})")]
    MigrationsMissing {
        /// Versions that were not applied.
        missing: Vec<i64>,
    },
    /// A migration failed.
    #[error("the database cannot be migrated")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// The database refused a statement: a fault of ours.
    #[error("the database refused a statement")]
    Database(#[source] sqlx::Error),
    /// The object store does not answer, or refused.
    #[error(transparent)]
    Objects(#[from] objects::Error),
    /// The vault's key cannot be used, or something sealed does not open.
    #[error("the vault refuses")]
    Vault(#[from] vault::Error),
}

/// The result of every call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn not_found(what: &'static str, name: impl ToString) -> Self {
        Self::NotFound { what, name: name.to_string() }
    }

    pub(crate) fn conflict(what: impl ToString, status: Status) -> Self {
        Self::Conflict { what: what.to_string(), status: status.to_string() }
    }

    pub(crate) fn corrupt(what: &'static str, reason: impl ToString) -> Self {
        Self::Corrupt { what, reason: reason.to_string() }
    }

    /// True when the same call may succeed later, unchanged.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Objects(error) => error.is_passing(),
            Self::NotFound { .. }
            | Self::Ambiguous { .. }
            | Self::Conflict { .. }
            | Self::NotCurrent
            | Self::Unauthorized { .. }
            | Self::IdempotencyMismatch
            | Self::TooLarge { .. }
            | Self::Invalid { .. }
            | Self::Corrupt { .. }
            | Self::NotLeader
            | Self::MigrationsMissing { .. }
            | Self::Migrate(_)
            | Self::Database(_)
            | Self::Vault(_) => false,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if is_passing(&error) { Self::Unavailable(error) } else { Self::Database(error) }
    }
}

/// SQLSTATE classes and codes of what passes by itself: connection failures, rolled back transactions (deadlock,
/// serialization), lack of resources, operator's intervention (restart, statement time-out).
const PASSING: [&str; 5] = ["08", "40", "53", "57", "55P03"];

fn is_passing(error: &sqlx::Error) -> bool {
    if let sqlx::Error::Database(refusal) = error {
        return refusal.code().is_some_and(|code| PASSING.iter().any(|class| code.starts_with(class)));
    }
    matches!(
        error,
        sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_)
    )
}
