//! Servers that a provider bills: which is bought, and what keeps it from being bought; when it goes is in `leaving`.
//! A fleet goes in, the plan comes out as text.

mod leaving;

use std::time::Duration;

use proptest::prelude::*;
use rgrid_core::Timestamp;
use rgrid_core::fleet::catalog::{Architecture, Catalog, MachineType, Offering};
use rgrid_core::fleet::forecast::{History, Kind, Running};
use rgrid_core::fleet::ladder::{Pause, PauseCause, Refusal, Shortfall};
use rgrid_core::fleet::{
    self, Action, Backing, Demand, FleetPolicy, FleetView, Machine, Market, ServerPolicy, ServerView,
    WorkerView, health, lifecycle, provisioning,
};
use rgrid_core::id::WorkerId;
use rgrid_core::money::{Micros, Price, Rate, ServerPrice};
use rgrid_core::worker::{Capacity, WorkerStatus};

const GIB: u64 = 1 << 30;
const NOTHING: Capacity = Capacity { cpu_millis: 0, memory_bytes: 0, disk_bytes: 0 };

fn at(s: i64) -> Timestamp {
    Timestamp::from_timestamp(1_800_000_000 + s, 0).unwrap()
}

fn rate(hour: &str) -> Rate {
    Rate { hour: hour.parse().unwrap(), month: None }
}

fn machine_type(name: &str, cores: u32, gib: u64, hour: &str, locations: &[(&str, bool)]) -> MachineType {
    MachineType {
        name: name.to_owned(),
        cores,
        memory_bytes: gib * GIB,
        disk_bytes: 40 * GIB * u64::from(cores),
        architecture: Architecture::X86,
        locations: locations
            .iter()
            .map(|(location, orderable)| Offering {
                location: (*location).to_owned(),
                rate: rate(hour),
                orderable: *orderable,
                ends_at: None,
            })
            .collect(),
    }
}

/// As in the autumn of 2026: the cheapest type is sold out, one core costs more than two.
fn catalog() -> Catalog {
    let places = [("fsn1", true), ("nbg1", true)];
    Catalog {
        types: vec![
            machine_type("cx23", 2, 4, "0.0088", &[("fsn1", false), ("nbg1", false)]),
            machine_type("cpx12", 1, 2, "0.0184", &places),
            machine_type("cpx22", 2, 4, "0.0312", &places),
            machine_type("cpx32", 4, 8, "0.0569", &places),
        ],
        ipv4: vec![("fsn1".to_owned(), rate("0.0008")), ("nbg1".to_owned(), rate("0.0008"))],
    }
}

fn policy() -> FleetPolicy {
    let servers = ServerPolicy {
        types: ["cx23", "cpx22", "cpx12"].map(str::to_owned).to_vec(),
        locations: ["fsn1", "nbg1"].map(str::to_owned).to_vec(),
        ..ServerPolicy::default()
    };
    FleetPolicy { backing: Backing::Server, workers_max: 10, servers, ..FleetPolicy::embedded(NOTHING, 1) }
}

fn server(n: u8) -> WorkerView {
    let promised = catalog().find("cpx22").unwrap().capacity();
    WorkerView {
        id: WorkerId::new(0, [n; 10]),
        status: WorkerStatus::Active,
        status_since: at(60),
        backing: Backing::Server,
        created_at: at(0),
        joined_at: Some(at(60)),
        last_heartbeat_at: Some(at(100)),
        slots: 2,
        capacity: promised,
        used: NOTHING,
        open_attempts: 0,
        idle_since: Some(at(100)),
        machine: Machine::Present,
        server: Some(ServerView {
            machine_type: "cpx22".to_owned(),
            location: "fsn1".to_owned(),
            created: Some(at(2)),
            price: ServerPrice { server: rate("0.0312"), ipv4: Some(rate("0.0008")) },
        }),
    }
}

/// Heard of at `now`.
fn heard(worker: WorkerView, now: i64) -> WorkerView {
    WorkerView { last_heartbeat_at: Some(at(now)), ..worker }
}

fn busy(n: u8, open_attempts: u32) -> WorkerView {
    let used = Capacity { cpu_millis: 1000 * open_attempts, ..NOTHING };
    WorkerView { open_attempts, used, idle_since: None, ..server(n) }
}

fn demand(cpus: u32, executions: u32) -> Demand {
    Demand {
        wanted: Capacity { cpu_millis: cpus * 1000, ..NOTHING },
        executions,
        impatient: executions,
        oldest_queued_at: at(90),
        kind: Kind(7),
    }
}

fn view(workers: Vec<WorkerView>, demand: Vec<Demand>) -> FleetView {
    FleetView {
        workers,
        demand,
        running: Vec::new(),
        history: History::default(),
        market: Market { catalog: catalog(), ..Market::default() },
        overdue: Vec::new(),
        failed_in_a_row: 0,
        failed_at: None,
        outage_until: None,
    }
}

/// What is ordered, and what a waiting user is told.
fn purchase(view: &FleetView, policy: &FleetPolicy, now: i64) -> String {
    let decision = provisioning::decide(view, policy, at(now));
    let mut lines: Vec<String> = Vec::new();
    for (action, _) in &decision.actions {
        if let Action::AddServer(order) = action {
            lines.push(format!("{} in {} for {}", order.machine_type, order.location, order.price.hour()));
        }
    }
    lines.extend(decision.outlook.map(|outlook| outlook.to_string()));
    if lines.is_empty() { "nothing".to_owned() } else { lines.join("\n") }
}

fn steps(view: &FleetView, policy: &FleetPolicy, now: i64) -> String {
    let plan = lifecycle::plan(view, policy, at(now));
    let line = |(action, reason): &(Action, fleet::Reason)| {
        let step = match action {
            Action::Drain(_) => "drain",
            Action::Terminate(_) => "terminate",
            Action::DeleteMachine(_) => "delete",
            Action::MarkTerminated(_) => "mark terminated",
            Action::LoseAttempt { .. }
            | Action::MarkDead(_)
            | Action::MarkFailed(_)
            | Action::AddWorker
            | Action::AddServer(_) => "?",
        };
        format!("{step}: {reason}")
    };
    let lines: Vec<String> = plan.iter().map(line).collect();
    if lines.is_empty() { "nothing".to_owned() } else { lines.join("\n") }
}

#[test]
fn the_cheapest_core_that_can_be_ordered_is_bought_and_what_was_passed_is_told() {
    insta::assert_snapshot!(purchase(&view(vec![], vec![demand(1, 3)]), &policy(), 100), @r"
    cpx22 in fsn1 for EUR 0.032
    cpx22 in fsn1 for EUR 0.032
    cx23 in fsn1: sold out, cx23 in nbg1: sold out; trying cpx22 in fsn1 and 1 more; 2 of 10 servers
    ");
}

#[test]
fn a_refused_cell_rests_and_the_ladder_goes_on() {
    let refused = |in_a_row| Refusal {
        machine_type: "cpx22".to_owned(),
        location: "fsn1".to_owned(),
        in_a_row,
        at: at(100),
    };
    let with = |refusals| {
        let waiting = view(vec![], vec![demand(1, 1)]);
        FleetView { market: Market { refusals, ..waiting.market }, ..waiting }
    };
    insta::assert_snapshot!(purchase(&with(vec![refused(1)]), &policy(), 101), @r"
    cpx22 in nbg1 for EUR 0.032
    cx23 in fsn1: sold out, cx23 in nbg1: sold out, cpx22 in fsn1: refused, asked again at 08:02:40; trying cpx22 in nbg1; 1 of 10 servers
    ");
    let rests = |in_a_row| (refused(in_a_row).until() - at(100)).num_seconds();
    assert_eq!([1, 2, 3, 4, 5, 40].map(rests), [60, 120, 240, 480, 900, 900]);
    let everywhere = ["cpx22", "cpx12"].into_iter().flat_map(|machine_type| {
        ["fsn1", "nbg1"].map(|location| Refusal {
            machine_type: machine_type.to_owned(),
            location: location.to_owned(),
            ..refused(1)
        })
    });
    insta::assert_snapshot!(purchase(&with(everywhere.collect()), &policy(), 101), @"cx23 in fsn1: sold out, cx23 in nbg1: sold out, cpx22 in fsn1: refused, asked again at 08:02:40 and 3 more; 0 of 10 servers");
}

#[test]
fn servers_on_their_way_and_free_places_are_counted_before_any_is_bought() {
    let coming = WorkerView {
        status: WorkerStatus::Provisioning,
        joined_at: None,
        last_heartbeat_at: None,
        idle_since: None,
        ..server(1)
    };
    let fleet = |executions| view(vec![coming.clone(), busy(2, 1)], vec![demand(1, executions)]);
    insta::assert_snapshot!(purchase(&fleet(3), &policy(), 20), @"servers with room for 2 are starting; 2 of 10 servers");
    insta::assert_snapshot!(purchase(&fleet(4), &policy(), 20), @r"
    cpx22 in fsn1 for EUR 0.032
    cx23 in fsn1: sold out, cx23 in nbg1: sold out; trying cpx22 in fsn1; servers with room for 2 are starting; 3 of 10 servers
    ");
}

#[test]
fn a_size_that_no_allowed_type_holds_buys_nothing_and_stops_no_other() {
    let fleet = view(vec![], vec![demand(4, 1), demand(1, 1)]);
    insta::assert_snapshot!(purchase(&fleet, &policy(), 100), @r"
    cpx22 in fsn1 for EUR 0.032
    cx23 in fsn1: sold out, cx23 in nbg1: sold out; trying cpx22 in fsn1; no type that may be bought can hold it; 1 of 10 servers
    ");
    let any = FleetPolicy { servers: ServerPolicy::default(), ..policy() };
    // The rest of the larger server is for the smaller execution.
    let mixed = view(vec![], vec![demand(3, 1), demand(1, 1)]);
    insta::assert_snapshot!(purchase(&mixed, &any, 100), @r"
    cpx32 in fsn1 for EUR 0.0577
    ordering cpx32 in fsn1; 1 of 10 servers
    ");
}

#[test]
fn limits_of_servers_and_of_money_are_kept_and_told() {
    let waiting = |workers| view(workers, vec![demand(1, 100)]);
    let count = |view: &FleetView, policy: &FleetPolicy| provisioning::plan(view, policy, at(100)).len();
    assert_eq!(count(&waiting(vec![busy(1, 2)]), &policy()), 9);
    let hourly = |euros: u32| {
        let spend_per_hour_max = Some(Micros(i64::from(euros)));
        FleetPolicy { servers: ServerPolicy { spend_per_hour_max, ..policy().servers }, ..policy() }
    };
    // A server costs 32,000 micro-euros an hour with its address.
    assert_eq!(
        [31_999, 32_000, 95_999, 96_000].map(|limit| count(&waiting(vec![]), &hourly(limit))),
        [0, 1, 2, 3]
    );
    assert_eq!(count(&waiting(vec![busy(1, 2)]), &hourly(96_000)), 2);
    let monthly = FleetPolicy {
        servers: ServerPolicy { spend_per_month_max: Some(Micros(1_000_000)), ..policy().servers },
        ..policy()
    };
    let spent = |micros| {
        let waiting = waiting(vec![]);
        FleetView { market: Market { spent_this_month: Micros(micros), ..waiting.market }, ..waiting }
    };
    assert_eq!([936_000, 936_001, 2_000_000].map(|micros| count(&spent(micros), &monthly)), [2, 1, 0]);
    insta::assert_snapshot!(purchase(&spent(990_000), &monthly, 100), @"the EUR 1.00 that this month may cost are spent; 0 of 10 servers");
    let dear = FleetPolicy {
        servers: ServerPolicy { hour_price_max: Some(Micros(10_000)), ..policy().servers },
        ..policy()
    };
    assert_eq!(count(&waiting(vec![]), &dear), 0);
}

#[test]
fn servers_that_never_join_open_the_breaker_and_one_alone_is_tried_after_it() {
    let failing = |failed_in_a_row| FleetView {
        failed_in_a_row,
        failed_at: Some(at(100)),
        ..view(vec![], vec![demand(1, 10)])
    };
    let count = |failed, now| provisioning::plan(&failing(failed), &policy(), at(now)).len();
    // The first is replaced at once, but by one.
    assert_eq!(count(1, 100), 1);
    assert_eq!([count(2, 399), count(2, 400)], [0, 1]);
    assert_eq!([count(3, 699), count(3, 700), count(30, 3699), count(30, 3700)], [0, 1, 0, 1]);
    // While the trial is on its way nothing follows it.
    let trial = WorkerView {
        status: WorkerStatus::Provisioning,
        joined_at: None,
        last_heartbeat_at: None,
        ..server(1)
    };
    let tried = FleetView { workers: vec![trial], ..failing(2) };
    assert_eq!(provisioning::plan(&tried, &policy(), at(401)).len(), 0);
    insta::assert_snapshot!(purchase(&failing(2), &policy(), 101), @"2 servers in a row never joined; one more is tried at 08:06:40; 0 of 10 servers");
}

#[test]
fn a_type_that_joined_with_less_is_not_bought_for_a_day() {
    let fleet = view(vec![], vec![demand(1, 1)]);
    let shortfalls = vec![Shortfall {
        machine_type: "cpx22".to_owned(),
        promised: catalog().find("cpx22").unwrap().capacity(),
        joined: NOTHING,
        at: at(100),
    }];
    let fleet = FleetView { market: Market { shortfalls, ..fleet.market }, ..fleet };
    let bought = |now| {
        let plan = provisioning::plan(&fleet, &policy(), at(now));
        plan.iter().map(|(action, _)| format!("{action:?}").contains("cpx12")).collect::<Vec<_>>()
    };
    assert_eq!([bought(101), bought(100 + 24 * 3600)], [[true], [false]]);
}

#[test]
fn a_provider_that_refuses_every_order_is_asked_ever_more_rarely() {
    let rests = |cause, in_a_row| (Pause { cause, in_a_row, at: at(0) }.until() - at(0)).num_seconds();
    assert_eq!([1, 2, 9].map(|n| rests(PauseCause::Quota, n)), [300, 600, 900]);
    assert_eq!([1, 9].map(|n| rests(PauseCause::Unauthorized, n)), [900, 900]);
    assert_eq!([1, 3, 9].map(|n| rests(PauseCause::RateLimited, n)), [2, 8, 60]);
    let fleet = view(vec![], vec![demand(1, 1)]);
    let pause = Some(Pause { cause: PauseCause::Quota, in_a_row: 1, at: at(100) });
    let fleet = FleetView { market: Market { pause, ..fleet.market }, ..fleet };
    insta::assert_snapshot!(purchase(&fleet, &policy(), 101), @"the account's limit at the provider is reached; asked again at 08:06:40; 0 of 10 servers");
}

#[test]
fn patience_buys_only_for_those_who_have_waited_for_it() {
    let patient = Demand { impatient: 1, ..demand(1, 5) };
    let policy = FleetPolicy { patience: Duration::from_secs(120), ..policy() };
    assert_eq!(provisioning::plan(&view(vec![], vec![patient]), &policy, at(100)).len(), 1);
    let nobody = Demand { impatient: 0, ..demand(1, 5) };
    insta::assert_snapshot!(purchase(&view(vec![], vec![nobody]), &policy, 100), @"a server is bought for what has waited for 2m; 0 of 10 servers");
}

#[test]
fn work_that_will_end_before_a_server_could_be_up_buys_none() {
    let mut history = History::default();
    for _ in 0..20 {
        history.record(Kind(7), Duration::from_secs(30), at(0));
        history.record(Kind(8), Duration::from_secs(9000), at(0));
    }
    let running = |kind| Running {
        kind: Kind(kind),
        started_at: at(80),
        held: Capacity { cpu_millis: 1000, ..NOTHING },
    };
    let fleet = |kind| FleetView {
        running: vec![running(kind), running(kind)],
        history: history.clone(),
        ..view(vec![busy(1, 2)], vec![demand(1, 2)])
    };
    insta::assert_snapshot!(purchase(&fleet(7), &policy(), 100), @"running work is expected to make room before a new server could; 1 of 10 servers");
    // What runs for hours makes no room, and of what nobody knows nothing is expected.
    for kind in [8, 9] {
        assert_eq!(provisioning::plan(&fleet(kind), &policy(), at(100)).len(), 1);
    }
}

#[test]
fn what_a_type_holds_is_less_than_the_catalog_says_and_what_the_runner_finds_is_not_less() {
    let cpx22 = catalog().find("cpx22").unwrap().clone();
    let promised = cpx22.capacity();
    // A fresh server of 4 GB: the kernel shows some 3.8 GiB of 4, and the system holds some 300 MiB.
    let found = Capacity::of_machine(2, 3915 << 20, 320 << 20, 76 * GIB);
    assert!(found.holds(&promised), "{found:?} {promised:?}");
    assert!(promised.memory_bytes < cpx22.memory_bytes * 80 / 100);
}

prop_compose! {
    fn any_server()(
        n in 0u8..40,
        status in prop::sample::select(&WorkerStatus::ALL[..]),
        machine in prop::sample::select(&[Machine::Present, Machine::Absent, Machine::Unknown][..]),
        heard in prop::option::of(0i64..8000),
        created in prop::option::of(0i64..8000),
        open_attempts in 0u32..3,
    ) -> WorkerView {
        let mut worker = busy(n, open_attempts);
        worker.status = status;
        worker.machine = machine;
        worker.last_heartbeat_at = heard.map(at);
        worker.idle_since = (open_attempts == 0).then(|| at(50));
        worker.server.as_mut().unwrap().created = created.map(at);
        worker
    }
}

proptest! {
    #[test]
    fn no_plan_passes_a_limit_or_removes_what_is_busy(
        workers in prop::collection::vec(any_server(), 0..12),
        waiting in prop::collection::vec((1u32..5, 0u32..40), 0..5),
        workers_max in 0u32..12,
        hourly in prop::option::of(0i64..500_000),
        spent in 0i64..2_000_000,
        now in 0i64..9000,
        failed in 0u32..4,
    ) {
        let demand = waiting.iter().map(|(cpus, count)| demand(*cpus, *count)).collect();
        let mut fleet = view(workers, demand);
        fleet.market.spent_this_month = Micros(spent);
        fleet.failed_in_a_row = failed;
        fleet.failed_at = (failed > 0).then(|| at(now / 2));
        let limits = ServerPolicy {
            spend_per_hour_max: hourly.map(Micros),
            spend_per_month_max: Some(Micros(1_500_000)),
            ..ServerPolicy::default()
        };
        let policy = FleetPolicy { workers_max, servers: limits, ..policy() };
        let plan = fleet::plan(&fleet, &policy, at(now), None);
        prop_assert_eq!(&plan, &fleet::plan(&fleet, &policy, at(now), None));
        let mut bought = Vec::new();
        for (action, reason) in &plan.actions {
            prop_assert!(!reason.to_string().is_empty());
            match action {
                Action::AddServer(order) => bought.push(order.price.hour()),
                Action::Terminate(id) => {
                    prop_assert!(fleet.workers.iter().any(|w| w.id == *id && w.open_attempts == 0));
                    prop_assert!(health::deletions_barred_until(&fleet, at(now)).is_none());
                }
                Action::DeleteMachine(id) | Action::MarkTerminated(id) => {
                    prop_assert!(fleet.workers.iter().any(|w| w.id == *id && w.status == WorkerStatus::Terminating));
                }
                Action::LoseAttempt { .. } | Action::MarkDead(_) | Action::MarkFailed(_) | Action::AddWorker | Action::Drain(_) => {}
            }
        }
        let counts = |w: &&WorkerView| w.status != WorkerStatus::Terminated;
        let standing = fleet.workers.iter().filter(counts).count();
        let cost: Micros = fleet.workers.iter().filter_map(|w| w.server.as_ref()).map(|s| s.price.hour()).sum();
        let more: Micros = bought.iter().copied().sum();
        prop_assert!(bought.is_empty() || standing + bought.len() <= workers_max as usize);
        prop_assert!(bought.is_empty() || hourly.is_none_or(|max| (cost + more).0 <= max));
        prop_assert!(bought.is_empty() || spent + more.0 <= 1_500_000);
        prop_assert!(failed == 0 || bought.len() <= 1);
    }
}

#[test]
fn the_price_of_an_order_is_todays_with_its_address() {
    let price = catalog().price("cpx22", "nbg1", true).unwrap();
    assert_eq!(price.hour(), Micros(32_000));
    assert_eq!(catalog().price("cpx22", "nbg1", false).unwrap().hour(), Price::from_micros(31_200).rounded());
    assert_eq!(catalog().price("cpx22", "ash", true), None);
}
