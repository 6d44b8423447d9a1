//! Worlds in which servers and the provider fail: each scenario as text in, what came of it as text out. The rules are
//! checked on the way, at every step.

use std::time::Duration;

use rgrid_sim::faults::Scenario;
use rgrid_sim::random::Random;
use rgrid_sim::report::Run;
use rgrid_sim::run_scenario;
use rgrid_sim::setup::Setup;

fn setup() -> Setup {
    Setup { workers_max: 30, ..Setup::default() }
}

fn told(run: &Run) -> String {
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let mut lines: Vec<String> = run
        .servers
        .iter()
        .map(|server| format!("server from {} to {}", seconds(server.created), seconds(server.deleted)))
        .collect();
    let summary = run.summary();
    lines.push(format!(
        "{}; waits to the last start: p50 {} s, max {} s",
        summary.bill,
        seconds(summary.wait_p50),
        seconds(summary.wait_max)
    ));
    let rules = run.checks.0.keys().map(|rule| (*rule).to_owned());
    lines.extend(rules);
    lines.join("\n")
}

#[test]
fn every_scenario_ends_as_it_did() {
    for (name, text) in [
        ("sold_out", include_str!("../../scenarios/sold_out.txt")),
        ("dying_workers", include_str!("../../scenarios/dying_workers.txt")),
        ("never_join", include_str!("../../scenarios/never_join.txt")),
        ("storm", include_str!("../../scenarios/storm.txt")),
    ] {
        let scenario = Scenario::parse(text).unwrap();
        let run = run_scenario(&setup(), &scenario);
        assert_eq!(run, run_scenario(&setup(), &scenario));
        insta::assert_snapshot!(name, told(&run));
    }
}

#[test]
fn a_line_that_is_none_is_named() {
    let error = Scenario::parse("# fine\nat 0 submit 1 1\nat 5 explode 1\n").unwrap_err();
    assert_eq!(error.to_string(), "line 3 of the scenario cannot be read: \"at 5 explode 1\"");
}

/// A scenario of a seed: some work, and much that goes wrong.
fn drawn(seed: u64) -> String {
    let mut random = Random::new(seed);
    let mut text = String::new();
    for _ in 0..random.whole(1, 6) {
        let (at, count, runs) = (random.whole(0, 8000), random.whole(1, 30), random.whole(1, 4000));
        text += &format!("at {at} submit {count} {runs}\n");
    }
    for _ in 0..random.whole(1, 12) {
        let (at, server, time) = (random.whole(0, 9000), random.whole(1, 12), random.whole(1, 900));
        text += &match random.whole(0, 4) {
            0 => format!("at {at} sold-out here {time}\n"),
            1 => format!("at {at} sold-out there {time}\n"),
            2 => format!("at 0 never-boots {server}\n"),
            3 => format!("at {at} dies {server}\n"),
            _ => format!("at {at} silent {server} {time}\n"),
        };
    }
    text
}

#[test]
fn whatever_fails_no_execution_is_lost_and_no_server_left() {
    for seed in 1..=60 {
        let text = drawn(seed);
        let scenario = Scenario::parse(&text).unwrap();
        let patience = Duration::from_secs(if seed % 3 == 0 { 60 } else { 0 });
        let run = run_scenario(&Setup { patience, ..setup() }, &scenario);
        let lost = run.executions.iter().filter(|execution| execution.finished == i64::MAX).count();
        assert_eq!(lost, 0, "seed {seed}:\n{text}");
        // Each rule of the world was looked at.
        assert!(run.checks.0.len() >= 7, "seed {seed}: {:?}", run.checks);
    }
}
