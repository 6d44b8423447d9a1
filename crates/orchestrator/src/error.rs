//! What can keep the orchestrator from doing its duty.

/// Why a round, or the whole role, failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database did not do what was asked; the next round tries again.
    #[error("failed to read or write the fleet")]
    Store(#[from] rgrid_store::Error),
    /// The provider did not do what was asked; the next round tries again.
    #[error("failed to call the provider")]
    Cloud(#[from] crate::cloud::Error),
}
