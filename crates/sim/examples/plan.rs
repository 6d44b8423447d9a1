//! How long one plan takes for 10,000 workers and 100,000 queued executions: all three duties over one view. Only a
//! release build says anything.
#![expect(clippy::print_stdout, reason = "it prints a figure")]

use std::time::{Duration, Instant};

use rgrid_core::Timestamp;
use rgrid_core::fleet::catalog::{Architecture, Catalog, MachineType, Offering};
use rgrid_core::fleet::forecast::{History, Kind, Running};
use rgrid_core::fleet::{
    self, Backing, Demand, FleetPolicy, FleetView, Machine, Market, ServerPolicy, ServerView, WorkerView,
};
use rgrid_core::id::WorkerId;
use rgrid_core::money::{Price, Rate, ServerPrice};
use rgrid_core::worker::{Capacity, WorkerStatus};

/// Workers, half of them with work.
const WORKERS: usize = 10_000;
/// Lanes of the queue, of 500 executions each.
const LANES: u64 = 200;
/// Executions of a lane.
const EXECUTIONS: u32 = 500;
/// Plans that are timed.
const PLANS: usize = 51;

fn at(second: i64) -> Timestamp {
    Timestamp::from_timestamp(1_800_000_000 + second, 0).expect("a moment")
}

fn main() {
    let rate = Rate { hour: Price::from_micros(31_200), month: None };
    let types = (1..=30).map(|n| MachineType {
        name: format!("type{n}"),
        cores: n,
        memory_bytes: u64::from(n) << 31,
        disk_bytes: u64::from(n) << 35,
        architecture: Architecture::X86,
        locations: (0..6)
            .map(|place| Offering { location: format!("place{place}"), rate, orderable: true, ends_at: None })
            .collect(),
    });
    let catalog = Catalog { types: types.collect(), ipv4: Vec::new() };
    let nothing = Capacity { cpu_millis: 0, memory_bytes: 0, disk_bytes: 0 };
    let capacity = catalog.types[1].capacity();
    let worker = |n: usize| {
        let mut random = [0; 10];
        random[2..].copy_from_slice(&(n as u64).to_be_bytes());
        let open_attempts = (n % 3) as u32;
        WorkerView {
            id: WorkerId::new(0, random),
            status: WorkerStatus::Active,
            status_since: at(60),
            backing: Backing::Server,
            created_at: at(0),
            joined_at: Some(at(60)),
            last_heartbeat_at: Some(at(7000)),
            slots: 2,
            capacity,
            used: Capacity { cpu_millis: open_attempts * 1000, ..nothing },
            open_attempts,
            idle_since: (open_attempts == 0).then(|| at(6000)),
            machine: Machine::Present,
            server: Some(ServerView {
                machine_type: "type2".to_owned(),
                location: "place1".to_owned(),
                created: Some(at(n as i64 % 3600)),
                price: ServerPrice { server: rate, ipv4: None },
            }),
        }
    };
    let mut history = History::default();
    for kind in 0..LANES {
        for end in 0..10 {
            history.record(Kind(kind), Duration::from_secs(10 + kind * 40 + end * 7), at(6000));
        }
    }
    let view = FleetView {
        workers: (0..WORKERS).map(worker).collect(),
        demand: (0..LANES)
            .map(|lane| Demand {
                wanted: Capacity { cpu_millis: 250 * (1 + lane as u32 % 40), ..nothing },
                executions: EXECUTIONS,
                impatient: EXECUTIONS,
                oldest_queued_at: at(6900),
                kind: Kind(lane),
            })
            .collect(),
        running: (0..WORKERS as u64)
            .map(|n| Running {
                kind: Kind(n % LANES),
                started_at: at(6900),
                held: Capacity { cpu_millis: 1000, ..nothing },
            })
            .collect(),
        history,
        market: Market { catalog, ..Market::default() },
        overdue: Vec::new(),
        failed_in_a_row: 0,
        failed_at: None,
        outage_until: None,
    };
    let policy = FleetPolicy {
        backing: Backing::Server,
        workers_max: 20_000,
        servers: ServerPolicy::default(),
        ..FleetPolicy::embedded(nothing, 1)
    };
    let mut times: Vec<Duration> = Vec::new();
    let mut actions = 0;
    for _ in 0..PLANS {
        let start = Instant::now();
        actions = fleet::plan(&view, &policy, at(7001), None).actions.len();
        times.push(start.elapsed());
    }
    times.sort_unstable();
    println!(
        "one plan, {WORKERS} workers, {} queued in {LANES} lanes: {:.2} ms p50, {:.2} ms max of {PLANS} ({actions} actions)",
        u64::from(EXECUTIONS) * LANES,
        times[PLANS / 2].as_secs_f64() * 1000.0,
        times[PLANS - 1].as_secs_f64() * 1000.0,
    );
}
