//! Rows and the provider's listing become the one view that core decides by.

use rgrid_core::Timestamp;
use rgrid_core::fleet::forecast::{History, Kind};
use rgrid_core::fleet::{Backing, Demand, FleetView, Machine, Market, Overdue, WorkerView};
use rgrid_core::limits;
use rgrid_store::fleet::{FleetRows, FleetWorkerRow};

use crate::cloud::Listing;

/// New workers that failed since one last joined; kept from round to round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Failures {
    pub(crate) in_a_row: u32,
    pub(crate) newest_at: Option<Timestamp>,
}

/// Puts the view together. `listing` is `None` when the provider did not answer: then no machine is judged.
pub(crate) fn view(
    rows: &FleetRows,
    provider: &str,
    listing: Option<&Listing>,
    failures: Failures,
) -> FleetView {
    FleetView {
        workers: rows.workers.iter().map(|row| worker(row, provider, listing)).collect(),
        demand: rows
            .demand
            .iter()
            .map(|row| Demand {
                wanted: row.wanted,
                executions: row.count,
                impatient: row.count,
                oldest_queued_at: row.oldest,
                kind: Kind(0),
            })
            .collect(),
        running: Vec::new(),
        history: History::default(),
        market: Market::default(),
        overdue: rows
            .overdue
            .iter()
            .map(|row| Overdue {
                execution: row.execution_id,
                number: row.attempt,
                claimed_at: row.claimed_at,
                named: row.named,
                lease_until: row.lease_until,
            })
            .collect(),
        failed_in_a_row: failures.in_a_row,
        failed_at: failures.newest_at,
        outage_until: outage_until(rows),
    }
}

fn worker(row: &FleetWorkerRow, provider: &str, listing: Option<&Listing>) -> WorkerView {
    let backing = match row.provider.as_str() {
        "local" => Backing::Local,
        "static" => Backing::Static,
        _ => Backing::Server,
    };
    let machine = match listing {
        Some(listing) if row.provider == provider => {
            if listing.present.contains(&row.id) {
                Machine::Present
            } else {
                Machine::Absent
            }
        }
        Some(_) | None => Machine::Unknown,
    };
    WorkerView {
        id: row.id,
        status: row.status,
        status_since: row.status_since,
        backing,
        created_at: row.created_at,
        joined_at: row.joined_at,
        last_heartbeat_at: row.last_heartbeat_at,
        slots: row.slots,
        capacity: row.capacity,
        used: row.used,
        open_attempts: row.open_attempts,
        idle_since: row.idle_since.filter(|_| row.open_attempts == 0),
        machine,
        server: None,
    }
}

/// The end of the newest outage; the view's own moment while one lasts.
fn outage_until(rows: &FleetRows) -> Option<Timestamp> {
    let lasts = rows
        .outages
        .last_beat_at
        .is_none_or(|beat| (rows.now - beat).to_std().is_ok_and(|gap| gap > limits::OUTAGE_GAP));
    if lasts { Some(rows.now) } else { rows.outages.last_gap_end }
}
