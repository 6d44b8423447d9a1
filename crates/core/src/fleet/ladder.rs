//! Which server to order next: every type at every location that may be ordered, the cheapest core first, and what
//! bars a cell for a while. A refused cell stops no other; a cell that goes on refusing is asked ever more rarely.

use std::fmt;
use std::time::Duration;

use crate::Timestamp;
use crate::fleet::{FleetPolicy, FleetView, Market, Order, ServerPolicy};
use crate::money::Micros;
use crate::worker::{Capacity, WorkerStatus};
use crate::{guards, limits};

/// An order of a type at a location that was refused for want of capacity, or as impossible there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The type.
    pub machine_type: String,
    /// The location.
    pub location: String,
    /// So often in a row; at least 1.
    pub in_a_row: u32,
    /// When last.
    pub at: Timestamp,
}

/// A type whose worker joined with less than [`crate::fleet::catalog::MachineType::capacity`] promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortfall {
    /// The type.
    pub machine_type: String,
    /// What was promised.
    pub promised: Capacity,
    /// What came.
    pub joined: Capacity,
    /// When.
    pub at: Timestamp,
}

/// Why a provider takes no order for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseCause {
    /// The account's limit of servers, cores or addresses is reached.
    Quota,
    /// The token is not accepted, or may only read: a person must act.
    Unauthorized,
    /// Too many calls.
    RateLimited,
    /// The provider fails, or is being maintained.
    Unavailable,
}

/// A provider that takes no order at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// Why.
    pub cause: PauseCause,
    /// So often in a row; at least 1.
    pub in_a_row: u32,
    /// When last.
    pub at: Timestamp,
}

/// Doubled with each repetition, between `least` and `most`.
fn doubled(least: Duration, most: Duration, in_a_row: u32) -> Duration {
    least.saturating_mul(1u32.checked_shl(in_a_row.saturating_sub(1)).unwrap_or(u32::MAX)).min(most)
}

impl Refusal {
    /// The cell is not asked before.
    pub fn until(&self) -> Timestamp {
        self.at + doubled(limits::CELL_REST_MIN, limits::CELL_REST_MAX, self.in_a_row)
    }
}

impl Shortfall {
    /// The type is not bought before.
    pub fn until(&self) -> Timestamp {
        self.at + limits::SHORT_TYPE_REST
    }
}

impl Pause {
    /// Nothing is ordered before.
    pub fn until(&self) -> Timestamp {
        let (least, most) = match self.cause {
            PauseCause::Quota => (limits::QUOTA_REST_MIN, limits::CELL_REST_MAX),
            PauseCause::Unauthorized => (limits::CELL_REST_MAX, limits::CELL_REST_MAX),
            PauseCause::RateLimited => (limits::RATE_REST_MIN, limits::CELL_REST_MIN),
            PauseCause::Unavailable => (limits::RATE_REST_MIN, limits::QUOTA_REST_MIN),
        };
        self.at + doubled(least, most, self.in_a_row)
    }
}

/// What keeps a cell from being ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bar {
    /// The provider says that it is sold out.
    SoldOut,
    /// It refused the last order, and is asked again then.
    Refused(Timestamp),
    /// Workers on this type joined with less than promised.
    Short(Timestamp),
    /// It is not sold any more.
    Ended,
    /// An hour costs more than the operator allows.
    Dear(Micros),
}

/// A type at a location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// What would be ordered.
    pub order: Order,
    /// Why it cannot be; `None` when it can.
    pub bar: Option<Bar>,
}

/// All cells that the operator's words allow, the cheapest core first, barred ones included for those who explain.
pub fn cells(market: &Market, policy: &ServerPolicy, now: Timestamp) -> Vec<Cell> {
    let place = |list: &[String], name: &str| -> Option<usize> {
        if list.is_empty() { Some(0) } else { list.iter().position(|named| named == name) }
    };
    let mut ranked = Vec::new();
    for machine_type in market.catalog.types.iter().filter(|t| t.architecture == policy.architecture) {
        let Some(type_rank) = place(&policy.types, &machine_type.name) else { continue };
        for offering in &machine_type.locations {
            let Some(location_rank) = place(&policy.locations, &offering.location) else { continue };
            let price = market.catalog.price(&machine_type.name, &offering.location, policy.ipv4);
            let Some(price) = price else { continue };
            let order = Order {
                machine_type: machine_type.name.clone(),
                location: offering.location.clone(),
                price,
                capacity: machine_type.capacity(),
                slots: machine_type.slots(),
            };
            let short = market
                .shortfalls
                .iter()
                .find(|s| s.machine_type == order.machine_type)
                .filter(|_| guards::holds(&guards::SHORT_TYPE_RESTS));
            let refused = market
                .refusals
                .iter()
                .find(|r| r.machine_type == order.machine_type && r.location == order.location)
                .filter(|_| guards::holds(&guards::REFUSED_CELL_RESTS));
            let bar = if offering.ends_at.is_some_and(|end| end <= now) {
                Some(Bar::Ended)
            } else if policy.hour_price_max.is_some_and(|max| price.hour() > max)
                && guards::holds(&guards::HOUR_PRICE)
            {
                Some(Bar::Dear(price.hour()))
            } else if let Some(until) = short.map(Shortfall::until).filter(|until| *until > now) {
                Some(Bar::Short(until))
            } else if let Some(until) = refused.map(Refusal::until).filter(|until| *until > now) {
                Some(Bar::Refused(until))
            } else if !offering.orderable {
                Some(Bar::SoldOut)
            } else {
                None
            };
            // Compared as products: no division, no rounding.
            let per_core = (price.hour().0, i64::from(machine_type.cores.max(1)));
            ranked.push((per_core, type_rank, location_rank, Cell { order, bar }));
        }
    }
    ranked.sort_by(|a, b| {
        let (price_a, cores_a) = a.0;
        let (price_b, cores_b) = b.0;
        (price_a * cores_b, a.1, cores_a, a.2).cmp(&(price_b * cores_a, b.1, cores_b, b.2))
    });
    ranked.into_iter().map(|(_, _, _, cell)| cell).collect()
}

/// Why no order at all may be placed at `now`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// The provider takes none until then.
    Paused(PauseCause, Timestamp),
    /// So many servers in a row never joined; one more is tried then.
    Breaker(u32, Timestamp),
}

/// Whether the provider's door is closed.
pub fn closed(view: &FleetView, now: Timestamp) -> Option<Closed> {
    let paused = view.market.pause.filter(|pause| pause.until() > now);
    if let Some(pause) = paused.filter(|_| guards::holds(&guards::PAUSED_PROVIDER_RESTS)) {
        return Some(Closed::Paused(pause.cause, pause.until()));
    }
    let failed = view.failed_in_a_row;
    let until = view.failed_at? + breaker_rest(failed);
    (until > now && guards::holds(&guards::BREAKER)).then_some(Closed::Breaker(failed, until))
}

/// How long nothing is bought after so many servers in a row never joined: the first is replaced at once.
fn breaker_rest(in_a_row: u32) -> Duration {
    match in_a_row {
        0 | 1 => Duration::ZERO,
        n => doubled(limits::BREAKER_REST_MIN, limits::BREAKER_REST_MAX, n - 1),
    }
}

/// How many servers may be ordered now: while servers fail to join one alone is on its way, as a trial, until one joins.
pub fn orders_max(view: &FleetView, policy: &FleetPolicy) -> u32 {
    let on_trial = || view.workers.iter().any(|worker| worker.status == WorkerStatus::Provisioning);
    match view.failed_in_a_row {
        0 => policy.workers_max,
        _ if guards::holds(&guards::ONE_ON_TRIAL) => u32::from(!on_trial()),
        _ => policy.workers_max,
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SoldOut => f.write_str("sold out"),
            Self::Refused(until) => write!(f, "refused, asked again at {}", until.format("%H:%M:%S")),
            Self::Short(until) => {
                write!(f, "brought less than promised, tried again at {}", until.format("%F %H:%M"))
            }
            Self::Ended => f.write_str("not sold any more"),
            Self::Dear(hour) => write!(f, "{hour} an hour, more than is allowed"),
        }
    }
}

impl fmt::Display for PauseCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quota => "the account's limit at the provider is reached",
            Self::Unauthorized => "the provider does not accept the token",
            Self::RateLimited => "the provider asks for fewer calls",
            Self::Unavailable => "the provider does not answer as it should",
        })
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused(cause, until) => write!(f, "{cause}; asked again at {}", until.format("%H:%M:%S")),
            Self::Breaker(failed, until) => {
                write!(
                    f,
                    "{failed} servers in a row never joined; one more is tried at {}",
                    until.format("%H:%M:%S")
                )
            }
        }
    }
}
