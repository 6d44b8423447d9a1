//! The loop: lead, observe, plan, apply, then wait for the timer or a nudge. A duty that fails says so, once a
//! minute at most, and stops neither the others nor the loop.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rgrid_core::Timestamp;
use rgrid_core::fleet::{Action, Backing, FleetPolicy, FleetView, Reason, health, lifecycle, provisioning};
use rgrid_core::limits;
use rgrid_core::worker::WorkerStatus;
use rgrid_store::Store;
use rgrid_store::fleet::FleetRows;
use rgrid_store::leadership::Term;
use rgrid_store::notify::Nudge;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::apply::{Round, apply};
use crate::bought::{Books, Bought, Period};
use crate::cloud::{Cloud, Listing, Target};
use crate::error::Error;
use crate::experience::Experience;
use crate::guards;
use crate::housekeeping;
use crate::observe::{Failures, Provided, view};

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
    /// Whether anything may be changed at a provider that bills.
    pub spending: Spending,
    /// How often such a provider is asked.
    pub period: Period,
}

/// Whether anything may be created, changed or deleted at a provider that bills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spending {
    /// It may.
    On,
    /// It is observed and planned, and what would be done is logged; for this reason.
    Off(String),
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
    let cloud = Arc::new(cloud);
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
                () = state.bought.errands.wait() => break,
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
    state.bought.errands.finish().await;
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

impl Config {
    /// Why work waits, with what keeps this grid from buying before it.
    fn explain(&self, words: &str, stopped: bool) -> String {
        match &self.spending {
            Spending::Off(why) => format!("no server is bought: {why}; {words}"),
            Spending::On if stopped => format!("no server is bought: `rgrid cloud stop` was said; {words}"),
            Spending::On => words.to_owned(),
        }
    }
}

/// All spending was stopped: what is idle goes at once, what works finishes and goes.
fn drain_all(fleet: &FleetView, actions: &mut Vec<(Action, Reason)>) {
    for worker in &fleet.workers {
        let drain = Action::Drain(worker.id);
        let works = worker.status == WorkerStatus::Active && worker.backing == Backing::Server;
        if works && actions.iter().all(|(action, _)| *action != drain) {
            actions.push((drain, Reason::NotWanted));
        }
    }
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
    bought: Bought,
    experience: Experience,
    reported: HashMap<&'static str, Instant>,
}

impl State {
    async fn round<C: Cloud>(&mut self, config: &Config, store: &Store, cloud: &Arc<C>, stage: Stage) {
        if let Err(error) = self.lead(config, store).await {
            self.report("leadership", &error);
        }
        let Some(term) = self.term else { return };
        for error in self.bought.settle(store, &term, cloud.name()).await {
            self.report("provider", &error);
        }
        let bills = cloud.backing() == Backing::Server;
        let rows = match store.fleet(config.policy.patience).await {
            Ok(rows) => rows,
            Err(error) => {
                self.report("observe", &error.into());
                return;
            }
        };
        let books = match bills {
            false => None,
            true => match Books::read(store, cloud.name()).await {
                Ok(books) => Some(books),
                Err(error) => {
                    self.report("observe", &error);
                    return;
                }
            },
        };
        let listing = match &books {
            None => self.list(cloud, &rows).await,
            Some(books) => {
                self.bought.ask(cloud, books, config.period);
                self.bought.listing().cloned()
            }
        };
        self.note_gap(rows.now);
        if rows.workers.iter().any(|row| row.status == WorkerStatus::Active) {
            self.failures = Failures::default();
        }
        let stopped = books.as_ref().is_some_and(|books| books.grid.spending_stopped_at.is_some())
            && guards::holds(&guards::STOP_HEEDED);
        let workers_max = if config.retire.is_cancelled() || stopped { 0 } else { config.policy.workers_max };
        let policy = FleetPolicy { workers_max, ..config.policy.clone() };
        let failures = books.as_ref().map_or(self.failures, |books| Failures {
            in_a_row: books.market.failed_in_a_row,
            newest_at: books.market.failed_at,
        });
        if bills {
            // Without it nothing is expected to make room.
            if let Err(error) = self.experience.learn(store).await {
                self.report("history", &error);
            }
            if let Err(error) = self.bought.tell_clock(store, &term, cloud.name(), rows.now).await {
                self.report("provider", &error);
            }
        }
        let provided = Provided {
            name: cloud.name(),
            listing: listing.as_ref(),
            servers: books.as_ref().map_or(&[], |books| &books.servers),
            market: books.as_ref().map(|books| self.bought.market(&books.market)).unwrap_or_default(),
            ahead: self.bought.ahead(rows.now),
        };
        let history = std::mem::take(&mut self.experience.history);
        let fleet = view(&rows, provided, failures, history);
        let round = Round {
            store,
            cloud,
            term: &term,
            rows: &rows,
            listing: listing.as_ref(),
            books: books.as_ref(),
            spending: &config.spending,
        };
        for (duty, _) in DUTIES {
            let mut outlook = None;
            let actions = match duty {
                "health" => health::plan(&fleet, &policy, rows.now, self.judge_after),
                "provisioning" if stage == Stage::Leaving => Vec::new(),
                "provisioning" => {
                    let decision = provisioning::decide(&fleet, &policy, rows.now);
                    outlook = Some(decision.outlook.map(|outlook| outlook.to_string()));
                    decision.actions
                }
                _ => {
                    let mut actions = lifecycle::plan(&fleet, &policy, rows.now);
                    if stopped {
                        drain_all(&fleet, &mut actions);
                    }
                    actions
                }
            };
            let mut whole = true;
            for (action, reason) in &actions {
                if matches!(action, Action::MarkFailed(_)) {
                    self.failures.in_a_row = self.failures.in_a_row.saturating_add(1);
                    self.failures.newest_at = Some(rows.now);
                }
                if let Err(error) = apply(&round, &mut self.bought.errands, action, reason).await {
                    whole = false;
                    self.report(duty, &error);
                }
            }
            if let (true, Some(outlook)) = (bills, outlook) {
                let sentence = outlook.map(|words| config.explain(&words, stopped));
                if let Err(error) = self.bought.say(store, &term, sentence).await {
                    self.report(duty, &error);
                }
            }
            if whole {
                metrics::gauge!("rgrid_duty_last_success_timestamp_seconds", "duty" => duty)
                    .set(rows.now.timestamp_millis() as f64 / 1000.0);
            }
        }
        self.experience.history = fleet.history;
        if let Some(books) = &books
            && let Err(error) = self.reconcile(config, store, cloud, &term, books, rows.now).await
        {
            self.report("reconciliation", &error);
        }
        if self.expired_at.is_none_or(|at| at.elapsed() >= EXPIRY_PERIOD) {
            self.expired_at = Some(Instant::now());
            if let Err(error) = store.expire_pending(&term).await {
                self.report("expiry", &error.into());
            }
        }
    }

    /// What a provider that does not bill has of ours.
    async fn list<C: Cloud>(&mut self, cloud: &Arc<C>, rows: &FleetRows) -> Option<Listing> {
        let ours = rows.workers.iter().filter(|row| row.provider == cloud.name());
        let expected: Vec<Target> =
            ours.map(|row| Target { worker: row.id, server: None, name: None }).collect();
        match cloud.list(&expected).await {
            Ok(listing) => Some(listing),
            Err(error) => {
                self.report("listing", &error.into());
                None
            }
        }
    }

    /// Both ways between the provider and what was ordered.
    async fn reconcile<C: Cloud>(
        &mut self,
        config: &Config,
        store: &Store,
        cloud: &Arc<C>,
        term: &Term,
        books: &Books,
        now: Timestamp,
    ) -> Result<(), Error> {
        for listed in self.bought.reconcile(store, term, books, now).await? {
            let target =
                Target { worker: listed.worker, server: Some(listed.server.id), name: Some(listed.name) };
            match &config.spending {
                Spending::On => self.bought.errands.delete(cloud, listed.intent, target),
                Spending::Off(why) => tracing::info!(?target, why, "would delete"),
            }
        }
        Ok(())
    }

    /// Takes or renews leadership when it is time to.
    async fn lead(&mut self, config: &Config, store: &Store) -> Result<(), Error> {
        if self.term.is_some() && self.renewed_at.is_some_and(|at| at.elapsed() < limits::LEADER_RENEW / 2) {
            return Ok(());
        }
        let led = self.term.is_some();
        // Without an answer nobody knows who leads: act as one who does not.
        self.term = None;
        let asked = Instant::now();
        self.term = store.lead(&config.holder).await?;
        match self.term {
            Some(_) => self.bought.errands.lease.renewed(asked),
            None => self.bought.errands.lease.lost(),
        }
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
