//! A planted value of `--env` reaches the script and nothing else: no file of the grid holds it, no process list, no answer.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::grid::{Grid, text, until};

/// Long and odd enough to be found wherever it lies.
const PLANTED: &str = "plantedZq81vLx0TnW4sRkB7";

/// Files below a folder that hold the planted bytes, links not followed. The disks of jobs are files of many gigabytes, most
/// of them holes.
fn holders(folder: &Path) -> Vec<PathBuf> {
    // By its input: a command line must not hold them.
    let mut grep = Command::new("grep")
        .args(["-rlasF", "--file=-"])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    grep.stdin.take().unwrap().write_all(PLANTED.as_bytes()).unwrap();
    let found = grep.wait_with_output().unwrap();
    text(&found.stdout).lines().map(PathBuf::from).collect()
}

/// Command lines of all processes of the machine that hold the planted bytes.
fn command_lines() -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| text(&line)).filter(|line| line.contains(PLANTED)).collect()
}

#[test]
fn a_planted_value_is_in_no_log_process_list_answer_file_or_database() {
    let grid = Grid::new();
    grid.script(
        "s.py",
        "import os, sys
sys.stdin.read()
token = os.environ['TOKEN']
print('it has', len(token), 'characters:', token)
for part in token[:7], token[7:]:
    sys.stdout.write(part); sys.stdout.flush()
print()
raise SystemExit(f'it fails with {token}')
",
    );
    let mut run = grid
        .rgrid(&["run", "--no-network", "--env", "TOKEN", "s.py"])
        .env("TOKEN", PLANTED)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("it runs", || text(&grid.output(&["status", "last"]).stdout).contains("running"));
    assert_eq!(command_lines(), Vec::<String>::new());
    let while_it_runs = holders(&grid.home());
    drop(run.stdin.take());
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    // It arrived: its length says so; the value itself is masked wherever it is printed whole or in two pieces.
    let printed = text(&output.stdout);
    assert!(printed.contains(&format!("it has {} characters", PLANTED.len())), "{printed}");
    for shown in [printed, text(&output.stderr)] {
        assert!(!shown.contains(PLANTED), "{shown}");
    }

    for question in [
        &["status", "last", "--json"][..],
        &["status", "last"],
        &["list", "--json"],
        &["logs", "last"],
        &["workers", "--json"],
        &["doctor"],
    ] {
        let answer = grid.output(question);
        let said = text(&answer.stdout) + &text(&answer.stderr);
        assert!(!said.contains(PLANTED), "rgrid {question:?}: {said}");
    }
    let status = grid.success(&["status", "last", "--json"]);
    assert!(status.contains("TOKEN"), "its name is shown: {status}");

    // The database's own files are what a dump would be made from, its journal among them; the store and all logs too.
    assert_eq!(while_it_runs, Vec::<PathBuf>::new());
    assert_eq!(holders(&grid.home()), Vec::<PathBuf>::new());
    grid.success(&["down"]);
    assert_eq!(holders(&grid.home()), Vec::<PathBuf>::new());
    // The search would have found it: where a person writes it down, it is.
    fs::write(grid.home().join("note"), PLANTED).unwrap();
    assert_eq!(holders(&grid.home()), [grid.home().join("note")]);
}
