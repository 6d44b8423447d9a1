//! What the door makes of bodies and queries, opened for the crate that fuzzes it (`fuzz/`). No logic of its own.

use rgrid_api::workers::Heartbeat;
use rgrid_core::execution::Status;
use rgrid_store::attempts::FinishRow;
use rgrid_store::directives::Held;
use rgrid_store::logs::LogPiece;
use rgrid_store::workers::JoinRow;
use serde::de::DeserializeOwned;

use crate::bodies;
use crate::routes::{attempts, executions, workers};

fn body<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

/// `POST /attempts/{execution}/{attempt}/finish`; `None` when it is refused.
pub fn finish(bytes: &[u8]) -> Option<FinishRow> {
    attempts::finish_row(&body(bytes)?).ok()
}

/// `POST /attempts/{execution}/{attempt}/logs`.
pub fn logs(bytes: &[u8], attempt: u32) -> Option<Vec<LogPiece>> {
    attempts::pieces(body(bytes)?, attempt).ok()
}

/// `POST /heartbeats`; a poll for work says the same of what is held.
pub fn heartbeat(bytes: &[u8]) -> Option<Vec<Held>> {
    bodies::holding(body::<Heartbeat>(bytes)?.holding).ok()
}

/// `POST /workers/join`.
pub fn join(bytes: &[u8]) -> Option<JoinRow> {
    workers::parse(env!("CARGO_PKG_VERSION"), body(bytes)?).ok()
}

/// The statuses that a list is asked for.
pub fn statuses(text: &str) -> Option<Vec<Status>> {
    executions::statuses(Some(text)).ok()
}

/// The label that a list is asked for.
pub fn label(text: &str) -> Option<(String, String)> {
    executions::label(text.to_owned()).ok()
}
