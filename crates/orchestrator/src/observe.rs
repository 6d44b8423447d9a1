//! Rows and the provider's listing become the one view that core decides by.

use chrono::TimeDelta;
use rgrid_core::Timestamp;
use rgrid_core::fleet::forecast::{History, Kind, Running};
use rgrid_core::fleet::{Backing, Demand, FleetView, Machine, Market, Overdue, ServerView, WorkerView};
use rgrid_core::limits;
use rgrid_core::worker::Capacity;
use rgrid_store::durations::RunningRow;
use rgrid_store::fleet::{FleetRows, FleetWorkerRow};
use rgrid_store::servers::ServerRow;

use crate::cloud::Listing;

/// New workers that failed since one last joined; kept from round to round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Failures {
    pub(crate) in_a_row: u32,
    pub(crate) newest_at: Option<Timestamp>,
}

/// The provider's side.
#[derive(Debug, Default)]
pub(crate) struct Provided<'a> {
    pub(crate) name: &'a str,
    /// `None` when it did not answer: then no machine is judged.
    pub(crate) listing: Option<&'a Listing>,
    /// What was ordered of it.
    pub(crate) servers: &'a [ServerRow],
    pub(crate) market: Market,
    /// By how much its clock is ahead: its hours are counted by it.
    pub(crate) ahead: TimeDelta,
}

/// Of what waits and is of more than one script: nothing is known of its durations.
const MIXED: Kind = Kind(0);

/// Puts the view together.
pub(crate) fn view(
    rows: &FleetRows,
    provided: Provided<'_>,
    failures: Failures,
    history: History,
) -> FleetView {
    FleetView {
        workers: rows.workers.iter().map(|row| worker(row, &provided)).collect(),
        demand: rows
            .demand
            .iter()
            .map(|row| Demand {
                wanted: row.wanted,
                executions: row.count,
                impatient: row.impatient,
                oldest_queued_at: row.oldest,
                kind: row.kind.map_or(MIXED, Kind),
            })
            .collect(),
        running: rows.running.iter().map(|row| running(row, &rows.workers)).collect(),
        history,
        market: provided.market,
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

fn worker(row: &FleetWorkerRow, provided: &Provided<'_>) -> WorkerView {
    let backing = match row.provider.as_str() {
        "local" => Backing::Local,
        "static" => Backing::Static,
        _ => Backing::Server,
    };
    let machine = match provided.listing {
        Some(listing) if row.provider == provided.name => {
            if listing.present.contains(&row.id) {
                Machine::Present
            } else if listing.gone.contains(&row.id) {
                Machine::Absent
            } else {
                Machine::Unknown
            }
        }
        Some(_) | None => Machine::Unknown,
    };
    let server = provided.servers.iter().find(|server| server.worker == Some(row.id));
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
        server: server.map(|server| ServerView {
            machine_type: server.machine_type.clone(),
            location: server.location.clone(),
            created: server.created.map(|created| created - provided.ahead),
            price: server.price,
        }),
    }
}

/// What runs, with the room that it leaves: its worker's share where it asked for nothing.
fn running(row: &RunningRow, workers: &[FleetWorkerRow]) -> Running {
    // Workers are read in the order of their ids.
    let at = workers.binary_search_by(|worker| worker.id.cmp(&row.worker_id)).ok();
    let share = at.map(|at| workers[at].capacity.share(workers[at].slots)).unwrap_or(row.wanted);
    let or_share = |wanted: u64, share: u64| if wanted == 0 { share } else { wanted };
    Running {
        kind: Kind(row.kind),
        started_at: row.claimed_at,
        held: Capacity {
            cpu_millis: if row.wanted.cpu_millis == 0 { share.cpu_millis } else { row.wanted.cpu_millis },
            memory_bytes: or_share(row.wanted.memory_bytes, share.memory_bytes),
            disk_bytes: or_share(row.wanted.disk_bytes, share.disk_bytes),
        },
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
