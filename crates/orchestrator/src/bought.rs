//! The provider's side of a round, where it bills: what came of the calls is written, what it shows is held against what was
//! ordered, both ways, and every hour that has begun gets its line.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use rgrid_core::Timestamp;
use rgrid_core::fleet::catalog::Catalog;
use rgrid_core::fleet::ladder::{Pause, PauseCause, Refusal, Shortfall};
use rgrid_core::fleet::{Market, Order};
use rgrid_core::id::IntentId;
use rgrid_core::money::started_hours;
use rgrid_store::Store;
use rgrid_store::leadership::Term;
use rgrid_store::market::MarketRows;
use rgrid_store::servers::{GridState, Ordered, ServerRow};
use tokio::time::Instant;

use crate::cloud::{self, Cloud, Deletion, Failure, Listed, Listing, Target};
use crate::errands::{Done, Errands};
use crate::error::Error;
use crate::guards;

/// An unowned server is deleted when so many listings in a row have shown it.
const SIGHTINGS: u32 = 2;
/// After a restore unowned servers are only reported for this long.
const RESTORED_REST: TimeDelta = TimeDelta::minutes(30);

/// The provider's clock is told anew when it has moved by so much: hours are judged by minutes.
const CLOCK_CHANGE: TimeDelta = TimeDelta::seconds(5);

/// How often the provider is asked of its own accord.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// For what there is.
    pub list: Duration,
    /// For what could be.
    pub catalog: Duration,
}

impl Default for Period {
    /// Of 3,600 calls an hour these are 384.
    fn default() -> Self {
        Self { list: Duration::from_secs(10), catalog: Duration::from_secs(600) }
    }
}

/// What is remembered of the provider from round to round.
#[derive(Debug, Default)]
pub(crate) struct Bought {
    pub(crate) errands: Errands,
    catalog: Catalog,
    catalog_at: Option<Instant>,
    listed_at: Option<Instant>,
    /// The newest one; `None` since one failed.
    listing: Option<Listing>,
    /// It was not looked at yet.
    fresh: bool,
    /// Servers that nobody means to have, and how often they were seen in a row.
    unowned: HashMap<IntentId, u32>,
    /// How far its clock was ahead when that was last told.
    told_ahead: Option<TimeDelta>,
    /// The last sentence that was said, and when.
    said: Option<(Option<String>, Instant)>,
}

/// What is read of one round.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) servers: Vec<ServerRow>,
    pub(crate) market: MarketRows,
    pub(crate) grid: GridState,
}

impl Books {
    pub(crate) async fn read(store: &Store, provider: &str) -> Result<Self, Error> {
        let (servers, market, grid) =
            tokio::try_join!(store.servers(), store.market(provider), store.grid_state())?;
        let servers = servers.into_iter().filter(|row| row.provider == provider).collect();
        Ok(Self { servers, market, grid })
    }

    /// The server behind an intent, as the provider is told of it.
    pub(crate) fn target(&self, worker: rgrid_core::id::WorkerId) -> Option<(IntentId, Target)> {
        let row = self.servers.iter().find(|row| row.worker == Some(worker))?;
        Some((row.intent, Target { worker, server: row.server.clone(), name: Some(row.name.clone()) }))
    }
}

impl Bought {
    /// The newest listing that did not fail.
    pub(crate) fn listing(&self) -> Option<&Listing> {
        self.listing.as_ref()
    }

    /// By how much the provider's clock is ahead of PostgreSQL's, which said `now` a moment ago.
    pub(crate) fn ahead(&self, now: Timestamp) -> TimeDelta {
        let skew = self.listing.as_ref().and_then(|listing| listing.skew);
        skew.map_or(TimeDelta::zero(), |skew| Utc::now() + skew - now)
    }

    /// Tells the claims how far the provider's clock is ahead, when that has changed.
    pub(crate) async fn tell_clock(
        &mut self,
        store: &Store,
        term: &Term,
        provider: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let ahead = self.ahead(now);
        let known = self.told_ahead.is_some_and(|told| (told - ahead).abs() < CLOCK_CHANGE);
        if self.listing.is_some() && !known {
            store.provider_ahead(term, provider, ahead).await?;
            self.told_ahead = Some(ahead);
        }
        Ok(())
    }

    /// Writes what came of the calls.
    pub(crate) async fn settle(&mut self, store: &Store, term: &Term, provider: &str) -> Vec<Error> {
        let mut failed = Vec::new();
        for done in self.errands.take() {
            let settled = match done {
                Done::Created { ordered, order, result } => {
                    created(store, term, provider, &ordered, &order, result).await
                }
                Done::Deleted { intent, target, result } => {
                    deleted(store, term, intent, &target, result).await
                }
                Done::Listed { result } => match result {
                    Ok(listing) => {
                        (self.listing, self.fresh) = (Some(listing), true);
                        Ok(())
                    }
                    Err(error) => {
                        self.listing = None;
                        Err(error.into())
                    }
                },
                Done::Catalog { result } => result.map(|catalog| self.catalog = catalog).map_err(Error::from),
            };
            failed.extend(settled.err());
        }
        failed
    }

    /// Asks for what is due: `books` were read before, so that whatever they hold was created before the listing begins.
    pub(crate) fn ask<C: Cloud>(&mut self, cloud: &Arc<C>, books: &Books, period: Period) {
        let due = |at: Option<Instant>, period: Duration| at.is_none_or(|at| at.elapsed() >= period);
        if due(self.listed_at, period.list) && self.errands.has_room() {
            self.listed_at = Some(Instant::now());
            let expected = books.servers.iter().filter_map(|row| {
                let worker = row.worker?;
                Some(Target { worker, server: row.server.clone(), name: Some(row.name.clone()) })
            });
            self.errands.list(cloud, expected.collect());
        }
        let without = self.catalog.types.is_empty();
        let catalog_period = if without { period.list } else { period.catalog };
        if due(self.catalog_at, catalog_period) && self.errands.has_room() {
            self.catalog_at = Some(Instant::now());
            self.errands.catalog(cloud);
        }
    }

    /// Holds a new listing against what was ordered: adopts what an earlier create made, bills what has begun, and finds
    /// servers of ours that nobody means to have. Those come back, to be deleted.
    pub(crate) async fn reconcile(
        &mut self,
        store: &Store,
        term: &Term,
        books: &Books,
        now: Timestamp,
    ) -> Result<Vec<Listed>, Error> {
        let provider_now = now + self.ahead(now);
        for row in &books.servers {
            let begun = row.created.filter(|_| row.server.is_some());
            if self.listing.is_some() && begun.is_some_and(|at| started_hours(at, provider_now) > row.hours) {
                store.bill(term, row, provider_now).await?;
            }
        }
        if !std::mem::take(&mut self.fresh) {
            return Ok(Vec::new());
        }
        let Some(listing) = self.listing.clone() else { return Ok(Vec::new()) };
        // One that nobody wants any more, and that an answer come late has shown once more: its bill ends too.
        for row in books.servers.iter().filter(|row| row.ended && row.server.is_some()) {
            if row.worker.is_some_and(|worker| listing.gone.contains(&worker)) {
                store.server_gone(term, row.intent, provider_now).await?;
            }
        }
        let mut unowned = HashMap::new();
        let mut condemned = Vec::new();
        for listed in listing.servers {
            let row = books.servers.iter().find(|row| row.intent == listed.intent && !row.ended);
            if let Some(row) = row {
                if row.server.is_none() {
                    seen(store, term, listed.intent, &listed.server).await?;
                }
                continue;
            }
            let seen = self.unowned.get(&listed.intent).copied().unwrap_or(0) + 1;
            unowned.insert(listed.intent, seen);
            let restored = books.grid.restored_at.is_some_and(|at| now - at < RESTORED_REST);
            if restored && guards::holds(&guards::RESTORED_REST) {
                tracing::warn!(
                    name = listed.name,
                    server = listed.server.id,
                    epoch = listed.epoch,
                    "a server without an order: reported and left alone, because the database was just restored"
                );
            } else if seen >= SIGHTINGS || !guards::holds(&guards::TWO_SIGHTINGS) {
                condemned.push(listed);
            }
        }
        self.unowned = unowned;
        let intents: Vec<IntentId> = condemned.iter().map(|listed| listed.intent).collect();
        if intents.is_empty() {
            return Ok(Vec::new());
        }
        let unwanted = store.unwanted_servers(term, &intents).await?;
        condemned.retain(|listed| unwanted.contains(&listed.intent));
        for listed in &condemned {
            tracing::warn!(
                name = listed.name,
                server = listed.server.id,
                "a server of ours that nobody means to have"
            );
            // It is billed until it is gone, whatever we thought of it.
            seen(store, term, listed.intent, &listed.server).await?;
        }
        Ok(condemned)
    }

    /// The provider's side of a view.
    pub(crate) fn market(&self, rows: &MarketRows) -> Market {
        let refusals = rows.refusals.iter().map(|(machine_type, location, in_a_row, at)| Refusal {
            machine_type: machine_type.clone(),
            location: location.clone(),
            in_a_row: *in_a_row,
            at: *at,
        });
        let shortfalls = rows.shortfalls.iter().map(|(machine_type, promised, joined, at)| Shortfall {
            machine_type: machine_type.clone(),
            promised: *promised,
            joined: *joined,
            at: *at,
        });
        let pause = rows.pause.as_ref().and_then(|(word, in_a_row, at)| {
            Some(Pause { cause: cause_of(word)?, in_a_row: *in_a_row, at: *at })
        });
        Market {
            catalog: self.catalog.clone(),
            refusals: refusals.collect(),
            shortfalls: shortfalls.collect(),
            pause,
            spent_this_month: rows.spent_this_month,
        }
    }

    /// Says why work waits, when that changed or was said long ago.
    pub(crate) async fn say(
        &mut self,
        store: &Store,
        term: &Term,
        sentence: Option<String>,
    ) -> Result<(), Error> {
        const AGAIN: Duration = Duration::from_secs(20);
        let known = self.said.as_ref().is_some_and(|(said, at)| *said == sentence && at.elapsed() < AGAIN);
        if !known {
            store.say_outlook(term, sentence.as_deref()).await?;
            self.said = Some((sentence, Instant::now()));
        }
        Ok(())
    }
}

/// What a pause is called in its row.
fn word_of(cause: PauseCause) -> &'static str {
    match cause {
        PauseCause::Quota => "quota",
        PauseCause::Unauthorized => "unauthorized",
        PauseCause::RateLimited => "rate_limited",
        PauseCause::Unavailable => "unavailable",
    }
}

fn cause_of(word: &str) -> Option<PauseCause> {
    [PauseCause::Quota, PauseCause::Unauthorized, PauseCause::RateLimited, PauseCause::Unavailable]
        .into_iter()
        .find(|cause| word_of(*cause) == word)
}

async fn seen(store: &Store, term: &Term, intent: IntentId, server: &cloud::Server) -> Result<(), Error> {
    Ok(store.server_seen(term, intent, &server.id, server.created, server.rate.as_ref()).await?)
}

async fn created(
    store: &Store,
    term: &Term,
    provider: &str,
    ordered: &Ordered,
    order: &Order,
    result: Result<Option<cloud::Server>, cloud::Error>,
) -> Result<(), Error> {
    let Order { machine_type, location, .. } = order;
    let error = match result {
        Ok(Some(server)) => {
            tracing::info!(name = ordered.name, server = server.id, machine_type, location, "server created");
            seen(store, term, ordered.intent, &server).await?;
            return Ok(store.cell_taken(term, provider, machine_type, location).await?);
        }
        Ok(None) => return Ok(()),
        Err(error @ cloud::Error::LeaseEnded { begun }) => {
            // Not the provider's doing: nothing pauses for it. What may be there is found by its name.
            if !begun {
                store.server_refused(term, ordered.intent, &error.to_string()).await?;
            }
            return Err(error.into());
        }
        Err(error) => error,
    };
    let (certain, pause) = match error.failure() {
        Some(
            Failure::Capacity | Failure::Refused | Failure::Locked | Failure::Protected | Failure::NotFound,
        )
        | None => {
            store.cell_refused(term, provider, machine_type, location).await?;
            (true, None)
        }
        Some(Failure::NameTaken) => (true, None),
        Some(Failure::Quota) => (true, Some(PauseCause::Quota)),
        Some(Failure::Unauthorized) => (true, Some(PauseCause::Unauthorized)),
        Some(Failure::TooManyCalls) => (true, Some(PauseCause::RateLimited)),
        Some(Failure::Unavailable) => (true, Some(PauseCause::Unavailable)),
        // There may be a server: its place stays taken until a listing shows it or its deadline has passed.
        Some(Failure::Ambiguous) => (!guards::holds(&guards::AMBIGUOUS_KEPT), Some(PauseCause::Unavailable)),
    };
    if certain {
        store.server_refused(term, ordered.intent, &error.to_string()).await?;
    }
    if let Some(cause) = pause {
        store.provider_paused(term, provider, word_of(cause)).await?;
    }
    Err(error.into())
}

async fn deleted(
    store: &Store,
    term: &Term,
    intent: IntentId,
    target: &Target,
    result: Result<Deletion, cloud::Error>,
) -> Result<(), Error> {
    match result? {
        Deletion::Asked(at) if guards::holds(&guards::ASKED_IS_NOT_GONE) => {
            store.server_delete_taken(term, intent, at).await?;
        }
        Deletion::Asked(at) | Deletion::Gone(at) => {
            tracing::info!(name = target.name, server = target.server, "server gone");
            store.server_gone(term, intent, at).await?;
            store.mark_terminated(term, target.worker).await?;
        }
    }
    Ok(())
}
