//! What a run says can be computed again from its records, and the policy reaches what it promises.

use std::time::Duration;

use rgrid_core::money::Price;
use rgrid_sim::report::{Run, work_bound};
use rgrid_sim::setup::{Policy, Setup};
use rgrid_sim::table::{self, Row};
use rgrid_sim::trace::{self, Execution};
use rgrid_sim::workload::synthetic;
use rgrid_sim::{json, run, svg};

use crate::traces::SMALL;

/// Synthetic traces that are small enough for a test of an unoptimised build.
const SEEDS: [u64; 5] = [2, 4, 14, 18, 20];

fn small() -> Vec<Execution> {
    trace::executions(&trace::read(SMALL.as_bytes()).unwrap())
}

fn setup(policy: Policy) -> Setup {
    Setup { policy, ..Setup::default() }
}

#[test]
fn the_small_trace_costs_what_it_costs() {
    let executions = small();
    let row = |policy: Policy| {
        let run = run(&setup(policy), &executions);
        Row { name: policy.to_string(), summary: run.summary() }
    };
    let rows: Vec<Row> = Policy::ALL.map(row).into();
    let price = Setup::default().price;
    insta::assert_snapshot!(table::table(&rows, work_bound(&executions, 2, price)));
}

#[test]
fn the_bill_and_the_waits_can_be_computed_again_from_the_json() {
    for policy in Policy::ALL {
        let executions = small();
        let setup = Setup { price: "0.0184".parse().unwrap(), ..setup(policy) };
        let run = run(&setup, &executions);
        let text = json::json(policy.as_str(), &run, work_bound(&executions, 2, setup.price), &[]);
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        let servers = told["servers"].as_array().unwrap();
        let number = |value: &serde_json::Value| value.as_f64().unwrap();
        let bill: i64 = servers
            .iter()
            .map(|server| {
                let lived = number(&server["deleted"]) - number(&server["created"]);
                (lived / 3600.0).ceil() as i64 * server["price_micros_per_hour"].as_i64().unwrap()
            })
            .sum();
        assert_eq!(told["summary"]["bill_micros"].as_i64(), Some(bill));
        let mut waits = Vec::new();
        for execution in told["executions"].as_array().unwrap() {
            let server = &servers[execution["server"].as_u64().unwrap() as usize];
            let (started, finished) = (number(&execution["started"]), number(&execution["finished"]));
            // It ran on a server that had booted, and that was there until its end.
            assert!(number(&server["created"]) + 60.0 <= started && finished <= number(&server["deleted"]));
            waits.push(started - number(&execution["submitted"]));
        }
        waits.sort_by(f64::total_cmp);
        let p95 = waits[(waits.len() * 95).div_ceil(100) - 1];
        assert_eq!((waits.len(), number(&told["summary"]["wait_p95"])), (executions.len(), p95));
        // No server ever ran more than its CPUs at once.
        for (at, _) in servers.iter().enumerate() {
            assert!(most_at_once(&run, at) <= 2000);
        }
    }
}

/// Thousandths of a core that a server ran at once, at most.
fn most_at_once(run: &Run, server: usize) -> i64 {
    let mut changes: Vec<(i64, i64)> = run
        .executions
        .iter()
        .filter(|execution| execution.server == server)
        .flat_map(|e| [(e.started, i64::from(e.cpu_millis)), (e.finished, -i64::from(e.cpu_millis))])
        .collect();
    changes.sort_unstable();
    let (mut now, mut most) = (0, 0);
    for (_, change) in changes {
        now += change;
        most = most.max(now);
    }
    most
}

#[test]
fn a_run_is_the_same_each_time() {
    let executions = small();
    for policy in Policy::ALL {
        assert_eq!(run(&setup(policy), &executions), run(&setup(policy), &executions));
    }
}

#[test]
fn every_execution_runs_once_and_every_server_is_deleted_whatever_the_world_is_like() {
    let executions = trace::executions(&synthetic(4));
    for (workers_max, cpus_per_worker, boot, patience) in
        [(1, 1, 60, 0), (3, 4, 1, 600), (200, 2, 600, 30), (50, 16, 3600, 0)]
    {
        for policy in Policy::ALL {
            let setup = Setup {
                workers_max,
                cpus_per_worker,
                boot: Duration::from_secs(boot),
                patience: Duration::from_secs(patience),
                ..setup(policy)
            };
            let run = run(&setup, &executions);
            for (record, execution) in run.executions.iter().zip(&executions) {
                assert!(record.started >= execution.submitted, "{record:?}");
                assert_eq!(record.finished - record.started, execution.runs);
            }
            assert!(run.servers.iter().all(|server| server.deleted < i64::MAX));
            assert!(run.summary().servers_peak <= workers_max as usize);
        }
    }
}

#[test]
fn no_synthetic_trace_waits_longer_than_a_boot_or_costs_more_than_the_cheaper_of_the_others() {
    for seed in SEEDS {
        let executions = trace::executions(&synthetic(seed));
        let of = |policy, patience| {
            let setup = Setup { patience: Duration::from_secs(patience), ..setup(policy) };
            run(&setup, &executions).summary()
        };
        let cheaper = of(Policy::Earlier, 0).bill.min(of(Policy::KeepAlive, 0).bill);
        let ours = of(Policy::HourEdge, 0);
        assert!(ours.wait_p95 <= 61_000, "seed {seed}: {ours:?}");
        assert!(ours.bill.0 as f64 <= 1.02 * cheaper.0 as f64, "seed {seed}: {ours:?}, {cheaper}");
        let patient = of(Policy::HourEdge, 120);
        assert!(patient.bill <= cheaper, "seed {seed}: {patient:?}, {cheaper}");
        assert!(ours.bill >= work_bound(&executions, 2, Price::from_micros(31_200)));
    }
}

#[test]
fn a_picture_has_what_it_shows() {
    let executions = small();
    let picture = svg::timeline("a <trace> & more", &run(&setup(Policy::HourEdge), &executions));
    assert!(picture.starts_with("<svg ") && picture.trim_end().ends_with("</svg>"));
    assert_eq!(picture.matches("<polyline").count(), 4);
    assert!(picture.contains("a &lt;trace&gt; &amp; more: servers"));
}
