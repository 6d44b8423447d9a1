//! The decisions of the fleet, as text: a fleet goes in, the plan comes out.

use std::time::Duration;

use proptest::prelude::*;
use rgrid_core::Timestamp;
use rgrid_core::fleet::forecast::{History, Kind};
use rgrid_core::fleet::{
    self, Action, Backing, Demand, FleetPolicy, FleetView, Machine, Market, Overdue, WorkerView,
};
use rgrid_core::id::{ExecutionId, WorkerId};
use rgrid_core::worker::{Capacity, WorkerStatus};

const GIB: u64 = 1 << 30;
const MACHINE: Capacity = Capacity { cpu_millis: 2000, memory_bytes: 8 * GIB, disk_bytes: 50 * GIB };

/// Second `s` of the test's own time.
fn at(s: i64) -> Timestamp {
    Timestamp::from_timestamp(1_800_000_000 + s, 0).unwrap()
}

fn worker(n: u8) -> WorkerView {
    WorkerView {
        id: WorkerId::new(0, [n; 10]),
        status: WorkerStatus::Active,
        status_since: at(1),
        backing: Backing::Local,
        created_at: at(0),
        joined_at: Some(at(1)),
        last_heartbeat_at: Some(at(100)),
        slots: 2,
        capacity: MACHINE,
        used: Capacity { cpu_millis: 0, memory_bytes: 0, disk_bytes: 0 },
        open_attempts: 0,
        idle_since: Some(at(100)),
        machine: Machine::Present,
        server: None,
    }
}

fn attempt(n: u8, claimed: i64, lease: i64, named: bool) -> Overdue {
    Overdue {
        execution: ExecutionId::new(0, [n; 10]),
        number: 1,
        claimed_at: at(claimed),
        named,
        lease_until: at(lease),
    }
}

fn busy(n: u8, open_attempts: u32) -> WorkerView {
    WorkerView { open_attempts, idle_since: None, ..worker(n) }
}

fn demand(executions: u32) -> Demand {
    Demand {
        wanted: Capacity { cpu_millis: 1000, memory_bytes: 0, disk_bytes: 0 },
        executions,
        impatient: executions,
        kind: Kind(0),
        oldest_queued_at: at(90),
    }
}

fn view(workers: Vec<WorkerView>, demand: Vec<Demand>) -> FleetView {
    FleetView {
        workers,
        demand,
        running: Vec::new(),
        history: History::default(),
        market: Market::default(),
        overdue: Vec::new(),
        failed_in_a_row: 0,
        failed_at: None,
        outage_until: None,
    }
}

fn plan_text(view: &FleetView, now: i64, judge_after: Option<i64>) -> String {
    let policy = FleetPolicy::embedded(MACHINE, 2);
    let plan = fleet::plan(view, &policy, at(now), judge_after.map(at));
    let lines: Vec<String> = plan
        .actions
        .iter()
        .map(|(action, reason)| match action {
            Action::LoseAttempt { loss, number, .. } => format!("lose attempt {number} ({loss:?}): {reason}"),
            Action::MarkDead(_) => format!("mark dead: {reason}"),
            Action::MarkFailed(_) => format!("mark failed: {reason}"),
            Action::AddWorker => format!("add a worker: {reason}"),
            Action::AddServer(order) => {
                format!("order {} in {}: {reason}", order.machine_type, order.location)
            }
            Action::Drain(_) => format!("drain: {reason}"),
            Action::Terminate(_) => format!("terminate: {reason}"),
            Action::DeleteMachine(_) => format!("delete the machine: {reason}"),
            Action::MarkTerminated(_) => format!("mark terminated: {reason}"),
        })
        .collect();
    if lines.is_empty() { "nothing".to_owned() } else { lines.join("\n") }
}

#[test]
fn waiting_work_adds_the_one_worker_of_an_embedded_grid_once() {
    insta::assert_snapshot!(plan_text(&view(vec![], vec![demand(5)]), 100, None), @"add a worker: executions waiting: 5, places for them: 0");
    let coming = WorkerView {
        status: WorkerStatus::Provisioning,
        joined_at: None,
        last_heartbeat_at: None,
        ..worker(1)
    };
    insta::assert_snapshot!(plan_text(&view(vec![coming], vec![demand(5)]), 100, None), @"nothing");
}

#[test]
fn work_that_no_worker_could_hold_adds_none() {
    let huge = Demand { wanted: Capacity { cpu_millis: 64_000, ..MACHINE }, ..demand(1) };
    insta::assert_snapshot!(plan_text(&view(vec![], vec![huge]), 100, None), @"nothing");
}

#[test]
fn workers_that_fail_one_after_the_other_are_replaced_ever_more_slowly() {
    let added = |failed_in_a_row, now| {
        let failing =
            FleetView { failed_in_a_row, failed_at: Some(at(100)), ..view(vec![], vec![demand(1)]) };
        plan_text(&failing, now, None) != "nothing"
    };
    assert!(!added(1, 100) && added(1, 101));
    assert!(!added(4, 107) && added(4, 108));
    assert!(!added(1000, 159) && added(1000, 160));
}

#[test]
fn a_grid_of_many_adds_as_many_as_the_work_needs() {
    let policy = FleetPolicy { workers_max: 10, ..FleetPolicy::embedded(MACHINE, 2) };
    let count = |executions| {
        fleet::plan(&view(vec![busy(1, 1)], vec![demand(executions)]), &policy, at(100), None).actions.len()
    };
    assert_eq!([count(1), count(2), count(3), count(4), count(500)], [0, 1, 1, 2, 9]);
}

#[test]
fn an_idle_local_worker_is_released_after_its_minute() {
    let fresh = |status, open_attempts| WorkerView {
        status,
        open_attempts,
        last_heartbeat_at: Some(at(160)),
        ..worker(1)
    };
    insta::assert_snapshot!(plan_text(&view(vec![fresh(WorkerStatus::Active, 0)], vec![]), 160, None), @"drain: idle for 1m");
    insta::assert_snapshot!(plan_text(&view(vec![fresh(WorkerStatus::Active, 0)], vec![demand(1)]), 160, None), @"nothing");
    insta::assert_snapshot!(plan_text(&view(vec![fresh(WorkerStatus::Draining, 0)], vec![]), 160, None), @"terminate: drained");
    let holding = fresh(WorkerStatus::Draining, 1);
    insta::assert_snapshot!(plan_text(&view(vec![holding], vec![]), 160, None), @"nothing");
    insta::assert_snapshot!(plan_text(&view(vec![fresh(WorkerStatus::Terminating, 0)], vec![]), 160, None), @"delete the machine: its machine is still there");
    let gone = WorkerView { machine: Machine::Absent, ..fresh(WorkerStatus::Terminating, 0) };
    insta::assert_snapshot!(plan_text(&view(vec![gone], vec![]), 160, None), @"mark terminated: its machine is gone");
}

#[test]
fn a_grid_that_makes_way_drains_its_workers_and_adds_none() {
    let policy = FleetPolicy { workers_max: 0, ..FleetPolicy::embedded(MACHINE, 2) };
    let retiring = view(vec![busy(1, 1)], vec![demand(9)]);
    let plan = fleet::plan(&retiring, &policy, at(101), None);
    let reasons: Vec<String> = plan.actions.iter().map(|(_, reason)| reason.to_string()).collect();
    assert_eq!(reasons, ["this grid makes way for another"]);
    assert!(matches!(plan.actions[0].0, Action::Drain(_)));
}

#[test]
fn a_killed_local_worker_is_dead_at_once_even_when_nobody_is_judged_by_silence() {
    let killed = WorkerView { machine: Machine::Absent, ..busy(1, 1) };
    insta::assert_snapshot!(plan_text(&view(vec![killed], vec![]), 101, Some(500)), @"mark dead: its machine is gone");
}

#[test]
fn a_lease_ends_and_an_unnamed_attempt_returns_for_free() {
    let overdue = vec![attempt(1, 90, 110, true), attempt(2, 91, 111, false)];
    let held = FleetView { overdue, ..view(vec![busy(1, 2)], vec![]) };
    insta::assert_snapshot!(plan_text(&held, 109, None), @"nothing");
    insta::assert_snapshot!(plan_text(&held, 111, None), @r"
    lose attempt 1 (Lost): its lease ran out
    lose attempt 1 (HandedBack): its worker never named it after the claim
    ");
}

#[test]
fn after_an_outage_or_a_sleep_nobody_is_judged_for_one_full_period() {
    let held = FleetView { overdue: vec![attempt(1, 90, 110, true)], ..view(vec![busy(1, 1)], vec![]) };
    let outage = FleetView { outage_until: Some(at(300)), ..held.clone() };
    insta::assert_snapshot!(plan_text(&outage, 300, None), @"nothing");
    insta::assert_snapshot!(plan_text(&outage, 319, None), @"nothing");
    insta::assert_snapshot!(plan_text(&outage, 320, None), @"lose attempt 1 (Lost): its lease ran out");
    insta::assert_snapshot!(plan_text(&held, 300, Some(320)), @"nothing");
    insta::assert_snapshot!(plan_text(&held, 320, Some(320)), @r"
    lose attempt 1 (Lost): its lease ran out
    mark dead: no heartbeat for 3m40s
    ");
}

#[test]
fn a_worker_that_never_joins_is_given_up_and_removed() {
    let late = WorkerView {
        status: WorkerStatus::Provisioning,
        joined_at: None,
        last_heartbeat_at: None,
        ..worker(1)
    };
    insta::assert_snapshot!(plan_text(&view(vec![late.clone()], vec![]), 299, None), @"nothing");
    insta::assert_snapshot!(plan_text(&view(vec![late.clone()], vec![]), 300, None), @"mark failed: it did not join within 5m");
    let failed = WorkerView { status: WorkerStatus::Failed, ..late };
    insta::assert_snapshot!(plan_text(&view(vec![failed], vec![]), 301, None), @"terminate: nothing is expected of it");
}

prop_compose! {
    fn any_worker()(
        n in 0u8..8,
        status in prop::sample::select(&WorkerStatus::ALL[..]),
        backing in prop::sample::select(&[Backing::Local, Backing::Server, Backing::Static][..]),
        machine in prop::sample::select(&[Machine::Present, Machine::Absent, Machine::Unknown][..]),
        heard in prop::option::of(0i64..400),
        open_attempts in 0u32..3,
    ) -> WorkerView {
        WorkerView {
            status, backing, machine,
            last_heartbeat_at: heard.map(at),
            idle_since: (open_attempts == 0).then(|| at(50)),
            open_attempts,
            ..worker(n)
        }
    }
}

proptest! {
    #[test]
    fn no_plan_removes_a_worker_that_holds_an_attempt(
        workers in prop::collection::vec(any_worker(), 0..8),
        waiting in 0u32..30,
        now in 0i64..500,
        outage in prop::option::of(0i64..500),
    ) {
        let fleet_view = FleetView { outage_until: outage.map(at), ..view(workers, vec![demand(waiting)]) };
        let policy = FleetPolicy { workers_max: 4, ..FleetPolicy::embedded(MACHINE, 2) };
        let plan = fleet::plan(&fleet_view, &policy, at(now), None);
        for (action, _) in &plan.actions {
            match action {
                Action::Terminate(id) => {
                    prop_assert!(fleet_view.workers.iter().any(|w| w.id == *id && w.open_attempts == 0));
                }
                Action::DeleteMachine(id) | Action::MarkTerminated(id) => {
                    prop_assert!(fleet_view.workers.iter().any(|w| w.id == *id && w.status == WorkerStatus::Terminating));
                }
                Action::LoseAttempt { .. } | Action::MarkDead(_) | Action::MarkFailed(_) | Action::AddWorker | Action::AddServer(_) | Action::Drain(_) => {}
            }
        }
        let added = plan.actions.iter().filter(|(action, _)| *action == Action::AddWorker).count();
        let standing = fleet_view.workers.iter().filter(|w| w.backing != Backing::Static && w.status != WorkerStatus::Terminated).count();
        prop_assert!(added == 0 || standing + added <= 4);
        let again = fleet::plan(&fleet_view, &policy, at(now), None);
        prop_assert_eq!(plan, again);
    }

    #[test]
    fn the_next_moment_of_quiet_is_judged_by_nobody(workers in prop::collection::vec(any_worker(), 0..8), now in 0i64..500) {
        let fleet_view = FleetView { outage_until: Some(at(now)), ..view(workers, vec![]) };
        let plan = fleet::plan(&fleet_view, &FleetPolicy { patience: Duration::ZERO, ..FleetPolicy::embedded(MACHINE, 2) }, at(now), None);
        for (action, _) in plan.actions {
            if let Action::MarkDead(id) = action {
                prop_assert!(fleet_view.workers.iter().any(|w| w.id == id && w.machine == Machine::Absent));
            }
        }
    }
}
