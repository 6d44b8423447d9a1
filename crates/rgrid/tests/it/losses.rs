//! What becomes of executions whose runners are killed: each completes exactly once, or says who was lost with it.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::grid::{Grid, text, until};
use crate::outages::{patiently, sized, submit};
use crate::server_grid::{Role, ServerGrid};

/// Runners that work side by side, and what each takes at once.
const RUNNERS: usize = 8;
const SLOTS: u32 = 2;
/// Time from one kill to the next.
const KILL_EVERY: Duration = Duration::from_secs(1);
/// A lost attempt is noticed 20 to 25 s later, and there are some generations of them.
const SETTLED_AFTER: Duration = Duration::from_secs(900);

#[test]
fn the_third_loss_is_the_last_and_names_the_workers() {
    let grid = Grid::new();
    grid.script("sleep.py", "import time\nprint('here', flush=True)\ntime.sleep(600)\n");
    let command = ["run", "--no-network", "--retries", "2", "sleep.py"];
    let run = grid.rgrid(&command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let standing = || -> serde_json::Value {
        let status = grid.output(&["status", "last", "--json"]);
        serde_json::from_slice(&status.stdout).unwrap_or_default()
    };
    for number in 1..=3 {
        patiently("it runs again", || {
            let execution = standing()["execution"].take();
            execution["attempt"] == number
                && execution["status"] == "running"
                && !execution["started_at"].is_null()
        });
        let runners: Vec<i32> = grid
            .processes()
            .into_iter()
            .filter(|(_, line)| line.contains(" runner --embedded"))
            .map(|(pid, _)| pid)
            .collect();
        assert!(!runners.is_empty(), "{:?}", grid.processes());
        for pid in runners {
            // One that stood by for the next job may have ended by itself.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        until("the loss is noticed", || {
            let execution = standing()["execution"].take();
            execution["status"] == "failed"
                || execution["attempt"] != number
                || execution["status"] == "queued"
        });
    }
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{}", text(&output.stderr));
    let execution = standing()["execution"].take();
    assert_eq!(execution["outcome"]["kind"], "worker_lost", "{execution}");
    let workers = execution["outcome"]["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 3, "{execution}");
    for worker in workers {
        assert!(text(&output.stderr).contains(worker.as_str().unwrap()), "{}", text(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_execution_completes_exactly_once_while_a_runner_is_killed_each_second() {
    let (executions, losses_wanted, kills_max) = sized((100, 10, 30), (1_000, 200, usize::MAX));
    let grid = ServerGrid::new().await;
    let port = ServerGrid::free_port();
    let _api = grid.api(port);
    let _orchestrator = grid.orchestrator();
    let mut runners: Vec<Role> = (0..RUNNERS).map(|_| grid.runner(port, SLOTS)).collect();
    grid.script(
        "job.py",
        "import sys, time
number = int(sys.argv[1])
time.sleep(0.5 + number * 37 % 100 / 100)
open('result.txt', 'w').write(f'{number}\\n')
print('job', number)
",
    );
    let mut ids = BTreeMap::new();
    let mut kills = 0;
    let mut next_kill = Instant::now() + KILL_EVERY;
    let deadline = Instant::now() + SETTLED_AFTER;
    loop {
        if ids.len() < executions {
            let number = ids.len().to_string();
            ids.insert(submit(&grid, port, &["--retries", "20", "job.py", &number]), number);
        } else if grid.count(port, "queued,running") == 0 {
            break;
        } else {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(Instant::now() < deadline, "not settled\n{}", grid.log());
        if Instant::now() >= next_kill && kills < kills_max {
            runners.remove(kills % RUNNERS).crash();
            runners.push(grid.runner(port, SLOTS));
            kills += 1;
            next_kill = Instant::now() + KILL_EVERY;
        }
    }
    let mut lost = 0;
    for (id, number) in &ids {
        let attempts = grid.attempts(port, id);
        let states: Vec<&str> = attempts.iter().map(|attempt| attempt["state"].as_str().unwrap()).collect();
        let (last, before) = states.split_last().unwrap();
        assert_eq!(*last, "ended", "{id}: {attempts:?}");
        assert!(before.iter().all(|state| ["lost", "handed_back"].contains(state)), "{id}: {attempts:?}");
        lost += before.iter().filter(|state| **state == "lost").count();
        assert_eq!(grid.success(port, &["logs", id]), format!("job {number}\n"));
        let outputs = grid.success(port, &["outputs", id]);
        assert_eq!(outputs.matches("result.txt").count(), 1, "{outputs}");
    }
    println!("{executions} executions, {kills} runners killed, {lost} attempts lost");
    assert!(lost >= losses_wanted, "{kills} kills lost only {lost} attempts");
}
