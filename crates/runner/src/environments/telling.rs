//! Tells the grid where an attempt's environment came from, and what was said while it was built. It is a courtesy to
//! people: nothing hangs on it, and it is given up after a while.

use std::path::PathBuf;
use std::time::Duration;

use rgrid_api::bytes64::Bytes64;
use rgrid_api::client::{AttemptRef, Client};
use rgrid_api::dependencies::{DependenciesBody, TellEnvironmentLog};
use rgrid_api::workers::Lease;
use rgrid_core::environment::EnvironmentOrigin;
use tokio::task::JoinHandle;

use super::said;
use crate::causes::chain;
use crate::mask::Mask;
use crate::retry;

/// The grid takes it within this, or nobody can read it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Speaks for one attempt.
pub(super) struct Teller {
    client: Client,
    attempt: AttemptRef,
    /// What was kept was said to another execution of the account, which may have had other secrets.
    mask: Mask,
}

impl Teller {
    pub(super) fn of(
        client: &Client,
        attempt: &AttemptRef,
        lease: &Lease,
        wanted: &DependenciesBody,
    ) -> Self {
        let mask = Mask::of_build(&lease.environment, &wanted.credentials);
        Self { client: client.clone(), attempt: attempt.clone(), mask }
    }

    /// Tells what was said, now.
    pub(super) async fn tell(self, origin: EnvironmentOrigin, log: Option<Vec<u8>>) {
        let Self { client, attempt, mask } = self;
        let log = log.map(|log| Bytes64(mask.whole(&log)));
        let body = TellEnvironmentLog { origin: origin.into(), log };
        let telling = retry::within(PATIENCE, || client.tell_environment_log(&attempt, &body));
        match tokio::time::timeout(PATIENCE, telling).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "the log of its packages is not taken"),
            Err(_) => tracing::warn!("the log of its packages was not taken in time"),
        }
    }

    /// Tells what lies beside the environment in `made`, while the attempt goes on.
    pub(super) fn tell_kept(self, origin: EnvironmentOrigin, made: PathBuf) -> JoinHandle<()> {
        tokio::spawn(async move {
            let read = tokio::task::spawn_blocking(move || said::read(&made)).await;
            let log = read.map_err(std::io::Error::other).flatten().unwrap_or_else(|error| {
                tracing::warn!(%error, "the log of its packages cannot be read");
                None
            });
            self.tell(origin, log).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_no_grid_takes_is_given_up() {
        // Whoever is first; the same one everywhere.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A port that was somebody's a moment ago.
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let client = Client::new(&format!("http://{closed}"), "").unwrap();
        let attempt = AttemptRef { execution_id: "exec_1".to_owned(), attempt: 1, token: String::new() };
        let mask = Mask::of(&BTreeMap::new());
        let began = tokio::time::Instant::now();
        Teller { client, attempt, mask }.tell(EnvironmentOrigin::Built, Some(b"said".to_vec())).await;
        let passed = began.elapsed();
        assert!(passed >= PATIENCE && passed <= 2 * PATIENCE, "{passed:?}");
    }
}
