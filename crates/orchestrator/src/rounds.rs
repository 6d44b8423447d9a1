//! The loop: lead, observe, plan, apply, then wait for the timer or a nudge. A duty that fails says so, once a
//! minute at most, and stops neither the others nor the loop.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use rgrid_core::Timestamp;
use rgrid_core::fleet::{Action, FleetPolicy, health, lifecycle, provisioning};
use rgrid_core::limits;
use rgrid_core::worker::WorkerStatus;
use rgrid_store::Store;
use rgrid_store::leadership::Term;
use rgrid_store::notify::Nudge;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::apply::{Round, apply};
use crate::cloud::{Cloud, Listing};
use crate::error::Error;
use crate::guards;
use crate::housekeeping;
use crate::observe::{Failures, view};

/// A round is made at least this often.
const ROUND_PERIOD: Duration = Duration::from_secs(1);
/// So many rounds may follow each other at once, when one nudge comes after another,
const ROUNDS_AT_ONCE: usize = 4;
/// within this time; the next one waits. A queue that fills and empties all the time needs no more attention.
const ROUNDS_AT_ONCE_PERIOD: Duration = Duration::from_secs(1);
/// Pending executions are looked through this often: they have an hour.
const EXPIRY_PERIOD: Duration = Duration::from_secs(10);
/// At the end the rows of machines that ended with us take three steps, a round each: dead, terminating, terminated.
const LAST_ROUNDS: u32 = 3;
/// A failing duty is reported at most this often.
const REPORT_PERIOD: Duration = Duration::from_secs(60);

/// What an orchestrator is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who it is among the orchestrators of the grid; unique for each process.
    pub holder: String,
    /// What the operator wants of the fleet.
    pub policy: FleetPolicy,
    /// Cancelled when this grid shall make way for another: no worker is added, and those of this machine finish
    /// what they hold and leave.
    pub retire: CancellationToken,
}

/// The three duties, in the order in which they act.
const DUTIES: [(&str, &str); 3] = [
    ("health", "worker health monitor"),
    ("provisioning", "worker provisioner"),
    ("lifecycle", "worker lifecycle manager"),
];

/// Keeps the fleet right until `shutdown`, then ends what must not outlive this process.
///
/// # Errors
/// None at present: what fails is tried again by the next round.
pub async fn run<C: Cloud>(
    config: Config,
    store: Store,
    cloud: C,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    tracing::info!(holder = %config.holder, provider = cloud.name(), "orchestrator starting");
    let mut nudges = store.nudges();
    let mut state = State::default();
    let (leads, lead_seen) = watch::channel(false);
    let house = tokio::spawn(housekeeping::run(store.clone(), lead_seen, shutdown.clone()));
    tracing::info!("orchestrator started");
    for (_, title) in DUTIES {
        tracing::info!("{title} started");
    }
    let mut pace = Pace::default();
    while !shutdown.is_cancelled() {
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = pace.next() => {}
        }
        state.round(&config, &store, &cloud, Stage::Serving).await;
        leads
            .send_if_modified(|leads| std::mem::replace(leads, state.term.is_some()) != state.term.is_some());
        let timer = tokio::time::sleep(ROUND_PERIOD);
        tokio::pin!(timer);
        loop {
            tokio::select! {
                () = &mut timer => break,
                () = shutdown.cancelled() => break,
                () = cloud.changed() => break,
                nudge = nudges.recv() => match nudge {
                    Ok(Nudge::Queue | Nudge::Fleet) | Err(RecvError::Lagged(_)) => break,
                    Ok(Nudge::Directives | Nudge::Logs | Nudge::Executions) => {}
                    Err(RecvError::Closed) => {
                        timer.as_mut().await;
                        break;
                    }
                },
            }
        }
    }
    cloud.close().await;
    for _ in 0..LAST_ROUNDS {
        state.round(&config, &store, &cloud, Stage::Leaving).await;
    }
    if let Err(panic) = house.await {
        tracing::error!(error = &panic as &dyn std::error::Error, "housekeeping ended badly");
    }
    if state.term.is_some()
        && let Err(error) = store.resign(&config.holder).await
    {
        tracing::warn!(error = &error as &dyn std::error::Error, "failed to resign");
    }
    tracing::info!("orchestrator ended");
    Ok(())
}

/// Whether this orchestrator stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Serving,
    /// No worker is added any more; what has ended is written down.
    Leaving,
}

/// When the last rounds began.
#[derive(Debug, Default)]
struct Pace(VecDeque<Instant>);

impl Pace {
    /// Returns when the next round may begin.
    async fn next(&mut self) {
        if self.0.len() >= ROUNDS_AT_ONCE
            && let Some(first) = self.0.pop_front()
        {
            tokio::time::sleep_until(first + ROUNDS_AT_ONCE_PERIOD).await;
        }
        self.0.push_back(Instant::now());
    }
}

/// What one round leaves for the next.
#[derive(Debug, Default)]
struct State {
    term: Option<Term>,
    renewed_at: Option<Instant>,
    ticked_at: Option<Instant>,
    expired_at: Option<Instant>,
    judge_after: Option<Timestamp>,
    failures: Failures,
    reported: HashMap<&'static str, Instant>,
}

impl State {
    async fn round<C: Cloud>(&mut self, config: &Config, store: &Store, cloud: &C, stage: Stage) {
        if let Err(error) = self.lead(config, store).await {
            self.report("leadership", &error);
        }
        let Some(term) = self.term else { return };
        let (rows, listing) = tokio::join!(store.fleet(), cloud.list());
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => {
                self.report("observe", &error.into());
                return;
            }
        };
        let listing: Option<Listing> = match listing {
            Ok(listing) => Some(listing),
            Err(error) => {
                self.report("listing", &error.into());
                None
            }
        };
        self.note_gap(rows.now);
        if rows.workers.iter().any(|row| row.status == WorkerStatus::Active) {
            self.failures = Failures::default();
        }
        let fleet = view(&rows, cloud.name(), listing.as_ref(), self.failures);
        let workers_max = if config.retire.is_cancelled() { 0 } else { config.policy.workers_max };
        let policy = FleetPolicy { workers_max, ..config.policy.clone() };
        let round = Round { store, cloud, term: &term, rows: &rows, listing: listing.as_ref() };
        for (duty, _) in DUTIES {
            let actions = match duty {
                "health" => health::plan(&fleet, &policy, rows.now, self.judge_after),
                "provisioning" if stage == Stage::Leaving => Vec::new(),
                "provisioning" => provisioning::plan(&fleet, &policy, rows.now),
                _ => lifecycle::plan(&fleet, &policy, rows.now),
            };
            let mut whole = true;
            for (action, reason) in &actions {
                if matches!(action, Action::MarkFailed(_)) {
                    self.failures.in_a_row = self.failures.in_a_row.saturating_add(1);
                    self.failures.newest_at = Some(rows.now);
                }
                if let Err(error) = apply(&round, action, reason).await {
                    whole = false;
                    self.report(duty, &error);
                }
            }
            if whole {
                metrics::gauge!("rgrid_duty_last_success_timestamp_seconds", "duty" => duty)
                    .set(rows.now.timestamp_millis() as f64 / 1000.0);
            }
        }
        if self.expired_at.is_none_or(|at| at.elapsed() >= EXPIRY_PERIOD) {
            self.expired_at = Some(Instant::now());
            if let Err(error) = store.expire_pending(&term).await {
                self.report("expiry", &error.into());
            }
        }
    }

    /// Takes or renews leadership when it is time to.
    async fn lead(&mut self, config: &Config, store: &Store) -> Result<(), Error> {
        if self.term.is_some() && self.renewed_at.is_some_and(|at| at.elapsed() < limits::LEADER_RENEW / 2) {
            return Ok(());
        }
        let led = self.term.is_some();
        // Without an answer nobody knows who leads: act as one who does not.
        self.term = None;
        self.term = store.lead(&config.holder).await?;
        self.renewed_at = Some(Instant::now());
        if led != self.term.is_some() {
            tracing::info!(leads = self.term.is_some(), "leadership changed");
        }
        Ok(())
    }

    /// After a gap in our own rounds (the machine slept, or we were stopped) nobody is judged by silence for one full
    /// period, and neither at the start.
    fn note_gap(&mut self, now: Timestamp) {
        let gap = self.ticked_at.is_none_or(|at| at.elapsed() > 2 * limits::HEARTBEAT_PERIOD);
        if gap && guards::holds(&guards::OWN_GAP) {
            self.judge_after = Some(now + limits::DEAD_AFTER);
        }
        self.ticked_at = Some(Instant::now());
    }

    fn report(&mut self, duty: &'static str, error: &Error) {
        metrics::counter!("rgrid_duty_failures_total", "duty" => duty).increment(1);
        let due = self.reported.get(duty).is_none_or(|at| at.elapsed() >= REPORT_PERIOD);
        if due {
            self.reported.insert(duty, Instant::now());
            tracing::error!(
                duty,
                error = error as &dyn std::error::Error,
                "duty failed; the next round tries again"
            );
        }
    }
}
