//! The embedded grid as the commands see it: it starts by itself, is one, survives, and ends without a trace.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::grid::{Account, Grid, text, until};

/// Runs a test under every account that it can run under.
fn under_each_account(test: impl Fn(&Grid)) {
    for account in Account::all() {
        test(&Grid::of(account));
    }
}

fn daemon(grid: &Grid) -> Pid {
    Pid::from_raw(grid.notice()["process"]["pid"].as_i64().unwrap() as i32)
}

#[test]
fn the_first_command_starts_a_grid_and_the_next_finds_it() {
    under_each_account(|grid| {
        let first = grid.success(&["up"]);
        let pid = daemon(grid);
        assert!(first.starts_with("the grid on this machine is http://127.0.0.1:"), "{first}");
        assert_eq!(grid.success(&["up"]), first);
        assert_eq!(daemon(grid), pid);
    });
}

#[test]
fn many_cold_starts_at_once_start_one_grid() {
    under_each_account(|grid| {
        let starts: Vec<_> = (0..4)
            .map(|_| grid.rgrid(&["up"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
            .collect();
        let outputs: Vec<_> = starts.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
        for output in &outputs {
            assert!(output.status.success(), "{}\n{}", text(&output.stderr), grid.log());
            assert_eq!(text(&output.stdout), text(&outputs[0].stdout));
        }
        until("the other daemons have given way", || {
            grid.processes().iter().filter(|(_, line)| line.ends_with("up --background ")).count() == 1
        });
    });
}

#[test]
fn secrets_are_readable_by_their_owner_only() {
    let grid = Grid::new();
    grid.success(&["up"]);
    for name in ["grid.json", "key", "vault.key", "daemon.log", "postgres.log"] {
        let mode = fs::metadata(grid.home().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
    let lines: String = grid.processes().into_iter().map(|(_, line)| line).collect();
    assert!(!lines.contains("rg_") && !lines.contains(grid.notice()["key"].as_str().unwrap()));
}

#[test]
fn down_leaves_no_process_and_the_next_start_is_the_same_grid() {
    under_each_account(|grid| {
        let address = grid.success(&["up"]);
        let key = grid.notice()["key"].clone();
        let stopped = grid.output(&["down"]);
        assert!(stopped.status.success());
        assert_eq!(
            text(&stopped.stderr),
            "stopped: the grid on this machine, its workers and its PostgreSQL\n"
        );
        assert_eq!(grid.processes(), Vec::new());
        assert_eq!(text(&grid.output(&["down"]).stderr), "the grid on this machine did not run\n");
        assert_eq!(grid.success(&["up"]), address);
        assert_eq!(grid.notice()["key"], key);
    });
}

#[test]
fn a_power_cut_is_survived() {
    under_each_account(|grid| {
        grid.success(&["up"]);
        let key = grid.notice()["key"].clone();
        grid.kill_all();
        grid.success(&["up"]);
        assert_eq!(grid.notice()["key"], key);
    });
}

#[test]
fn a_killed_daemon_takes_everything_with_it() {
    under_each_account(|grid| {
        grid.success(&["up"]);
        kill(daemon(grid), Signal::SIGKILL).unwrap();
        until("PostgreSQL and the workers end with the daemon", || grid.processes().is_empty());
    });
}

#[test]
fn a_number_that_belongs_to_somebody_else_now_does_not_keep_postgresql_from_starting() {
    under_each_account(|grid| {
        grid.success(&["up"]);
        grid.kill_all();
        // After a reboot the number of the old server may be anybody's, also that of a process of ours.
        let mut somebody = grid.program(Path::new("/bin/sleep"), &["600"]).spawn().unwrap();
        for left in ["data/postmaster.pid", "socket/.s.PGSQL.5432.lock"] {
            let file = grid.home().join("postgres").join(left);
            let written = fs::read_to_string(&file).unwrap();
            let (_, rest) = written.split_once('\n').unwrap();
            fs::write(&file, format!("{}\n{rest}", somebody.id())).unwrap();
        }
        let again = grid.output(&["up"]);
        let untouched = somebody.try_wait().unwrap().is_none();
        somebody.kill().and_then(|()| somebody.wait()).unwrap();
        assert!(again.status.success(), "{}", text(&again.stderr));
        assert!(untouched);
    });
}

#[test]
fn postgresql_is_started_again_when_it_ends() {
    let grid = Grid::new();
    grid.success(&["up"]);
    let server = |grid: &Grid| {
        let written =
            fs::read_to_string(grid.home().join("postgres/data/postmaster.pid")).unwrap_or_default();
        written.lines().next().and_then(|pid| pid.parse::<i32>().ok())
    };
    let (pid, before) = (daemon(&grid), server(&grid).unwrap());
    kill(Pid::from_raw(before), Signal::SIGKILL).unwrap();
    until("another server runs", || server(&grid).is_some_and(|now| now != before));
    until("the grid answers", || grid.output(&["up"]).status.success());
    assert_eq!(daemon(&grid), pid);
}

#[test]
fn an_idle_grid_stops_by_itself() {
    let grid = Grid::new();
    let status = grid.rgrid(&["up"]).env("RGRID_EMBEDDED_IDLE", "300ms").status().unwrap();
    assert!(status.success());
    until("nothing is left", || grid.processes().is_empty());
    assert!(grid.log().contains("there was nothing to do"), "{}", grid.log());
    assert!(!grid.home().join("grid.json").exists());
}

#[test]
fn an_older_grid_makes_way_for_a_newer_command() {
    let grid = Grid::new();
    grid.success(&["up"]);
    let old = daemon(&grid);
    let mut notice = grid.notice();
    notice["version"] = "0.0.1".into();
    fs::write(grid.home().join("grid.json"), notice.to_string()).unwrap();
    grid.success(&["up"]);
    assert_ne!(daemon(&grid), old);
    assert_eq!(grid.notice()["version"], env!("CARGO_PKG_VERSION"));
    assert!(grid.log().contains("a newer version takes over"), "{}", grid.log());
}

#[test]
fn purge_deletes_everything() {
    under_each_account(|grid| {
        grid.success(&["up"]);
        let unasked = grid.output(&["down", "--purge"]);
        assert!(!unasked.status.success());
        assert_eq!(text(&unasked.stderr), "error: nobody can be asked here: repeat it with --yes\n");
        grid.success(&["down", "--purge", "--yes"]);
        assert_eq!(grid.processes(), Vec::new());
        assert!(!grid.home().exists());
        assert_eq!(text(&grid.output(&["down"]).stderr), "there is no grid on this machine\n");
    });
}

#[test]
fn what_is_missing_on_the_machine_is_named_in_one_sentence() {
    let grid = Grid::new();
    let none = grid.rgrid(&["up"]).env("PATH", "/nonexistent").output().unwrap();
    assert!(!none.status.success());
    let said = text(&none.stderr);
    assert!(said.starts_with("error: bubblewrap"), "{said}");
    assert!(said.contains("apt-get install -y bubblewrap python3") && said.lines().count() == 1, "{said}");

    let folder = grid.rgrid(&["up"]).env("RGRID_PG_BIN", "/nonexistent").output().unwrap();
    insta::assert_snapshot!(text(&folder.stderr), @r#"error: RGRID_PG_BIN names "/nonexistent", which holds no usable PostgreSQL (initdb and postgres, 14 or newer)"#);
}

#[test]
fn a_grid_in_the_foreground_serves_until_it_is_told_to_end() {
    let grid = Grid::new();
    let mut foreground = grid.rgrid(&["up", "--foreground"]).stderr(Stdio::piped()).spawn().unwrap();
    until("it is ready", || grid.home().join("grid.json").exists());
    grid.success(&["up"]);
    let second = grid.output(&["up", "--foreground"]);
    assert!(text(&second.stderr).contains("runs already"), "{}", text(&second.stderr));
    kill(Pid::from_raw(foreground.id() as i32), Signal::SIGTERM).unwrap();
    assert!(foreground.wait().unwrap().success());
    assert_eq!(grid.processes(), Vec::new());
}

#[test]
fn the_first_run_ever_prints_what_the_script_prints_and_brings_its_files() {
    under_each_account(|grid| {
        grid.script("hello.py", "print('hello')\nopen('out.txt', 'w').write('made')\n");
        // As `out=$(rgrid run hello.py)` does: the pipe must close when the script has ended.
        // An ordinary user gets a network only where the machine lends out its tun device.
        let output = grid.output(&["run", "--no-network", "hello.py"]);
        assert!(output.status.success(), "{}\n{}", text(&output.stderr), grid.log());
        assert_eq!(text(&output.stdout), "hello\n");
        assert_eq!(fs::read_to_string(grid.work().join("out.txt")).unwrap(), "made");
        grid.success(&["down"]);
        assert_eq!(grid.processes(), Vec::new());
    });
}

#[test]
fn after_a_power_cut_history_is_there_and_queued_work_goes_on() {
    let grid = Grid::new();
    grid.script("before.py", "print('before')\n");
    grid.success(&["run", "before.py"]);
    grid.script("slow.py", "import time\nprint('begun', flush=True)\ntime.sleep(2)\nprint('done')\n");
    let ids: Vec<String> =
        (0..4).map(|_| grid.success(&["run", "-d", "slow.py"]).trim().to_owned()).collect();
    until("one of them runs", || {
        grid.success(&["list", "--status", "running", "--json"]).contains("slow.py")
    });
    grid.kill_all();
    assert!(grid.success(&["list"]).contains("before.py"));
    for id in ids {
        let output = grid.output(&["logs", "-f", &id]);
        assert!(output.status.success(), "{id}: {}\n{}", text(&output.stderr), grid.log());
        assert!(text(&output.stdout).ends_with("done\n"), "{}", text(&output.stdout));
    }
}

#[test]
fn a_grid_that_is_told_to_stop_hands_its_work_back_for_the_next_start() {
    let grid = Grid::new();
    grid.script("slow.py", "import time\nprint('begun', flush=True)\ntime.sleep(3)\nprint('done')\n");
    let id = grid.success(&["run", "-d", "slow.py"]).trim().to_owned();
    until("it runs", || grid.success(&["list", "--status", "running", "--json"]).contains("slow.py"));
    grid.success(&["down"]);
    assert_eq!(grid.processes(), Vec::new());
    let output = grid.output(&["logs", "-f", &id]);
    assert!(output.status.success(), "{}\n{}", text(&output.stderr), grid.log());
    assert!(text(&output.stdout).ends_with("done\n"), "{}", text(&output.stdout));
}

#[test]
fn a_newer_command_waits_until_what_runs_on_the_older_grid_has_ended() {
    let grid = Grid::new();
    grid.script("slow.py", "import time\nprint('begun', flush=True)\ntime.sleep(3)\nprint('done')\n");
    let id = grid.success(&["run", "-d", "slow.py"]).trim().to_owned();
    until("it runs", || grid.success(&["list", "--status", "running", "--json"]).contains("slow.py"));
    let mut notice = grid.notice();
    notice["version"] = "0.0.1".into();
    fs::write(grid.home().join("grid.json"), notice.to_string()).unwrap();
    let said = text(&grid.output(&["up"]).stderr);
    assert!(said.contains("waiting for the grid of version 0.0.1"), "{said}");
    let status = grid.success(&["status", &id, "--json"]);
    assert!(status.contains("\"completed\"") && status.contains("\"attempt\": 1"), "{status}");
}
