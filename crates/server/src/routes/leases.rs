//! `POST /leases`: a runner waits for work, and for news of what it holds.
//!
//! The poll is answered by whatever comes first: an attempt, a directive that the runner does not know yet, the word
//! that it shall leave, its deadline, or the end of this replica.

use std::pin::Pin;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use chrono::Utc;
use rgrid_api::workers::{LeaseAnswer, LeaseRequest};
use rgrid_core::id::WorkerId;
use rgrid_core::limits::LEASE_POLL_WAIT;
use rgrid_store::claim::{Claimed, Poll};
use rgrid_store::directives::{Directives, Held};
use rgrid_store::notify::Nudge;
use tokio::time::Instant;

use crate::auth::WorkerCredential;
use crate::bodies;
use crate::error::Refused;
use crate::nudges::Bell;
use crate::parse::Body;
use crate::polls::Place;
use crate::state::App;

/// Wait for work
///
/// A long poll of up to 20 s. It also carries what is wanted of attempts that the runner holds: cancel, more time,
/// somebody follows.
#[utoipa::path(post, path = "/leases", tag = "runner", request_body = LeaseRequest,
    responses((status = 200, body = LeaseAnswer)))]
pub(crate) async fn poll(
    State(app): State<App>,
    WorkerCredential(worker_id): WorkerCredential,
    body: Body<LeaseRequest>,
) -> Result<Json<LeaseAnswer>, Refused> {
    let request = body.value;
    let wait = Duration::from_millis(request.wait_ms).min(LEASE_POLL_WAIT);
    let deadline = Instant::now() + wait;
    // Listen before looking: what changes in between must not be missed.
    let bell = app.nudges.listen(Nudge::Directives);
    let holding = bodies::holding(request.holding)?;
    // A runner that holds nothing has nothing to be told but to leave, and its heartbeat tells that too.
    if !holding.is_empty() {
        let news = look(&app, worker_id, &holding).await?;
        if is_news(&news) {
            return Ok(Json(answer(&app, Vec::new(), news)));
        }
    }
    let place = if request.slots > 0 {
        let free = bodies::capacity(request.free);
        Some(app.polls.enter(Poll { worker_id, slots: request.slots, free })?)
    } else {
        None
    };
    let (claimed, news) = wait_for(&app, worker_id, &holding, place, bell, deadline).await?;
    Ok(Json(answer(&app, claimed, news)))
}

fn is_news(news: &Directives) -> bool {
    news.drain || !news.directives.is_empty() || !news.not_current.is_empty()
}

async fn wait_for(
    app: &App,
    worker_id: WorkerId,
    holding: &[Held],
    mut place: Option<Place<'_>>,
    mut directives: Bell,
    deadline: Instant,
) -> Result<(Vec<Claimed>, Directives), Refused> {
    loop {
        let work = async {
            match &mut place {
                Some(place) => place.claimed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // A claim that came is answered before anything else is looked at.
            biased;
            claimed = work => return Ok((claimed, Directives::default())),
            () = app.shutdown.cancelled() => break,
            () = tokio::time::sleep_until(deadline) => break,
            () = app.drains.wait_for(worker_id) => {
                return Ok((leave(place).await, Directives { drain: true, ..Directives::default() }));
            }
            () = directives.rung(), if !holding.is_empty() => {}
        }
        // A failed look is no reason to give up the place: the next heartbeat tells the same.
        if let Ok(news) = look(app, worker_id, holding).await
            && is_news(&news)
        {
            return Ok((leave(place).await, news));
        }
    }
    Ok((leave(place).await, Directives::default()))
}

/// What the runner is to be told of what it holds. Boxed: a poll that waits must not keep the room that this takes.
fn look<'a>(
    app: &'a App,
    worker_id: WorkerId,
    holding: &'a [Held],
) -> Pin<Box<dyn Future<Output = Result<Directives, rgrid_store::Error>> + Send + 'a>> {
    Box::pin(app.store.directives(worker_id, holding))
}

async fn leave(place: Option<Place<'_>>) -> Vec<Claimed> {
    match place {
        Some(place) => place.leave().await,
        None => Vec::new(),
    }
}

fn answer(app: &App, claimed: Vec<Claimed>, news: Directives) -> LeaseAnswer {
    let now = Utc::now();
    LeaseAnswer {
        leases: claimed.into_iter().map(|claimed| bodies::lease(claimed, &app.signer, now)).collect(),
        directives: news.directives.iter().map(bodies::directive).collect(),
        not_current: news.not_current.into_iter().map(bodies::held).collect(),
        drain: news.drain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The room that a call keeps as long as it waits.
    fn kept_bytes<A, B, C, F>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_poll_that_waits_keeps_little_memory() {
        // What is in front of the handler keeps it three times over, for each of 10,000 workers.
        assert!(kept_bytes(poll) <= 1536, "{} bytes", kept_bytes(poll));
    }
}
