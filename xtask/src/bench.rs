//! Measures us beside the peers in one run, on the release build, and writes ratios and raw figures to
//! docs/benchmarks.md. Nothing here is a test: no number makes it fail.

mod docker;
mod grid;
mod rows;
mod stats;

use std::fmt::Write as _;

use anyhow::{Context, Result};

use crate::{cargo, output, root, run};

/// One line of the page.
struct Row {
    what: &'static str,
    target: &'static str,
    measured: String,
    raw: String,
}

/// What fills some rows.
type Measure = fn(&grid::Grid) -> Result<Vec<Row>>;

pub(crate) fn bench(args: &[String]) -> Result<()> {
    run(cargo().args(["build", "--release", "--locked", "--package", "rgrid"]))?;
    let only = args.iter().find(|arg| !arg.starts_with('-')).map(String::as_str);
    let grid = grid::Grid::start()?;
    let mut rows = Vec::new();
    let all: [(&str, Measure); 7] = [
        ("start", rows::start_up),
        ("warm", rows::warm_run),
        ("memory", rows::memory),
        ("log", rows::log_delay),
        ("transfer", rows::transfer),
        ("throughput", rows::throughput),
        ("docker", docker::containers),
    ];
    for (name, measure) in all {
        if only.is_none_or(|only| only == name) {
            eprintln!("measuring: {name}");
            let measured = measure(&grid).with_context(|| format!("measure {name}"))?;
            for row in &measured {
                println!("{:<58} {:<12} {}", row.what, row.target, row.measured);
            }
            rows.extend(measured);
        }
    }
    if only.is_none() {
        std::fs::write(root().join("docs/benchmarks.md"), page(&grid, &rows)?)?;
    }
    Ok(())
}

fn page(grid: &grid::Grid, rows: &[Row]) -> Result<String> {
    let notes = std::fs::read_to_string(root().join("docs/benchmarks.notes.md")).unwrap_or_default();
    let mut page = String::from(
        "# Benchmarks\n\nWritten by `cargo xtask bench`; the notes at the end are from `docs/benchmarks.notes.md`.\n\n",
    );
    writeln!(
        page,
        "- machine: {} cores, {}",
        std::thread::available_parallelism()?,
        output(std::process::Command::new("uname").arg("-sr"))?.trim()
    )?;
    writeln!(page, "- interpreter on both sides: {}, not through a shim", grid.python_version()?)?;
    writeln!(
        page,
        "- commit: {}\n",
        output(std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(root()))?
            .trim()
    )?;
    page.push_str("| what | target | measured |\n|---|---|---|\n");
    for row in rows {
        writeln!(page, "| {} | {} | {} |", row.what, row.target, row.measured)?;
    }
    page.push_str("\n## Raw figures\n");
    for row in rows {
        writeln!(page, "\n{}\n\n```\n{}\n```", row.what, row.raw.trim_end())?;
    }
    page.push('\n');
    page.push_str(&notes);
    Ok(page)
}
