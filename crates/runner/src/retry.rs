//! How a call that may pass later is repeated, and for how long. Who may be repeated is decided where it is called.

use std::time::Duration;

use rgrid_api::client::ClientError;
use rgrid_api::error::ErrorCode;
use tokio::time::Instant;

/// The first pause; each further one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// No pause is longer, so that a grid that is back is noticed soon.
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// A full object store is asked again for this long: housekeeping may make room, and after that only a person does.
const STORE_FULL_PATIENCE: Duration = Duration::from_secs(60);

/// Growing pauses between tries.
#[derive(Debug)]
pub(crate) struct Pauses(Duration);

impl Pauses {
    /// Starts with the shortest.
    pub(crate) fn new() -> Self {
        Self(PAUSE_FIRST)
    }

    /// The next pause, with up to a quarter taken off so that many runners do not come back in step.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(PAUSE_MAX);
        let mut random = [0u8; 1];
        // Without randomness the pause is merely exact.
        let _ = getrandom::fill(&mut random);
        pause - pause / 4 * u32::from(random[0]) / 256
    }

    /// A try went well.
    pub(crate) fn reset(&mut self) {
        self.0 = PAUSE_FIRST;
    }
}

/// Repeats `call` until it succeeds, is refused for good, or `patience` is over; answers the last error then.
pub(crate) async fn within<T, F>(patience: Duration, mut call: impl FnMut() -> F) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let started = Instant::now();
    let mut pauses = Pauses::new();
    loop {
        match call().await {
            Ok(value) => return Ok(value),
            Err(error) if error.is_passing() && started.elapsed() < patience_with(&error, patience) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "trying again");
                tokio::time::sleep(pauses.next()).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn patience_with(error: &ClientError, patience: Duration) -> Duration {
    if code(error) == Some(ErrorCode::StoreFull) { patience.min(STORE_FULL_PATIENCE) } else { patience }
}

/// The grid's code, when it was the grid that refused.
pub(crate) fn code(error: &ClientError) -> Option<ErrorCode> {
    match error {
        ClientError::Api(error) => Some(error.code),
        ClientError::Unreachable { .. }
        | ClientError::NotAGrid { .. }
        | ClientError::TooLargeOnTheWay { .. } => None,
    }
}
