//! The two conversations with the grid that never stop: polls for work and directives, and heartbeats.
//!
//! A poll that offers slots is never dropped: its answer may be on the way, and a lost one costs its execution
//! 20 s. So each free slot is offered by exactly one open poll, and slots that become free later are offered by a
//! further poll. A poll that offers nothing only listens for directives, and may be dropped at any time.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use rgrid_api::client::{Client, ClientError};
use rgrid_api::error::ErrorCode;
use rgrid_api::workers::{Heartbeat, Held, Lease, LeaseAnswer, LeaseRequest};
use rgrid_core::limits;
use tokio_util::sync::CancellationToken;

use crate::held::Holdings;
use crate::retry::{self, Pauses};

/// A poll that only listens is opened this long after a change: most short jobs never need one.
const LISTEN_AFTER: Duration = Duration::from_millis(25);

/// The grid's words about this worker as a whole.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Finish what is held, take nothing new, leave.
    drain: AtomicBool,
    /// Woken when `drain` is set.
    pub(crate) draining: CancellationToken,
    /// Woken when the credential is refused: nothing this worker says is heard any more.
    pub(crate) dismissed: CancellationToken,
}

impl Standing {
    fn hear(&self, drain: bool) {
        if drain && !self.drain.swap(true, Ordering::Relaxed) {
            tracing::info!("the grid asks this worker to finish what it holds and leave");
            self.draining.cancel();
        }
    }

    fn hear_error(&self, error: &ClientError) {
        match retry::code(error) {
            Some(ErrorCode::Unauthorized | ErrorCode::VersionRefused) => {
                tracing::error!(error = error as &dyn std::error::Error, "the grid refuses this worker");
                self.dismissed.cancel();
            }
            Some(
                ErrorCode::Malformed
                | ErrorCode::Invalid
                | ErrorCode::Forbidden
                | ErrorCode::NotFound
                | ErrorCode::Ambiguous
                | ErrorCode::Conflict
                | ErrorCode::IdempotencyMismatch
                | ErrorCode::NotCurrent
                | ErrorCode::TooLarge
                | ErrorCode::TooManyRequests
                | ErrorCode::MethodNotAllowed
                | ErrorCode::DatabaseUnavailable
                | ErrorCode::ObjectsUnavailable
                | ErrorCode::StoreFull
                | ErrorCode::Internal,
            )
            | None => tracing::warn!(error = error as &dyn std::error::Error, "the grid does not answer"),
        }
    }
}

/// Tells the grid that this worker lives, until `stop`.
pub(crate) async fn heartbeats(
    client: Client,
    held: Arc<Holdings>,
    standing: Arc<Standing>,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(limits::HEARTBEAT_PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match client.heartbeat(&Heartbeat { holding: held.holding() }).await {
            Ok(answer) => {
                held.hear(&answer.not_current, answer.directives);
                standing.hear(answer.drain);
            }
            Err(error) => standing.hear_error(&error),
        }
    }
}

type Answer = Result<LeaseAnswer, ClientError>;

struct Offer {
    number: u64,
    slots: u32,
    names: HashSet<(String, u32)>,
}

/// Polls until `stop`, or until a draining worker holds nothing any more. Passes every lease on; `start` decides.
pub(crate) async fn leases(
    client: &Client,
    held: &Arc<Holdings>,
    standing: &Standing,
    stop: &CancellationToken,
    mut start: impl FnMut(Lease),
) {
    let mut changes = held.changes();
    let mut polls = FuturesUnordered::new();
    let mut offers: Vec<Offer> = Vec::new();
    let mut numbers = 0u64;
    let mut listening: Option<Pin<Box<dyn Future<Output = Answer> + Send>>> = None;
    let mut pauses = Pauses::new();
    let mut resume_at = None;
    loop {
        changes.mark_unchanged();
        let paused = resume_at.is_some_and(|at| at > tokio::time::Instant::now());
        let leaving = standing.draining.is_cancelled() || standing.dismissed.is_cancelled();
        let offered: u32 = offers.iter().map(|offer| offer.slots).sum();
        let unoffered = held.free_slots().saturating_sub(offered);
        let holding = held.holding();
        if leaving && holding.is_empty() {
            return;
        }
        if unoffered > 0 && !leaving && !paused {
            numbers += 1;
            let names = holding.iter().map(name).collect();
            offers.push(Offer { number: numbers, slots: unoffered, names });
            let request = LeaseRequest {
                slots: unoffered,
                free: held.free(),
                holding,
                wait_ms: limits::LEASE_POLL_WAIT.as_millis() as u64,
            };
            let (client, number) = (client.clone(), numbers);
            polls.push(async move { (number, client.lease(&request).await) });
            listening = None;
        } else if listening.is_none() && !paused && holding.iter().any(|h| !named(&offers, h)) {
            let request = LeaseRequest {
                slots: 0,
                free: held.free(),
                holding,
                wait_ms: limits::LEASE_POLL_WAIT.as_millis() as u64,
            };
            let client = client.clone();
            listening = Some(Box::pin(async move {
                tokio::time::sleep(LISTEN_AFTER).await;
                client.lease(&request).await
            }));
        }

        let answer = tokio::select! {
            () = stop.cancelled() => return,
            Some((number, answer)) = polls.next() => {
                offers.retain(|offer| offer.number != number);
                answer
            }
            answer = async { listening.as_mut().expect("guarded by the condition").await }, if listening.is_some() => {
                listening = None;
                answer
            }
            // The table outlives this loop, so its sender is never gone.
            Ok(()) = changes.changed() => {
                listening = None;
                continue;
            }
            () = tokio::time::sleep_until(resume_at.unwrap_or_else(tokio::time::Instant::now)), if paused => continue,
            () = standing.draining.cancelled(), if !leaving => continue,
        };
        match answer {
            Ok(answer) => {
                pauses.reset();
                resume_at = None;
                held.hear(&answer.not_current, answer.directives);
                standing.hear(answer.drain);
                answer.leases.into_iter().for_each(&mut start);
            }
            Err(error) => {
                standing.hear_error(&error);
                resume_at = Some(tokio::time::Instant::now() + pauses.next());
            }
        }
    }
}

fn name(held: &Held) -> (String, u32) {
    (held.execution_id.clone(), held.attempt)
}

fn named(offers: &[Offer], held: &Held) -> bool {
    let name = name(held);
    offers.iter().any(|offer| offer.names.contains(&name))
}
