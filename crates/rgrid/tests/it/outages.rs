//! What outages must not do: interrupt a job, lose or double one, or lose a byte. `RGRID_SOAK=1` runs the sizes that
//! the promises are made for; without it a tenth, and outages that are only just longer than every deadline.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::grid::{Grid, text};
use crate::server_grid::ServerGrid;

/// Longer than the lease (20 s) and the silence after which a worker is called dead (25 s).
const LONGER_THAN_ALL_DEADLINES: Duration = Duration::from_secs(28);
/// An end that was promised comes within this, after an outage of any kind.
const PATIENCE: Duration = Duration::from_secs(180);

/// The first is for CI, the second for a soak.
pub(crate) fn sized<T>(ci: T, soak: T) -> T {
    if std::env::var_os("RGRID_SOAK").is_some() { soak } else { ci }
}

pub(crate) fn patiently(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// An outage is a length of time, and nothing in it can be waited for.
async fn lasts(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Prints a line each 0.1 s for `sys.argv[1]` seconds, then what it is.
const TICKS: &str = "import sys, time
for tick in range(int(sys.argv[1]) * 10):
    print('tick', tick, flush=True)
    time.sleep(0.1)
";

fn ticks(seconds: u64) -> String {
    (0..seconds * 10).map(|tick| format!("tick {tick}\n")).collect()
}

pub(crate) fn submit(grid: &ServerGrid, port: u16, args: &[&str]) -> String {
    let fixed = ["run", "-q", "-d", "-n", "--no-network", "--cpu", "0.03", "--memory", "64M"];
    grid.success(port, &[&fixed[..], args].concat()).trim().to_owned()
}

/// Every one of them completed at the first attempt, with every byte.
fn all_unharmed(grid: &ServerGrid, port: u16, ids: &[String], seconds: u64) {
    patiently("every job ends", || grid.count(port, "queued,running") == 0);
    for id in ids {
        let attempts = grid.attempts(port, id);
        assert_eq!(attempts.len(), 1, "{attempts:?}\n{}", grid.log());
        assert_eq!(grid.success(port, &["logs", id]), ticks(seconds));
    }
    assert_eq!(grid.count(port, "completed"), ids.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_job_is_interrupted_while_the_database_is_away() {
    let (jobs, outage) = sized((5, LONGER_THAN_ALL_DEADLINES), (50, Duration::from_secs(60)));
    let grid = ServerGrid::new().await;
    let port = ServerGrid::free_port();
    let _api = grid.api(port);
    let _orchestrator = grid.orchestrator();
    let _runner = grid.runner(port, jobs);
    grid.script("ticks.py", TICKS);
    let seconds = outage.as_secs() + 8;
    let ids: Vec<String> =
        (0..jobs).map(|_| submit(&grid, port, &["ticks.py", &seconds.to_string()])).collect();
    patiently("all run", || grid.count(port, "running") == jobs as usize);

    grid.database.goes_away().await;
    patiently("it is told", || grid.page(port, "/health").0 == 503);
    let (_, health) = grid.page(port, "/health");
    assert!(!health.contains("db: connected"), "{health}");
    assert_eq!(grid.page(port, "/ready").0, 503);
    lasts(outage).await;
    grid.database.back().await;
    patiently("it is back", || grid.page(port, "/health").0 == 200);
    all_unharmed(&grid, port, &ids, seconds);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_job_is_interrupted_while_the_api_is_away_and_every_follow_goes_on() {
    let (jobs, follows, outage) = sized((2, 4, LONGER_THAN_ALL_DEADLINES), (50, 20, Duration::from_secs(60)));
    let grid = ServerGrid::new().await;
    let port = ServerGrid::free_port();
    let api = grid.api(port);
    let _orchestrator = grid.orchestrator();
    let _runner = grid.runner(port, jobs);
    grid.script("ticks.py", TICKS);
    let seconds = outage.as_secs() + 8;
    let ids: Vec<String> =
        (0..jobs).map(|_| submit(&grid, port, &["ticks.py", &seconds.to_string()])).collect();
    patiently("all run", || grid.count(port, "running") == jobs as usize);
    let seen = |number: usize| grid.work().join(format!("follow-{number}"));
    let follow = |number: usize| -> Child {
        let mut follow = grid.rgrid(port, &["logs", &ids[number % ids.len()], "-f"]);
        let printed = std::fs::File::create(seen(number)).unwrap();
        follow.stdout(printed).stderr(Stdio::piped()).spawn().unwrap()
    };
    let followers: Vec<Child> = (0..follows).map(follow).collect();
    patiently("everybody follows", || {
        (0..follows).all(|number| std::fs::metadata(seen(number)).unwrap().len() > 0)
    });

    api.crash();
    lasts(outage).await;
    let _api = grid.api(port);
    all_unharmed(&grid, port, &ids, seconds);
    for (number, follower) in followers.into_iter().enumerate() {
        let output = follower.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(std::fs::read_to_string(seen(number)).unwrap(), ticks(seconds));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stopped_runner_says_after_its_lease_changes_nothing() {
    let grid = ServerGrid::new().await;
    let port = ServerGrid::free_port();
    let _api = grid.api(port);
    let _orchestrator = grid.orchestrator();
    let stopped = grid.runner(port, 1);
    grid.script(
        "who.py",
        "import time, uuid
me = uuid.uuid4().hex
print(me, flush=True)
open('who.txt', 'w').write(me)
time.sleep(3)
print(me, flush=True)
",
    );
    let id = submit(&grid, port, &["who.py"]);
    patiently("it prints", || !grid.success(port, &["logs", &id]).is_empty());
    let first = grid.success(port, &["logs", &id]).trim().to_owned();

    stopped.signal(Signal::SIGSTOP);
    let _other = grid.runner(port, 1);
    patiently("another finishes", || grid.count(port, "completed") == 1);
    let ended = grid.success(port, &["logs", &id]);
    stopped.signal(Signal::SIGCONT);
    // It is told `not_current`, ends the job, and takes the next one: then everything it had to say was said.
    _other.crash();
    let next = submit(&grid, port, &["who.py"]);
    patiently("the stopped one works again", || grid.count(port, "completed") == 2);
    assert_eq!(grid.attempts(port, &next).len(), 1);

    let attempts = grid.attempts(port, &id);
    let states: Vec<&str> = attempts.iter().map(|attempt| attempt["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["lost", "ended"]);
    let winner = ended.lines().last().unwrap();
    assert_ne!(winner, first);
    assert_eq!(grid.success(port, &["logs", &id]), ended);
    let into = grid.work().join("back");
    grid.success(port, &["download", &id, "--output-dir", into.to_str().unwrap()]);
    let written = std::fs::read_to_string(into.join("who.txt")).unwrap();
    assert_eq!(written, winner);
}

#[test]
fn a_grid_that_slept_goes_on_with_the_job_it_had() {
    let asleep = sized(LONGER_THAN_ALL_DEADLINES, Duration::from_secs(120));
    let grid = Grid::new();
    grid.script("ticks.py", TICKS);
    let seconds = asleep.as_secs() / 4 + 4;
    let id = grid.success(&["run", "-q", "-d", "--no-network", "ticks.py", &seconds.to_string()]);
    let id = id.trim();
    patiently("it prints", || !grid.success(&["logs", id]).is_empty());
    let everything: Vec<i32> = grid.processes().into_iter().map(|(pid, _)| pid).collect();
    let tell = |signal| {
        for pid in &everything {
            // A session of the database may have ended meanwhile.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), signal);
        }
    };
    tell(Signal::SIGSTOP);
    std::thread::sleep(asleep);
    tell(Signal::SIGCONT);
    patiently("it ends", || grid.success(&["status", id, "--json"]).contains("completed"));
    assert_eq!(grid.success(&["logs", id]), ticks(seconds));
    let status: serde_json::Value = serde_json::from_str(&grid.success(&["status", id, "--json"])).unwrap();
    assert_eq!(status["execution"]["attempt"], 1, "{status}");
}
