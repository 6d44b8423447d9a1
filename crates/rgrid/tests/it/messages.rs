//! What a newcomer reads when a command cannot work: one plain message, the right exit code, no trace of our insides.

use std::fmt::Write as _;
use std::net::TcpListener;

use crate::project::{Ended, Project};

#[test]
fn failures_are_told_in_plain_words() {
    let project = Project::with(&[("s.py", "print('never')\n"), ("plot.ipynb", "{\"cells\": []}\n")]);
    let url = project.grid.notice()["url"].as_str().unwrap().to_owned();
    let closed = {
        // Nobody listens where somebody listened a moment ago.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let other = |url: &str| [("RGRID_URL", url.to_owned()), ("RGRID_API_KEY", "rg_wrong".to_owned())];
    let (wrong_key, down) = (other(&url), other(&closed));
    let mut said = String::new();
    let mut check = |title: &str, args: &[&str], variables: &[(&str, String)]| {
        let mut command = project.rgrid(args);
        let ended =
            Ended::of(command.envs(variables.iter().map(|(name, value)| (name, value))).output().unwrap());
        for sign in ["panicked", "backtrace", "RUST_", ".rs:", "Traceback", "thread '"] {
            assert!(!ended.stderr.contains(sign), "{title}: {}", ended.stderr);
        }
        assert_eq!(ended.stdout, "", "{title}");
        let words = ended
            .stderr
            .replace(project.folder.to_str().unwrap(), "PROJECT")
            .replace(&url, "http://GRID")
            .replace(&closed, "http://CLOSED");
        writeln!(said, "{title} (exit code {})\n{words}", ended.code.unwrap()).unwrap();
    };
    check("the script is missing", &["run", "sss.py"], &[]);
    check("the script is nearly there", &["run", "S.py"], &[]);
    check("the script is a folder", &["run", "."], &[]);
    check("a notebook", &["run", "plot.ipynb"], &[]);
    check("an input is missing", &["run", "--input", "data.csv", "s.py"], &[]);
    check("no script at all", &["run"], &[]);
    check("an unknown option", &["run", "--memroy", "3G", "s.py"], &[]);
    check("an unknown command", &["rnu", "s.py"], &[]);
    check("a value that is none", &["run", "--timeout", "soon", "s.py"], &[]);
    check("a later option", &["run", "--max-cost", "3", "s.py"], &[]);
    check("the key is wrong", &["run", "s.py"], &wrong_key);
    check("the server is down", &["run", "s.py"], &down);
    check("half configured", &["run", "s.py"], &wrong_key[..1]);
    check("no such execution", &["status", "exec_01ARZ3NDEKTSV4RRFFQ69G5FAV"], &[]);
    insta::assert_snapshot!(said);
}

#[test]
fn a_syntax_error_is_told_in_pythons_words() {
    let project = Project::with(&[("broken.py", "def f(:\n    pass\n")]);
    let ours = project.run(&["broken.py"]);
    let python = Ended::of(project.shell("python3 broken.py").output().unwrap());
    assert_eq!((ours.code, ours.stderr), (python.code, python.stderr));
}

#[test]
fn the_whole_machine_is_not_sent() {
    let project = Project::with(&[("s.py", "print('never')\n")]);
    let ended = project.run(&["s.py", "/"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(126), ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("is never sent whole"), "{}", ended.stderr);
}
