//! Time and memory: how a script that takes too much ends, and what is kept.

use crate::grid::{Account, until};
use crate::project::{Ended, Project};

/// Starts children, one of them in a session of its own, and sleeps.
const SLEEPS_WITH_CHILDREN: &str = "\
import subprocess, sys, time
sleep = [sys.executable, '-c', 'import time; time.sleep(600)', sys.argv[1]]
subprocess.Popen(sleep)
subprocess.Popen(sleep, start_new_session=True)
open('before.txt', 'w').write('written')
print('begun')
try:
    time.sleep(600)
finally:
    open('at_the_end.txt', 'w').write('written')
";

/// Ignores whatever may be ignored, and so does its child.
const IGNORES_EVERYTHING: &str = "\
import signal, subprocess, sys, time
for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
    signal.signal(number, signal.SIG_IGN)
sleep = [sys.executable, '-c', 'import time; time.sleep(600)', sys.argv[1]]
subprocess.Popen(sleep, start_new_session=True, restore_signals=False)
open('before.txt', 'w').write('written')
print('begun')
while True:
    time.sleep(600)
";

fn outcome(ended: &Ended) -> serde_json::Value {
    let said: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    said["execution"].clone()
}

#[test]
fn a_time_limit_ends_the_whole_tree_and_keeps_what_was_made() {
    for account in Account::all() {
        let project = Project::of(account, &[("s.py", SLEEPS_WITH_CHILDREN)]);
        let ended = project.run(&["--timeout", "3s", "s.py", &project.name]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(124), "begun\n"), "{}", ended.stderr);
        assert_eq!(project.processes(), Vec::<String>::new());
        assert_eq!(project.read("before.txt") + &project.read("at_the_end.txt"), "writtenwritten");
    }
}

#[test]
fn a_script_that_ignores_every_signal_is_killed_at_the_end_of_the_grace() {
    let project = Project::with(&[("s.py", IGNORES_EVERYTHING)]);
    let ended = project.run(&["--timeout", "2s", "s.py", &project.name]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(124), "begun\n"), "{}", ended.stderr);
    assert_eq!(project.processes(), Vec::<String>::new());
    assert_eq!(project.read("before.txt"), "written");
}

#[test]
fn more_time_can_be_given_while_it_runs() {
    let project = Project::with(&[("s.py", "import time\nprint('begun')\ntime.sleep(6)\nprint('done')\n")]);
    let id = project.run(&["-d", "--timeout", "4s", "s.py"]).stdout.trim().to_owned();
    until("it runs", || project.grid.success(&["status", &id, "--json"]).contains("\"running\""));
    project.grid.success(&["extend", &id, "1m"]);
    Ended::of(project.grid.output(&["logs", "-f", &id])).printed("begun\ndone\n");
}

#[test]
fn a_script_that_takes_too_much_memory_is_killed_and_told_how_to_have_more() {
    const HOG: &str = "\
import time
open('before.txt', 'w').write('written')
print('begun')
taken = []
while True:
    taken.append(bytearray(b'x' * (8 << 20)))
    time.sleep(0.01)
";
    for account in Account::all() {
        let project = Project::of(account, &[("hog.py", HOG)]);
        let ended = project.run(&["--memory", "128M", "hog.py"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(137), "begun\n"), "{}", ended.stderr);
        assert!(ended.stderr.contains("killed at its memory limit of 128M"), "{}", ended.stderr);
        assert!(ended.next().starts_with("rgrid run --memory "), "{}", ended.stderr);
        assert!(ended.next().ends_with(" hog.py") && !ended.next().contains("128M"), "{}", ended.stderr);
        assert_eq!(project.read("before.txt"), "written");
    }
}

#[test]
fn what_this_machine_can_never_hold_is_refused_with_what_it_can() {
    let project = Project::with(&[("s.py", "print('never')\n")]);
    let ended = project.run(&["--memory", "100T", "s.py"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(126), ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("memory: 100T asked, and the largest worker has "), "{}", ended.stderr);
    assert!(ended.next().starts_with("ask for at most --memory "), "{}", ended.stderr);
}

#[test]
fn a_scripts_own_124_is_told_from_a_time_limit() {
    let project = Project::with(&[
        ("own.py", "import sys\nsys.exit(124)\n"),
        ("slow.py", "import time\ntime.sleep(600)\n"),
    ]);
    let own = project.run(&["--json", "own.py"]);
    assert_eq!(own.code, Some(124));
    assert_eq!(outcome(&own)["status"], "failed");
    assert_eq!(outcome(&own)["outcome"], serde_json::json!({ "kind": "exited", "code": 124 }));
    let ours = project.run(&["--json", "--timeout", "1s", "slow.py"]);
    assert_eq!(ours.code, Some(124));
    assert_eq!(outcome(&ours)["status"], "timed_out");
    assert_eq!(outcome(&ours)["outcome"], serde_json::json!({ "kind": "timed_out", "timeout_ms": 1000 }));
}
