//! The measurements of docs/simulator.md: `measure PICTURE.svg [TRACE.swf[.gz]]...`, each trace and then the twenty
//! synthetic ones, as tables in Markdown; the picture shows bills over patience.
#![expect(clippy::print_stdout, reason = "it prints tables")]

use std::time::Duration;

use rgrid_sim::report::{Summary, work_bound};
use rgrid_sim::setup::{Policy, Setup};
use rgrid_sim::trace::Execution;
use rgrid_sim::{run, svg, trace, workload};

/// Seconds of patience, and how they are written.
const PATIENCE: [(u64, &str); 5] = [(0, "0"), (30, "30 s"), (120, "2 min"), (600, "10 min"), (3600, "1 h")];

struct Measured {
    name: String,
    group: String,
    executions: usize,
    bound: f64,
    earlier: Summary,
    keep_alive: Summary,
    /// For each patience.
    ours: Vec<Summary>,
}

fn measure(name: String, group: &str, executions: &[Execution]) -> Measured {
    let base = Setup::default();
    let of = |policy, seconds| {
        let setup = Setup { policy, patience: Duration::from_secs(seconds), ..base.clone() };
        run(&setup, executions).summary()
    };
    Measured {
        name,
        group: group.to_owned(),
        executions: executions.len(),
        bound: work_bound(executions, base.cpus_per_worker, base.price).0 as f64,
        earlier: of(Policy::Earlier, 0),
        keep_alive: of(Policy::KeepAlive, 0),
        ours: PATIENCE.iter().map(|(seconds, _)| of(Policy::HourEdge, *seconds)).collect(),
    }
}

fn bill(summary: &Summary) -> f64 {
    summary.bill.0 as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let picture = args.next().expect("measure PICTURE.svg [TRACE]...");
    let mut all = Vec::new();
    for path in args {
        let bytes = std::fs::read(&path).expect("the trace can be read");
        let jobs = trace::read(&bytes).expect("the trace is one");
        let name = path.rsplit('/').next().unwrap_or_default();
        let name = name.trim_end_matches(".gz").trim_end_matches(".swf").to_owned();
        all.push(measure(name.clone(), &name, &trace::executions(&jobs)));
    }
    for seed in 1..=20 {
        let shape = workload::Shape::of(seed).as_str();
        let executions = trace::executions(&workload::synthetic(seed));
        all.push(measure(format!("{seed}, {shape}"), shape, &executions));
    }
    println!(
        "| trace | executions | (c) bound, EUR | (a) earlier | (b) keep-alive | hour-edge | of the cheaper | hour-edge, 120 s | of the cheaper |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let (mut plain, mut patient) = (Vec::new(), Vec::new());
    for m in &all {
        let cell = |summary: &Summary| {
            let (p50, p95) = (summary.wait_p50 as f64 / 1000.0, summary.wait_p95 as f64 / 1000.0);
            format!("{:.3}x, {p50:.0} / {p95:.1} s", bill(summary) / m.bound)
        };
        let cheaper = bill(&m.earlier).min(bill(&m.keep_alive));
        let (zero, waiting) = (&m.ours[0], &m.ours[2]);
        plain.push(bill(zero) / cheaper);
        patient.push(bill(waiting) / cheaper);
        println!(
            "| {} | {} | {:.2} | {} | {} | {} | {:.3} | {} | {:.3} |",
            m.name,
            m.executions,
            m.bound / 1e6,
            cell(&m.earlier),
            cell(&m.keep_alive),
            cell(zero),
            bill(zero) / cheaper,
            cell(waiting),
            bill(waiting) / cheaper,
        );
    }
    let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    println!("| worst | | | | | | {:.3} | | {:.3} |", most(&plain), most(&patient));
    println!("| median | | | | | | {:.3} | | {:.3} |\n", median(plain), median(patient));

    println!("| bill over patience | {} |", PATIENCE.map(|(_, name)| name).join(" | "));
    println!("|---|---|---|---|---|---|");
    let mut groups: Vec<String> = all.iter().map(|m| m.group.clone()).collect();
    groups.dedup();
    let mut lines: Vec<(String, Vec<f64>)> = Vec::new();
    for group in groups {
        if lines.iter().any(|(name, _)| *name == group) {
            continue;
        }
        let members: Vec<&Measured> = all.iter().filter(|m| m.group == group).collect();
        let share = |at: usize| {
            let of = |m: &&Measured| bill(&m.ours[at]) / bill(&m.ours[0]);
            100.0 * median(members.iter().map(of).collect())
        };
        let wait = |at: usize| median(members.iter().map(|m| m.ours[at].wait_p95 as f64 / 1000.0).collect());
        let cells: Vec<String> =
            (0..PATIENCE.len()).map(|at| format!("{:.1} % ({:.0} s)", share(at), wait(at))).collect();
        println!("| {group} | {} |", cells.join(" | "));
        lines.push((group, (0..PATIENCE.len()).map(share).collect()));
    }
    let steps: Vec<&str> = PATIENCE.iter().map(|(_, name)| *name).collect();
    let drawn =
        svg::curves("bill over patience, of the bill without (median of each shape)", &steps, &lines, " %");
    std::fs::write(&picture, drawn).expect("the picture can be written");
}
