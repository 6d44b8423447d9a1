//! Why work waits and what happens next, in sentences: for `rgrid status` and the log.

use std::fmt;
use std::time::Duration;

use crate::fleet::Order;
use crate::fleet::ladder::{Cell, Closed};
use crate::money::Micros;
use crate::quantity::format_duration;

/// Barred cells that one sentence names.
const BARRED_SHOWN_MAX: usize = 3;

/// One thing that keeps work waiting, or that is being done about it.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// Servers are ordered; these cells come before the first of them on the ladder and cannot be ordered.
    Ordering {
        /// The first order.
        order: Order,
        /// How many.
        servers: u32,
        /// What is cheaper and barred.
        passed: Vec<Cell>,
    },
    /// So many places are on servers that have not joined yet.
    OnTheWay {
        /// Places.
        places: u32,
    },
    /// Places of running work are expected to be free before a new server could be up.
    SoonFree,
    /// What waits may wait for so long before a server is bought for it.
    Patient(Duration),
    /// There are as many workers as there may be.
    WorkersMax,
    /// An hour of all servers costs as much as it may.
    SpendPerHour(Micros),
    /// This month has cost as much as it may.
    SpendPerMonth(Micros),
    /// The provider takes no order for a while.
    Closed(Closed),
    /// No type that may be bought can hold what waits.
    NothingHolds,
    /// Every type that could hold it is barred for a while; the ladder's first ones.
    AllBarred(Vec<Cell>),
}

/// Why work waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Outlook {
    /// Why, the most telling first; at least one.
    pub notes: Vec<Note>,
    /// Workers there are, those on the way or being removed included.
    pub workers: u32,
    /// Workers there may be.
    pub workers_max: u32,
}

/// The first of `cells`, as a list for people.
fn barred(f: &mut fmt::Formatter<'_>, cells: &[Cell]) -> fmt::Result {
    for (n, cell) in cells.iter().take(BARRED_SHOWN_MAX).enumerate() {
        let Some(bar) = &cell.bar else { continue };
        let comma = if n == 0 { "" } else { ", " };
        write!(f, "{comma}{} in {}: {bar}", cell.order.machine_type, cell.order.location)?;
    }
    if cells.len() > BARRED_SHOWN_MAX {
        write!(f, " and {} more", cells.len() - BARRED_SHOWN_MAX)?;
    }
    Ok(())
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ordering { order, servers, passed } => {
                if !passed.is_empty() {
                    barred(f, passed)?;
                    f.write_str("; ")?;
                }
                let trying = if passed.is_empty() { "ordering" } else { "trying" };
                write!(f, "{trying} {} in {}", order.machine_type, order.location)?;
                if *servers > 1 { write!(f, " and {} more", servers - 1) } else { Ok(()) }
            }
            Self::OnTheWay { places } => write!(f, "servers with room for {places} are starting"),
            Self::SoonFree => f.write_str("running work is expected to make room before a new server could"),
            Self::Patient(time) => {
                write!(f, "a server is bought for what has waited for {}", format_duration(*time))
            }
            Self::WorkersMax => f.write_str("there are as many servers as are allowed"),
            Self::SpendPerHour(limit) => write!(f, "the servers cost the {limit} that an hour may"),
            Self::SpendPerMonth(limit) => write!(f, "the {limit} that this month may cost are spent"),
            Self::Closed(closed) => closed.fmt(f),
            Self::NothingHolds => f.write_str("no type that may be bought can hold it"),
            Self::AllBarred(cells) => barred(f, cells),
        }
    }
}

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            write!(f, "{note}; ")?;
        }
        write!(f, "{} of {} servers", self.workers, self.workers_max)
    }
}
