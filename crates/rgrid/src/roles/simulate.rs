//! `rgrid simulate`: what a trace would have cost, and how long its work would have waited. No grid is asked: the
//! simulator runs the very decisions of a grid's orchestrator.

use std::process::ExitCode;

use anyhow::Context as _;
use rgrid_sim::report::{Run, work_bound};
use rgrid_sim::setup::{Policy, Setup};
use rgrid_sim::table::Row;
use rgrid_sim::trace::Job;
use rgrid_sim::workload::synthetic;
use rgrid_sim::{json, svg, table, trace};

use crate::command_line::SimulateArgs;

pub(crate) fn run(args: &SimulateArgs, as_json: bool) -> ExitCode {
    match simulate(args, as_json) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::refused(&error),
    }
}

/// The jobs that are played, and what they are called.
fn jobs(args: &SimulateArgs) -> anyhow::Result<(String, Vec<Job>)> {
    let Some(file) = &args.trace else {
        let seed = args.seed.context("neither a trace nor a seed is given")?;
        return Ok((format!("seed {seed}"), synthetic(seed)));
    };
    let shown = file.display().to_string();
    let bytes = std::fs::read(file).with_context(|| format!("{shown} cannot be read"))?;
    let jobs = trace::read(&bytes).with_context(|| format!("{shown} cannot be used"))?;
    Ok((shown, jobs))
}

fn simulate(args: &SimulateArgs, as_json: bool) -> anyhow::Result<()> {
    let (shown, jobs) = jobs(args)?;
    let executions = trace::executions(&jobs);
    let setup = args.setup();
    let bound = work_bound(&executions, setup.cpus_per_worker, setup.price);

    let mut chosen: Option<Run> = None;
    let mut rows = Vec::new();
    // One beside the other: each is a world of its own.
    let runs = std::thread::scope(|scope| {
        let world = |policy| {
            let (setup, executions) = (Setup { policy, ..setup.clone() }, &executions);
            (policy, scope.spawn(move || rgrid_sim::run(&setup, executions)))
        };
        Policy::ALL.map(world).map(|(policy, run)| (policy, run.join()))
    });
    for (policy, run) in runs {
        let run = run.map_err(|_| anyhow::anyhow!("the simulation of {policy} broke a rule of its world"))?;
        let patient = policy == Policy::HourEdge && !setup.patience.is_zero();
        let name = match patient {
            true => format!("{policy} ({} s patience)", setup.patience.as_secs()),
            false => policy.to_string(),
        };
        rows.push(Row { name, summary: run.summary() });
        if policy == setup.policy {
            chosen = Some(run);
        }
    }
    let chosen = chosen.context("every policy was run")?;
    if let Some(file) = &args.svg {
        let picture = svg::timeline(&format!("{shown}, {}", setup.policy), &chosen);
        std::fs::write(file, picture).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    if as_json {
        let compared: Vec<_> = rows.into_iter().map(|row| (row.name, row.summary)).collect();
        super::print(json::json(setup.policy.as_str(), &chosen, bound, &compared).trim_end())
    } else {
        super::print(&format!(
            "{} jobs, {} executions; {} CPUs and EUR {} an hour each server, {} s to boot, at most {}",
            jobs.len(),
            executions.len(),
            setup.cpus_per_worker,
            setup.price,
            setup.boot.as_secs(),
            setup.workers_max
        ))?;
        super::print(table::table(&rows, bound).trim_end())
    }
}
