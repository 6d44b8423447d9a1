//! `--reuse`: an identical run is answered by the one before it, and whatever may make a difference runs again.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::grid::text;
use crate::project::Project;

/// Prints what nobody could know without running it.
const SCRIPT: &str = "\
import os, sys, time, helper
data = open('in.csv').read() if len(sys.argv) < 3 else sys.stdin.read()
with open('out.csv', 'w') as out:
    out.write(data + helper.WORD + os.environ.get('COLOUR', '') + str(time.time_ns()))
print('ran', open('out.csv').read())
print('to stderr', file=sys.stderr)
";

struct Ran {
    id: String,
    reused_from: Option<String>,
    printed: String,
}

fn project() -> Project {
    Project::with(&[("s.py", SCRIPT), ("helper.py", "WORD = 'one'\n"), ("in.csv", "a,b\n")])
}

/// `rgrid --json run ARGS`, with this on standard input.
fn run(project: &Project, options: &[&str], args: &[&str], stdin: Option<&str>) -> Ran {
    let network: &[&str] = if project.grid.has_network() { &[] } else { &["--no-network"] };
    let words = [&["--json", "run"], network, options, &["s.py"], args].concat();
    let mut command = project.rgrid(&words);
    let output: Output = match stdin {
        None => command.output().unwrap(),
        Some(stdin) => {
            fs::write(project.path(".stdin"), stdin).unwrap();
            command.stdin(fs::File::open(project.path(".stdin")).unwrap()).output().unwrap()
        }
    };
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["execution"]["status"], "completed");
    let reused_from = said["reused"]["execution"].as_str().map(str::to_owned);
    assert!(reused_from.is_none() || said["reused"]["completed_at"].is_string());
    Ran {
        id: said["execution"]["id"].as_str().unwrap().to_owned(),
        reused_from,
        printed: text(&output.stderr),
    }
}

#[test]
fn an_identical_run_is_answered_at_once_and_any_changed_byte_runs_again() {
    let project = project();
    let first = run(&project, &[], &[], None);
    let made = project.read("out.csv");
    let again = |what: &str, options: &[&str], args: &[&str]| {
        let options = [&["--reuse"], options].concat();
        let ran = run(&project, &options, args, None);
        assert_eq!(ran.reused_from, None, "{what}");
        assert_ne!(project.read("out.csv"), made, "{what}");
    };
    // The file that it made lies there now; once without it, once with it, once as it was changed here.
    for here in [Some(made.as_str()), None] {
        match here {
            Some(_) => {}
            None => fs::remove_file(project.path("out.csv")).unwrap(),
        }
        let ran = run(&project, &["--reuse"], &[], None);
        assert_eq!(
            (ran.reused_from.as_deref(), ran.id.as_str()),
            (Some(first.id.as_str()), first.id.as_str())
        );
        assert_eq!(project.read("out.csv"), made);
        // Its output is shown again, and the person is told from when it is.
        for line in ["ran a,b", "to stderr", "nothing ran", &first.id, "ago)"] {
            assert!(ran.printed.contains(line), "{line}: {}", ran.printed);
        }
    }
    again("--no-cache", &["--no-cache"], &[]);
    fs::remove_file(project.path("out.csv")).unwrap();
    again("argument", &[], &["x"]);
    fs::remove_file(project.path("out.csv")).unwrap();
    again("variable", &["--env", "COLOUR=red"], &[]);
    fs::remove_file(project.path("out.csv")).unwrap();
    again("another value of it", &["--env", "COLOUR=rad"], &[]);
    fs::remove_file(project.path("out.csv")).unwrap();
    if project.grid.has_network() {
        again("network", &["--no-network"], &[]);
    }
    for (name, content) in [
        ("helper.py", "WORD = 'two'\n".to_owned()),
        ("in.csv", "a,c\n".to_owned()),
        ("s.py", format!("{SCRIPT}# a comment\n")),
    ] {
        fs::remove_file(project.path("out.csv")).unwrap();
        let before = project.read(name);
        project.write(name, content);
        again(name, &[], &[]);
        project.write(name, before);
    }
    fs::remove_file(project.path("out.csv")).unwrap();
    assert!(run(&project, &["--reuse"], &[], None).reused_from.is_some());
}

#[test]
fn standard_input_is_read_first_and_decides() {
    let project = project();
    let stdin = |options: &[&str], input: &str| {
        let _ = fs::remove_file(project.path("out.csv"));
        run(&project, options, &["from", "stdin"], Some(input))
    };
    let first = stdin(&[], "1\n2\n");
    assert_eq!(first.reused_from, None);
    assert_eq!(stdin(&["--reuse"], "1\n2\n").reused_from.as_deref(), Some(first.id.as_str()));
    let other = stdin(&["--reuse"], "1\n3\n");
    assert_eq!(other.reused_from, None);
    assert!(other.printed.contains("ran 1\n3"), "{}", other.printed);
    assert_eq!(stdin(&["--reuse"], "1\n3\n").reused_from.as_deref(), Some(other.id.as_str()));
}

#[test]
fn what_failed_is_run_again_and_what_nobody_follows_is_named() {
    let project =
        Project::with(&[("s.py", "import sys\nprint('x')\nsys.exit(3)\n"), ("ok.py", "print('ok')\n")]);
    for _ in 0..2 {
        let output = project.rgrid(&["--json", "run", "--reuse", "s.py"]).output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said["reused"], Value::Null);
    }
    let detached = || {
        let output = project.rgrid(&["run", "-d", "--reuse", "ok.py"]).output().unwrap();
        text(&output.stdout).trim().to_owned()
    };
    let shown = project.rgrid(&["run", "ok.py"]).output().unwrap();
    assert_eq!(text(&shown.stdout), "ok\n");
    let (once, twice) = (detached(), detached());
    assert!(once.starts_with("exec_") && once == twice, "{once} {twice}");
    let shown = project.rgrid(&["run", "--reuse", "ok.py"]).output().unwrap();
    assert_eq!(text(&shown.stdout), "ok\n");
    assert!(text(&shown.stderr).contains(&once), "{}", text(&shown.stderr));
}
