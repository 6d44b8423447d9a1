//! Heartbeats are collected for `HEARTBEAT_FLUSH` and written in one statement; their answers follow it. With them
//! goes this replica's own beat: only while some replica beats does silence count against a worker.

use std::collections::HashMap;
use std::time::Duration;

use rgrid_api::error::ErrorCode;
use rgrid_core::id::WorkerId;
use rgrid_core::limits::HEARTBEAT_FLUSH;
use rgrid_store::directives::Directives;
use rgrid_store::workers::HeartbeatRow;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::error::{Causes, Refused};
use crate::state::App;

/// Heartbeats that wait for a flush; a worker beyond is refused and beats again.
const HEARTBEATS_WAITING_MAX: usize = 20_000;
/// The replica's own beat (SEMANTICS section 1).
const BEAT_PERIOD: Duration = Duration::from_secs(1);
/// Histograms are folded this often, so that they stay small when nobody reads `/metrics`.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// A heartbeat, and who waits for its answer. `None` is answered when it could not be written.
pub(crate) struct Arriving {
    row: HeartbeatRow,
    answer: oneshot::Sender<Option<Directives>>,
}

/// The door of the collection.
pub(crate) struct Heartbeats(mpsc::Sender<Arriving>);

impl Heartbeats {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Arriving>) {
        let (sender, receiver) = mpsc::channel(HEARTBEATS_WAITING_MAX);
        (Self(sender), receiver)
    }

    /// Waits until the heartbeat is written.
    pub(crate) async fn beat(&self, row: HeartbeatRow) -> Result<Directives, Refused> {
        let (answer, written) = oneshot::channel();
        self.0.try_send(Arriving { row, answer }).map_err(|_| {
            Refused::new(ErrorCode::TooManyRequests, "too many heartbeats wait at this replica")
        })?;
        match written.await {
            Ok(Some(directives)) => Ok(directives),
            Ok(None) | Err(_) => Err(Refused::new(
                ErrorCode::DatabaseUnavailable,
                "the database does not answer: the heartbeat was not written",
            )),
        }
    }
}

/// The duty that writes them.
pub(crate) async fn flush_all(app: App, mut arriving: mpsc::Receiver<Arriving>, end: CancellationToken) {
    let replica = replica_name();
    let mut flush = tokio::time::interval(HEARTBEAT_FLUSH);
    flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut beaten_at: Option<Instant> = None;
    let mut kept_up_at = Instant::now();
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            _ = flush.tick() => {}
        }
        if beaten_at.is_none_or(|at| at.elapsed() >= BEAT_PERIOD) {
            match app.store.beat(&replica).await {
                Ok(()) => beaten_at = Some(Instant::now()),
                Err(error) => tracing::warn!(error = %Causes(&error), "this replica could not beat"),
            }
        }
        write(&app, &mut arriving).await;
        if kept_up_at.elapsed() >= METRICS_UPKEEP {
            app.metrics.run_upkeep();
            kept_up_at = Instant::now();
        }
    }
}

/// Writes everything that waits, in one statement.
async fn write(app: &App, arriving: &mut mpsc::Receiver<Arriving>) {
    // One row a worker: of two heartbeats in one flush the later says what the worker holds.
    let mut rows: Vec<HeartbeatRow> = Vec::new();
    let mut places: HashMap<WorkerId, usize> = HashMap::new();
    let mut answers: Vec<(usize, oneshot::Sender<Option<Directives>>)> = Vec::new();
    while answers.len() < HEARTBEATS_WAITING_MAX
        && let Ok(Arriving { row, answer }) = arriving.try_recv()
    {
        let place = *places.entry(row.worker_id).or_insert(rows.len());
        if place == rows.len() {
            rows.push(row);
        } else {
            rows[place] = row;
        }
        answers.push((place, answer));
    }
    if rows.is_empty() {
        return;
    }
    let written = match app.store.heartbeats(&rows).await {
        Ok(written) => written,
        Err(error) => {
            tracing::warn!(workers = rows.len(), error = %Causes(&error), "heartbeats could not be written");
            Vec::new()
        }
    };
    ::metrics::counter!(crate::metrics::HEARTBEATS).increment(written.len() as u64);
    for (place, answer) in answers {
        // A worker that went away beats again.
        let _ = answer.send(written.get(place).cloned());
    }
}

/// Names this replica among others; drawn anew at each start.
fn replica_name() -> String {
    let mut random = [0; 8];
    // Two replicas with one name would merely share a row of beats.
    let _ = getrandom::fill(&mut random);
    format!("{:016x}", u64::from_be_bytes(random))
}
