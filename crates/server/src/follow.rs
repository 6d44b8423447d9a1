//! Follows: an execution's log and status, live, as server-sent events.
//!
//! One watcher per replica asks the store where all followed executions stand: at once when something here changed
//! them, and each `FOLLOW_POLL` for what happened elsewhere. A follower reads bytes by its own cursor, and only once
//! what it read before was taken by its client: a slow reader slows nobody and fills no memory. A stream that ends
//! without its end event was cut, and goes on from the last `id:`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::response::sse::Event;
use rgrid_api::error::ErrorCode;
use rgrid_api::events::FollowEvent;
use rgrid_api::executions::Execution;
use rgrid_api::logs::Cursor;
use rgrid_core::execution::Status;
use rgrid_core::id::{AccountId, ExecutionId, KeyId};
use rgrid_core::limits::{FOLLOW_POLL, FOLLOWS_PER_KEY_MAX};
use rgrid_store::follows::Standing;
use rgrid_store::notify::Nudge;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::auth::Member;
use crate::error::{Causes, Refused};
use crate::routes::logs;
use crate::state::App;
use crate::{bodies, metrics, waiting};

/// Follows that one replica serves.
const FOLLOWS_MAX: usize = 10_000;
/// Events that wait for a slow client; each holds at most one push of log bytes.
const EVENTS_WAITING_MAX: usize = 4;
/// Most executions hardly wait: the reason is first looked for after this.
const WAITING_FIRST: Duration = Duration::from_millis(200);
/// And then this often.
const WAITING_REFRESH: Duration = Duration::from_secs(1);
/// The reason costs a look at the queue: with many followers each looks less often, so that all of them together look
/// a hundred times a second at most.
const WAITING_SHARE: Duration = Duration::from_millis(10);
/// The store is told this often that somebody follows; it believes it for three times as long.
const FOLLOW_RENEW: Duration = Duration::from_secs(10);
/// Executions of one question to the store.
const STANDINGS_AT_ONCE: usize = 1000;

/// What is followed at this replica.
#[derive(Default)]
pub(crate) struct Follows {
    followed: Mutex<HashMap<ExecutionId, Followed>>,
    followers: AtomicUsize,
    of_key: Mutex<HashMap<KeyId, usize>>,
    began: Notify,
}

struct Followed {
    followers: usize,
    standing: watch::Sender<Option<Standing>>,
}

/// One follower's ticket; dropping it ends the watching when it was the last.
struct Ticket {
    app: App,
    id: ExecutionId,
    key: KeyId,
    standing: watch::Receiver<Option<Standing>>,
    _alive: metrics::Alive,
}

impl Follows {
    /// Taken before [`Self::followed`] where both are.
    fn of_key(&self) -> MutexGuard<'_, HashMap<KeyId, usize>> {
        self.of_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn followed(&self) -> MutexGuard<'_, HashMap<ExecutionId, Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    fn take(app: &App, key: KeyId, id: ExecutionId) -> Result<Self, Refused> {
        let mut of_key = app.follows.of_key();
        if of_key.get(&key).is_some_and(|count| *count >= FOLLOWS_PER_KEY_MAX) {
            let message = format!("this key follows {FOLLOWS_PER_KEY_MAX} logs at this replica already");
            return Err(Refused::new(ErrorCode::TooManyRequests, message)
                .hint("end some of them first")
                .details(serde_json::json!({ "limit_follows": FOLLOWS_PER_KEY_MAX })));
        }
        let mut followed = app.follows.followed();
        if app.follows.followers.fetch_add(1, Ordering::Relaxed) >= FOLLOWS_MAX {
            app.follows.followers.fetch_sub(1, Ordering::Relaxed);
            return Err(Refused::new(
                ErrorCode::TooManyRequests,
                "too many logs are followed at this replica",
            ));
        }
        *of_key.entry(key).or_default() += 1;
        let entry = followed
            .entry(id)
            .or_insert_with(|| Followed { followers: 0, standing: watch::Sender::new(None) });
        entry.followers += 1;
        let standing = entry.standing.subscribe();
        drop(followed);
        app.follows.began.notify_one();
        Ok(Self { app: app.clone(), id, key, standing, _alive: metrics::Alive::new(metrics::FOLLOWERS) })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.app.follows.followers.fetch_sub(1, Ordering::Relaxed);
        let mut of_key = self.app.follows.of_key();
        if let Some(count) = of_key.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                of_key.remove(&self.key);
            }
        }
        drop(of_key);
        let mut followed = self.app.follows.followed();
        if let Some(entry) = followed.get_mut(&self.id) {
            entry.followers -= 1;
            if entry.followers == 0 {
                followed.remove(&self.id);
            }
        }
    }
}

/// The watcher.
pub(crate) async fn watch_all(app: App, end: CancellationToken) {
    let mut logs = app.nudges.listen(Nudge::Logs);
    let mut executions = app.nudges.listen(Nudge::Executions);
    loop {
        let ids: Vec<ExecutionId> = app.follows.followed().keys().copied().collect();
        for some in ids.chunks(STANDINGS_AT_ONCE) {
            match app.store.standings(some).await {
                Ok(standings) => publish(&app.follows, standings),
                // Followers wait; the next look is soon.
                Err(error) => {
                    tracing::warn!(error = %Causes(&error), "followed executions could not be looked at")
                }
            }
        }
        tokio::select! {
            () = end.cancelled() => return,
            () = app.follows.began.notified() => {}
            () = logs.rung(), if !ids.is_empty() => {}
            () = executions.rung(), if !ids.is_empty() => {}
            () = tokio::time::sleep(FOLLOW_POLL), if !ids.is_empty() => {}
        }
    }
}

fn publish(follows: &Follows, standings: Vec<(ExecutionId, Standing)>) {
    let followed = follows.followed();
    for (id, standing) in standings {
        if let Some(entry) = followed.get(&id) {
            entry.standing.send_if_modified(|last| last.replace(standing) != Some(standing));
        }
    }
}

/// Starts a follow from `cursor` on; the receiver's end is the client's.
pub(crate) fn start(
    app: &App,
    member: &Member,
    id: ExecutionId,
    cursor: Cursor,
) -> Result<mpsc::Receiver<Event>, Refused> {
    let account = member.account();
    let ticket = Ticket::take(app, member.0.key.id, id)?;
    let (events, receiver) = mpsc::channel(EVENTS_WAITING_MAX);
    let mut follower = Follower { account, ticket, cursor, events, sent: None };
    let (shutdown, gone) = (app.shutdown.clone(), follower.events.clone());
    tokio::spawn(async move {
        tokio::select! {
            ended = follower.run() => {
                if let Err(Stop::Failed(error)) = ended {
                    tracing::warn!(execution = %id, %error, "a follow was cut");
                }
            }
            // Cut: the client goes on at another replica, or at this one once it is back.
            () = shutdown.cancelled() => {}
            () = gone.closed() => {}
        }
    });
    Ok(receiver)
}

/// Why a follow stops before its end.
enum Stop {
    /// The client went away.
    Gone,
    /// It failed; the client resumes.
    Failed(Refused),
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        Self::Failed(refused)
    }
}

impl From<rgrid_store::Error> for Stop {
    fn from(error: rgrid_store::Error) -> Self {
        Self::Failed(error.into())
    }
}

struct Follower {
    account: AccountId,
    ticket: Ticket,
    cursor: Cursor,
    events: mpsc::Sender<Event>,
    /// The status that the client knows.
    sent: Option<Execution>,
}

impl Follower {
    async fn run(&mut self) -> Result<(), Stop> {
        let mut renewed_at: Option<Instant> = None;
        loop {
            // The order matters: what ended before its log was read has written all of it.
            let (execution, known) = self.look().await?;
            let ended = known.status.is_terminal();
            if !ended {
                self.send_status(&execution).await?;
            }
            self.send_log().await?;
            if ended {
                return self.send(&FollowEvent::End { execution: Box::new(execution) }).await;
            }
            if renewed_at.is_none_or(|at| at.elapsed() >= FOLLOW_RENEW) {
                self.ticket.app.store.follow_execution(self.ticket.id).await?;
                renewed_at = Some(Instant::now());
            }
            self.wait_for_change(known).await?;
        }
    }

    /// The execution as it stands now.
    async fn look(&self) -> Result<(Execution, Known), Stop> {
        let row = self.ticket.app.store.execution(self.account, self.ticket.id).await?;
        let preparing = row.status == Status::Running && row.preparing.is_some();
        let known = Known { status: row.status, attempt: row.attempt, preparing };
        let waits = self.sent.as_ref().is_some_and(|sent| sent.status == row.status.as_str());
        let reason =
            if waits { waiting::sentence(&self.ticket.app, &row).await? } else { waiting::at_once(&row) };
        Ok((bodies::execution(&row, reason), known))
    }

    async fn send_status(&mut self, execution: &Execution) -> Result<(), Stop> {
        if self.sent.as_ref() == Some(execution) {
            return Ok(());
        }
        self.send(&FollowEvent::Status { execution: Box::new(execution.clone()) }).await?;
        self.sent = Some(execution.clone());
        Ok(())
    }

    /// Sends every log byte that is there.
    async fn send_log(&mut self) -> Result<(), Stop> {
        loop {
            let page = logs::page(&self.ticket.app, self.account, self.ticket.id, self.cursor).await?;
            for chunk in page.chunks {
                self.cursor = self.cursor.after(&chunk);
                self.send(&FollowEvent::Log { chunk }).await?;
            }
            self.cursor = page.next;
            if !page.full {
                return Ok(());
            }
        }
    }

    /// Waits until the status or attempt is not the known one, or until the reason for waiting may have changed.
    /// Log bytes that arrive meanwhile are sent from here.
    async fn wait_for_change(&mut self, known: Known) -> Result<(), Stop> {
        let followers = self.ticket.app.follows.followers.load(Ordering::Relaxed);
        let share = WAITING_SHARE * u32::try_from(followers).unwrap_or(u32::MAX);
        let explained = self.sent.as_ref().is_some_and(|sent| sent.waiting.is_some());
        let look_again = match known.status {
            Status::Pending | Status::Queued if explained => WAITING_REFRESH.max(share),
            Status::Pending | Status::Queued => WAITING_FIRST.max(share),
            Status::Running if known.preparing => WAITING_REFRESH.max(share),
            Status::Running => FOLLOW_RENEW,
            Status::Completed | Status::Failed | Status::TimedOut | Status::Cancelled => Duration::ZERO,
        };
        let deadline = Instant::now() + look_again;
        loop {
            let standing = *self.ticket.standing.borrow_and_update();
            if let Some(standing) = standing {
                let now = Known {
                    status: standing.status,
                    attempt: standing.attempt,
                    preparing: standing.preparing,
                };
                if now != known {
                    return Ok(());
                }
                if self.cursor != written(&standing) {
                    self.send_log().await?;
                }
            }
            tokio::select! {
                changed = self.ticket.standing.changed() => {
                    // The sender lives as long as the ticket.
                    if changed.is_err() { return Ok(()) }
                }
                () = tokio::time::sleep_until(deadline) => return Ok(()),
            }
        }
    }

    async fn send(&self, event: &FollowEvent) -> Result<(), Stop> {
        let event = Event::default().id(self.cursor.to_string()).json_data(event);
        let event = event
            .map_err(|_| Stop::Failed(Refused::new(ErrorCode::Internal, "an event cannot be written")))?;
        self.events.send(event).await.map_err(|_| Stop::Gone)
    }
}

/// What the follower last saw of the execution.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Known {
    status: Status,
    attempt: u32,
    preparing: bool,
}

/// The cursor after everything that was written.
fn written(standing: &Standing) -> Cursor {
    Cursor { attempt: standing.attempt, stdout: standing.stdout_bytes, stderr: standing.stderr_bytes }
}
