//! When a server goes: at its hour's edge, too old, silent, or never there; and what keeps it.

use super::*;

#[test]
fn an_idle_server_goes_three_minutes_before_its_next_paid_hour() {
    // Created at second 2 by the provider's word: its hour ends at 3602.
    let idle = |now| view(vec![heard(server(1), now)], vec![]);
    insta::assert_snapshot!(steps(&idle(3421), &policy(), 3421), @"nothing");
    insta::assert_snapshot!(steps(&idle(3422), &policy(), 3422), @"drain: idle, and its next paid hour would begin at 09:00:02");
    // The window was missed: the next hour is paid already.
    insta::assert_snapshot!(steps(&idle(3602), &policy(), 3602), @"nothing");
    insta::assert_snapshot!(steps(&idle(7022), &policy(), 7022), @"drain: idle, and its next paid hour would begin at 10:00:02");
    let working = view(vec![heard(busy(1, 1), 3500)], vec![]);
    insta::assert_snapshot!(steps(&working, &policy(), 3500), @"nothing");
}

#[test]
fn an_idle_server_is_kept_for_what_waits_unless_it_is_evidently_not_for_it() {
    let just = WorkerView { idle_since: Some(at(3490)), ..heard(server(1), 3500) };
    insta::assert_snapshot!(steps(&view(vec![just], vec![demand(1, 1)]), &policy(), 3500), @"nothing");
    let long = WorkerView { idle_since: Some(at(3000)), ..heard(server(1), 3500) };
    insta::assert_snapshot!(steps(&view(vec![long], vec![demand(1, 1)]), &policy(), 3500), @"drain: idle, and its next paid hour would begin at 09:00:02");
}

#[test]
fn an_old_server_takes_no_new_work_and_goes_when_it_holds_nothing() {
    let day = 24 * 3600 + 2 - 180;
    let old = |worker: WorkerView| view(vec![heard(worker, day)], vec![demand(1, 9)]);
    insta::assert_snapshot!(steps(&old(busy(1, 2)), &policy(), day), @"drain: 23h57m old: newer servers take its work");
    let draining = WorkerView { status: WorkerStatus::Draining, ..busy(1, 2) };
    insta::assert_snapshot!(steps(&old(draining), &policy(), day), @"nothing");
    let drained = WorkerView { status: WorkerStatus::Draining, ..server(1) };
    insta::assert_snapshot!(steps(&old(drained), &policy(), day), @"terminate: drained");
}

#[test]
fn a_spent_month_lets_no_server_into_another_hour_with_new_work() {
    let policy = FleetPolicy {
        servers: ServerPolicy { spend_per_month_max: Some(Micros(1_000_000)), ..policy().servers },
        ..policy()
    };
    let fleet = view(vec![heard(busy(1, 1), 3500)], vec![]);
    let spent = FleetView { market: Market { spent_this_month: Micros(990_000), ..fleet.market }, ..fleet };
    insta::assert_snapshot!(steps(&spent, &policy, 3500), @"drain: the EUR 1.00 that a month may cost are spent");
}

#[test]
fn where_there_are_too_many_the_cheapest_to_release_go_first() {
    let created = |n: u8, second: i64| {
        let mut worker = heard(server(n), 1000);
        worker.server.as_mut().unwrap().created = Some(at(second));
        worker
    };
    let fleet = view(vec![created(1, 900), created(2, 500), heard(busy(3, 1), 1000)], vec![]);
    let policy = FleetPolicy { workers_max: 2, ..policy() };
    let plan = lifecycle::plan(&fleet, &policy, at(1000));
    assert_eq!(
        plan.iter().map(|(action, _)| action.clone()).collect::<Vec<_>>(),
        [Action::Drain(fleet.workers[1].id)]
    );
    insta::assert_snapshot!(steps(&fleet, &policy, 1000), @"drain: idle, and there are 3 workers where 2 are allowed");
    let none = FleetPolicy { workers_max: 0, ..policy };
    assert_eq!(lifecycle::plan(&fleet, &none, at(1000)).len(), 2);
}

#[test]
fn when_most_fall_silent_at_once_their_work_returns_and_no_server_is_deleted_for_five_minutes() {
    let silent = |n: u8, heard: i64| WorkerView {
        status: WorkerStatus::Dead,
        open_attempts: 0,
        last_heartbeat_at: Some(at(heard)),
        ..server(n)
    };
    let alive = |n| heard(server(n), 1160);
    let drained = WorkerView { status: WorkerStatus::Draining, ..alive(9) };
    let fleet = |silent: Vec<WorkerView>| {
        let mut workers = silent;
        workers.extend([alive(8), drained.clone()]);
        view(workers, vec![])
    };
    // Silent from 25 s after the last heartbeat on.
    let most = fleet(vec![silent(1, 1100), silent(2, 1103), silent(3, 1105)]);
    assert_eq!(health::deletions_barred_until(&most, at(1160)), Some(at(1130 + 300)));
    insta::assert_snapshot!(steps(&most, &policy(), 1160), @"nothing");
    assert_eq!(health::deletions_barred_until(&most, at(1430)), None);
    // One after the other is no storm, and neither is half, nor most of three.
    let slowly = fleet(vec![silent(1, 1010), silent(2, 1050), silent(3, 1105)]);
    assert_eq!(health::deletions_barred_until(&slowly, at(1160)), None);
    assert_eq!(
        health::deletions_barred_until(&fleet(vec![silent(1, 1100), silent(2, 1103)]), at(1160)),
        None
    );
    insta::assert_snapshot!(steps(&slowly, &policy(), 1160), @"terminate: drained");
    let three = view(vec![silent(1, 1100), silent(2, 1100), alive(3)], vec![]);
    assert_eq!(health::deletions_barred_until(&three, at(1160)), None);
}

#[test]
fn a_silent_server_has_a_quarter_of_an_hour_but_no_paid_hour_to_come_back() {
    let dead = |heard| {
        view(
            vec![WorkerView { status: WorkerStatus::Dead, last_heartbeat_at: Some(at(heard)), ..server(1) }],
            vec![],
        )
    };
    insta::assert_snapshot!(steps(&dead(1000), &policy(), 1899), @"nothing");
    insta::assert_snapshot!(steps(&dead(1000), &policy(), 1900), @"terminate: no heartbeat for 15m");
    insta::assert_snapshot!(steps(&dead(3300), &policy(), 3422), @"terminate: no heartbeat for 2m2s");
    let gone = WorkerView { status: WorkerStatus::Dead, machine: Machine::Absent, ..server(1) };
    insta::assert_snapshot!(steps(&view(vec![gone], vec![]), &policy(), 200), @"terminate: its machine is gone");
    let fixed =
        WorkerView { status: WorkerStatus::Dead, backing: Backing::Static, server: None, ..server(1) };
    insta::assert_snapshot!(steps(&view(vec![fixed], vec![]), &policy(), 90_000), @"nothing");
}

#[test]
fn a_server_has_two_minutes_to_exist_and_five_more_to_join() {
    let coming = |created: Option<i64>, machine| {
        let mut worker = server(1);
        worker.status = WorkerStatus::Provisioning;
        worker.joined_at = None;
        worker.last_heartbeat_at = None;
        worker.machine = machine;
        worker.server.as_mut().unwrap().created = created.map(at);
        view(vec![worker], vec![])
    };
    let reasons = |fleet: &FleetView, now| {
        let plan = health::plan(fleet, &policy(), at(now), None);
        plan.iter().map(|(_, reason)| reason.to_string()).collect::<Vec<_>>().join("; ")
    };
    let unknown = coming(None, Machine::Absent);
    assert_eq!(
        [reasons(&unknown, 119), reasons(&unknown, 120)],
        ["", "its server was not created within 2m"]
    );
    let booting = coming(Some(50), Machine::Present);
    assert_eq!([reasons(&booting, 349), reasons(&booting, 350)], ["", "it did not join within 5m"]);
    assert_eq!(reasons(&coming(Some(50), Machine::Absent), 60), "its machine is gone");
}

#[test]
fn a_server_that_is_to_go_is_asked_until_the_provider_says_of_it_that_it_is_gone() {
    let leaving = |machine| {
        let worker = WorkerView { status: WorkerStatus::Terminating, machine, ..server(1) };
        steps(&view(vec![worker], vec![]), &policy(), 200)
    };
    insta::assert_snapshot!(leaving(Machine::Present), @"delete: its machine is still there");
    insta::assert_snapshot!(leaving(Machine::Unknown), @"delete: nobody knows whether its machine is still there");
    insta::assert_snapshot!(leaving(Machine::Absent), @"mark terminated: its machine is gone");
}
