//! A script that misses something on the grid hands over the command that works, and that command works.

use crate::project::{Ended, Project};

/// Runs what fails on the grid for a reason that can be mended; then the command that was handed over, as the person
/// would paste it.
#[track_caller]
fn mends(project: &Project, words: &[&str], explains: &str, next: &str) -> Ended {
    mends_with(project, words, &[], explains, next)
}

#[track_caller]
fn mends_with(
    project: &Project,
    words: &[&str],
    variables: &[(&str, &str)],
    explains: &str,
    next: &str,
) -> Ended {
    let mut failing = project.rgrid(&[&["run"], words].concat());
    let failed = Ended::of(failing.envs(variables.iter().copied()).output().unwrap());
    assert_ne!(failed.code, Some(0), "{}", failed.stdout);
    assert!(failed.stderr.contains(explains), "{}", failed.stderr);
    assert_eq!(failed.next(), next, "{}", failed.stderr);
    let mut mended = project.shell(next);
    Ended::of(mended.envs(variables.iter().copied()).output().unwrap())
}

#[test]
fn files_named_by_literal_paths_are_there_at_the_first_try() {
    let project = Project::with(&[
        ("s.py", "print(open('config.yaml').read() + open('data/x.csv').read())\n"),
        ("config.yaml", "depth: 3"),
        ("data/x.csv", "a,b"),
    ]);
    project.run(&["s.py"]).printed("depth: 3a,b\n");
}

#[test]
fn a_path_that_is_built_at_run_time() {
    let project = Project::with(&[
        (
            "s.py",
            "import sys\nname = '.'.join(['settings', 'toml'])\nprint(open('conf/' + name).read(), sys.argv[1:])\n",
        ),
        ("conf/settings.toml", "depth = 3"),
    ]);
    let next = "rgrid run --input conf/settings.toml s.py 'two words' -x";
    mends(&project, &["s.py", "two words", "-x"], "conf/settings.toml is here and was not sent", next)
        .printed("depth = 3 ['two words', '-x']\n");
}

#[test]
fn a_module_that_is_found_at_run_time() {
    let project = Project::with(&[
        ("s.py", "import importlib\nname = 'plug' + 'in'\nprint(importlib.import_module(name).VALUE)\n"),
        ("plugin.py", "VALUE = 7\n"),
    ]);
    mends(
        &project,
        &["s.py"],
        "the module plugin is here and was not sent",
        "rgrid run --input plugin.py s.py",
    )
    .printed("7\n");
}

#[test]
fn a_variable_that_is_set_here() {
    let project = Project::with(&[("s.py", "import os\nprint(os.environ['API_KEY'])\n")]);
    let set = [("API_KEY", "abc")];
    let next = "rgrid run --env API_KEY s.py";
    mends_with(&project, &["s.py"], &set, "the environment variable API_KEY is set here", next)
        .printed("abc\n");
}

#[test]
fn a_time_limit_is_replaced_by_a_longer_one() {
    let project = Project::with(&[("s.py", "import time\ntime.sleep(4)\nprint('done')\n")]);
    let next = "rgrid run --timeout 6s s.py";
    mends(&project, &["--timeout", "3s", "s.py"], "ended after 3s, its time limit", next).printed("done\n");
}

#[test]
fn an_answer_that_nobody_typed() {
    let project = Project::with(&[("s.py", "print('hello', input())\n")]);
    let next = "echo ANSWER | rgrid run s.py";
    mends(&project, &["s.py"], "it asked for input, and nothing was piped in", next)
        .printed("hello ANSWER\n");
}

#[test]
fn a_network_that_was_cut_off() {
    const SERVED: &str = "import socket\nsocket.create_connection(('192.0.2.1', 9), timeout=1)\n";
    let project = Project::with(&[("s.py", SERVED)]);
    let failed = project.run(&["--no-network", "s.py"]);
    assert_eq!(failed.code, Some(1));
    assert!(failed.stderr.contains("--no-network cut it off"), "{}", failed.stderr);
    assert_eq!(failed.next(), "rgrid run s.py");
}
