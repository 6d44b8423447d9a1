//! Ctrl-C and its relatives: what they end, what they leave running, and how one comes back.

use std::sync::Arc;

use nix::sys::signal::Signal;

use crate::grid::{Account, Grid, until};
use crate::project::{Ended, Process, Project};

/// Waits with a child beside it; what it must do at its end it does.
const CLEANS_UP: &str = "\
import subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', sys.argv[1]])
try:
    print('begun')
    time.sleep(600)
finally:
    open('saved.txt', 'w').write('saved')
    print('cleaned up')
";

/// Counts for about two seconds.
const COUNTS: &str = "\
import sys, time
for n in range(20):
    print(n, sys.argv[1])
    time.sleep(0.1)
";

fn counted(project: &Project) -> String {
    (0..20).map(|n| format!("{n} {}\n", project.name)).collect()
}

fn interrupted(project: &Project, mut process: Process) {
    process.prints("begun\n");
    process.signal(Signal::SIGINT);
    let ended = process.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert_eq!(ended.stdout, "begun\ncleaned up\n");
    assert!(ended.stderr.contains("KeyboardInterrupt"), "{}", ended.stderr);
    assert!(ended.stderr.contains("use -d to keep one running"), "{}", ended.stderr);
    assert_eq!(project.read("saved.txt"), "saved");
    project.nothing_is_left();
    assert!(project.grid.success(&["status", "last"]).contains("cancelled"));
}

#[test]
fn ctrl_c_ends_the_script_as_under_python() {
    for account in Account::all() {
        let project = Project::on(Arc::new(Grid::of(account)));
        project.write("s.py", CLEANS_UP);
        let process = project.start(&["s.py", &project.name]);
        interrupted(&project, process);
    }
}

#[test]
fn ctrl_c_reaches_scripts_on_a_grid_that_was_started_in_the_background() {
    // A shell has what it starts with `&` ignore Ctrl-C, and children inherit that.
    let project = Project::on(Arc::new(Grid::new()));
    project.write("s.py", CLEANS_UP);
    let up = Ended::of(project.shell("trap '' INT QUIT; rgrid up").output().unwrap());
    assert_eq!(up.code, Some(0), "{}", up.stderr);
    let process = project.start(&["s.py", &project.name]);
    interrupted(&project, process);
}

/// Leaves a counting script by a signal; it goes on, and is followed from elsewhere from its first byte.
fn leaves(signal: Signal, options: &[&str]) {
    let project = Project::with(&[("s.py", COUNTS)]);
    let name = project.name.clone();
    let mut process = project.start(&[options, &["s.py", &name]].concat());
    process.prints("0 ");
    process.signal(signal);
    let ended = process.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    let word = |before: &str| {
        let line = ended.stderr.lines().find_map(|line| line.split_once(before)).unwrap();
        line.1.trim().to_owned()
    };
    let (again, end) = (word("to see it again:"), word("to end it:"));
    let id = again.strip_prefix("rgrid logs ").and_then(|rest| rest.strip_suffix(" -f")).unwrap();
    assert_eq!(end, format!("rgrid cancel {id}"));
    let followed = Ended::of(project.grid.shell(&again).output().unwrap());
    followed.printed(&counted(&project));
    project.nothing_is_left();
}

#[test]
fn ctrl_c_may_let_go_of_the_script() {
    leaves(Signal::SIGINT, &["--on-interrupt", "detach"]);
}

#[test]
fn a_hangup_lets_go_of_the_script() {
    leaves(Signal::SIGHUP, &[]);
}

#[test]
fn a_polite_kill_of_the_command_lets_go_of_the_script() {
    leaves(Signal::SIGTERM, &[]);
}

#[test]
fn a_detached_script_outlives_the_session_it_was_started_in() {
    let project = Project::on(Arc::new(Grid::new()));
    project.write("s.py", COUNTS);
    // Logging out: everything of the session is told so, and then killed.
    let line = format!(
        "setsid --wait bash -c 'rgrid run -d s.py {}; trap \"\" HUP; kill -HUP 0; kill -KILL 0'",
        project.name
    );
    let said = Ended::of(project.shell(&line).output().unwrap());
    assert_ne!(said.code, Some(0));
    let id = said.stdout.trim();
    assert!(id.starts_with("exec_"), "{} {}", said.stdout, said.stderr);
    let followed = Ended::of(project.grid.output(&["logs", "-f", id]));
    followed.printed(&counted(&project));
}

#[test]
fn cancel_from_elsewhere_says_so_only_when_nothing_runs_any_more() {
    let project = Project::with(&[("s.py", CLEANS_UP)]);
    let id = project.run(&["-d", "s.py", &project.name]).stdout.trim().to_owned();
    until("it has begun", || project.grid.success(&["logs", &id]).contains("begun"));
    let cancelled = Ended::of(project.grid.output(&["cancel", &id]));
    assert_eq!(cancelled.code, Some(0), "{}", cancelled.stderr);
    assert_eq!(project.processes(), Vec::<String>::new());
    let files = Ended::of(project.rgrid(&["download", &id]).output().unwrap());
    assert_eq!(files.code, Some(0), "{}", files.stderr);
    assert_eq!(project.read("saved.txt"), "saved");
}
