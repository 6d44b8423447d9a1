//! A grid under kill -9 for some minutes: executions are submitted without end, and the daemon or a runner is killed at
//! random. At the end every acknowledged submission must be completed exactly once, with its own output.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::{cargo, output, run};

mod fuzz;
mod guards;

/// Time between two kills.
const KILL_EVERY: Duration = Duration::from_secs(7);
/// All work must have ended this long after the last kill.
const SETTLE: Duration = Duration::from_secs(180);

/// Random sequences of steps of a full run; CI tries a tenth of them.
const RANDOM_CASES: u32 = 200;

/// Outages and killed runners in the sizes that the promises are made for; CI tries a tenth of them.
fn outages() -> Result<()> {
    run(cargo()
        .args(["test", "--locked", "--package", "rgrid", "--test", "it", "--", "outages", "losses"])
        .args(["--test-threads", "1", "--nocapture"])
        .env("RGRID_SOAK", "1"))
}

/// Hostile jobs at their full sizes, the neighbour held to its pace; what was seen is printed. CI runs smaller ones.
fn hostile() -> Result<()> {
    run(cargo()
        .args(["test", "--locked", "--package", "rgrid", "--test", "it", "--", "hostile::"])
        .args(["--test-threads", "1", "--nocapture"])
        .env("RGRID_HOSTILE", "full"))
}

/// The API as each role against its own document, with all examples.
fn schemathesis() -> Result<()> {
    crate::prerequisites::ensure()?;
    run(cargo()
        .args(["test", "--locked", "--package", "rgrid", "--test", "it", "--", "document", "--nocapture"])
        .env("RGRID_SOAK", "1"))
}

/// 500 seeded misfortunes over the orchestrator and the stand-in for the provider; how often each hit, and each rule was
/// looked at, is printed. CI plays 60 of them.
fn cloud() -> Result<()> {
    run(cargo()
        .args(["test", "--locked", "--package", "rgrid-orchestrator", "--test", "it", "--", "misfortunes::"])
        .arg("--nocapture")
        .env("RGRID_SOAK", "1"))
}

/// 10,000 simulated workers at one API; what it took is printed. CI has a tenth of them.
fn workers(args: &[String]) -> Result<()> {
    crate::prerequisites::ensure()?;
    run(cargo()
        .args(["test", "--release", "--locked", "--package", "rgrid", "--test", "it", "--", "thousands::"])
        .args(["--test-threads", "1", "--nocapture"])
        .env("RGRID_SOAK", "1")
        .env("RGRID_SOAK_MINUTES", minutes(args, 10)?.to_string()))
}

pub(crate) fn soak(args: &[String]) -> Result<()> {
    match args.first().map(String::as_str) {
        Some("--fuzz") => return fuzz::soak(&args[1..]),
        Some("--guards") => return guards::soak(&args[1..]),
        Some("--random") => return random(),
        Some("--outages") => return outages(),
        Some("--cloud") => return cloud(),
        Some("--workers") => return workers(&args[1..]),
        Some("--claims") => {
            return store("claim_scale::claims_at_scale_hold_every_limit_and_starve_nobody", &args[1..]);
        }
        Some("--gc") => {
            return store("collection::what_is_named_is_never_collected_and_all_else_is", &args[1..]);
        }
        Some("--hostile") => return hostile(),
        Some("--schemathesis") => return schemathesis(),
        Some(_) | None => {}
    }
    let minutes = minutes(args, 5)?;
    run(cargo().args(["build", "--release", "--locked", "--package", "rgrid"]))?;
    let base = std::env::temp_dir().join(format!("rgrid-soak-{}", std::process::id()));
    std::fs::create_dir_all(base.join("work"))?;
    let grid = Grid { home: base.join("home"), work: base.join("work") };
    std::fs::write(
        grid.work.join("job.py"),
        "import sys, time\ntime.sleep(0.3)\nprint('job', sys.argv[1])\n",
    )?;
    let result = grid.torment(Duration::from_secs(minutes * 60));
    let _ = run(&mut grid.rgrid(&["down", "--purge", "--yes"]));
    let _ = std::fs::remove_dir_all(&base);
    result
}

/// The store against its model, in random order: CI's test, with all of its sequences.
fn random() -> Result<()> {
    let test = "random::whatever_happens_in_whatever_order_the_rows_are_those_of_the_model";
    run(cargo()
        .args(["test", "--locked", "--package", "rgrid-store", "--test=it", "--", "--exact", test])
        .env("RGRID_RANDOM_CASES", RANDOM_CASES.to_string()))
}

/// A test of the store in its full size, for 10 minutes or as many as are asked for; CI runs a tenth of it.
fn store(test: &str, args: &[String]) -> Result<()> {
    run(cargo()
        .args([
            "test",
            "--locked",
            "--package",
            "rgrid-store",
            "--test=it",
            "--",
            "--exact",
            test,
            "--nocapture",
        ])
        .env("RGRID_SOAK", "1")
        .env("RGRID_SOAK_MINUTES", minutes(args, 10)?.to_string()))
}

fn minutes(args: &[String], default: u64) -> Result<u64> {
    match args.iter().position(|arg| arg == "--minutes") {
        Some(at) => Ok(args.get(at + 1).context("--minutes wants a number")?.parse()?),
        None => Ok(default),
    }
}

struct Grid {
    home: PathBuf,
    work: PathBuf,
}

impl Grid {
    fn rgrid(&self, args: &[&str]) -> Command {
        let mut command = Command::new(crate::root().join("target/release/rgrid"));
        command
            .args(args)
            .env("RGRID_HOME", &self.home)
            .env_remove("RGRID_URL")
            .current_dir(&self.work)
            .stdin(Stdio::null());
        command
    }

    fn torment(&self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        let mut next_kill = Instant::now() + KILL_EVERY;
        let mut accepted: BTreeMap<String, usize> = BTreeMap::new();
        let (mut refused, mut kills) = (0, 0);
        for number in 0.. {
            if Instant::now() >= end {
                break;
            }
            let text = number.to_string();
            let submitted = self.rgrid(&["run", "-q", "-d", "--retries", "50", "job.py", &text]).output()?;
            if submitted.status.success() {
                accepted.insert(String::from_utf8(submitted.stdout)?.trim().to_owned(), number);
            } else {
                refused += 1;
            }
            if Instant::now() >= next_kill {
                kills += self.kill_something(kills)?;
                next_kill = Instant::now() + KILL_EVERY;
            }
        }
        println!(
            "soak: {} accepted, {refused} refused while the grid was down, {kills} kills",
            accepted.len()
        );
        ensure!(!accepted.is_empty() && kills > 0, "nothing was tried");
        self.settle()?;
        for (id, number) in &accepted {
            let log = output(&mut self.rgrid(&["logs", id]))?;
            let status: serde_json::Value =
                serde_json::from_str(&output(&mut self.rgrid(&["status", id, "--json"]))?)?;
            ensure!(status["status"] == "completed", "{id} is {}", status["status"]);
            ensure!(log == format!("job {number}\n"), "{id} printed {log:?}");
        }
        println!("soak: each of them completed once, with its own output");
        Ok(())
    }

    /// Kills the daemon, or one of its children, in turns.
    fn kill_something(&self, turn: usize) -> Result<usize> {
        let Some(daemon) = daemon(&self.home) else { return Ok(0) };
        let mut children = String::new();
        for thread in std::fs::read_dir(format!("/proc/{daemon}/task"))?.flatten() {
            children.push_str(&std::fs::read_to_string(thread.path().join("children")).unwrap_or_default());
        }
        let runner = children.split_whitespace().find(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() != "postgres")
        });
        let victim = match (turn % 3, runner) {
            (0, _) | (_, None) => daemon.to_string(),
            (_, Some(runner)) => runner.to_owned(),
        };
        Ok(usize::from(Command::new("kill").args(["-9", &victim]).status()?.success()))
    }

    fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + SETTLE;
        loop {
            let open = output(&mut self.rgrid(&["list", "--status", "pending,queued,running", "--json"]))?;
            let open: serde_json::Value = serde_json::from_str(&open)?;
            let list = open.get("executions").unwrap_or(&open);
            if list.as_array().is_some_and(Vec::is_empty) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("after {} s still open: {open}", SETTLE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn daemon(home: &Path) -> Option<u32> {
    let notice: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(home.join("grid.json")).ok()?).ok()?;
    u32::try_from(notice["process"]["pid"].as_u64()?).ok()
}
