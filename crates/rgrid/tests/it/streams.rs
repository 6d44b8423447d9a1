//! Standard input and output of a script, as they are under python.

use crate::grid::Grid;
use crate::project::{Ended, Project};

/// Says something without flushing and waits for a word: what it said was seen before the word was given.
const PRINTS_AND_WAITS: &str = "\
import sys
for n in range(5):
    print('line', n)
    sys.stdin.readline()
";

#[test]
fn a_plain_print_is_seen_while_the_script_goes_on() {
    let project = Project::with(&[("s.py", PRINTS_AND_WAITS)]);
    let mut process = project.start(&["s.py"]);
    let mut seen = String::new();
    for n in 0..5 {
        seen.push_str(&format!("line {n}\n"));
        process.prints(&seen);
        assert_eq!(process.stdout(), seen);
        process.type_in("go on\n");
    }
    process.end().printed(&seen);
}

#[test]
fn a_progress_bar_arrives_byte_for_byte() {
    const BAR: &str = "\
import sys
for n in range(11):
    sys.stderr.write(f'\\r{n * 10:3d}%|{chr(0x2588) * n:10s}| {n}/10')
    if n == 5:
        print('half', flush=True)
        sys.stdin.readline()
sys.stderr.write('\\n')
";
    let project = Project::with(&[("bar.py", BAR)]);
    let step = |n: usize| format!("\r{:3}%|{:10}| {n}/10", n * 10, "\u{2588}".repeat(n));
    let mut process = project.start(&["bar.py"]);
    process.prints("half\n");
    let half: String = (0..=5).map(step).collect();
    crate::grid::until("half of the bar is seen", || process.stderr() == half);
    process.type_in("\n");
    let ended = process.end();
    ended.printed("half\n");
    assert_eq!(ended.stderr, (0..=10).map(step).collect::<String>() + "\n");
}

#[test]
fn what_is_piped_in_is_read_to_its_end() {
    let project = Project::with(&[(
        "s.py",
        "import hashlib, sys\nread = sys.stdin.buffer.read()\nprint(len(read), hashlib.sha256(read).hexdigest())\n",
    )]);
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    project.write("x", bytes);
    let ours = Ended::of(project.shell("cat x | rgrid run s.py").output().unwrap());
    let python = Ended::of(project.shell("cat x | python3 s.py").output().unwrap());
    ours.printed(&python.stdout);
    assert!(ours.stdout.starts_with("3000000 "));
}

#[test]
fn an_open_silent_pipe_keeps_no_script_from_ending() {
    let project = Project::with(&[("s.py", "print('done')\n")]);
    let ended = project.start(&["s.py"]).end();
    ended.printed("done\n");
    assert_eq!(ended.stderr, "");
}

#[test]
fn an_endless_pipe_ends_with_the_script_and_nobody_complains() {
    let project = Project::with(&[("head.py", "for _ in range(3):\n    print(input())\n")]);
    let line = "yes | rgrid run head.py; echo ${PIPESTATUS[1]}";
    let ended = Ended::of(project.shell(line).output().unwrap());
    ended.printed("y\ny\ny\n0\n");
    assert_eq!(ended.stderr, "");
}

#[test]
fn a_loop_over_lines_keeps_its_lines() {
    let project =
        Project::with(&[("s.py", "import sys\nprint('got', sys.argv[1])\n"), ("list", "one\ntwo\nthree\n")]);
    let line = "while read f; do rgrid run -n s.py $f; done < list";
    Ended::of(project.shell(line).output().unwrap()).printed("got one\ngot two\ngot three\n");
}

#[test]
fn a_reader_that_has_read_enough_ends_the_script() {
    let project = Project::with(&[(
        "s.py",
        "import itertools, sys\nfor n in itertools.count():\n    print(n, sys.argv[1])\n",
    )]);
    let line = format!("rgrid run s.py {} | head -n 1", project.name);
    let ended = Ended::of(project.shell(&line).output().unwrap());
    ended.printed(&format!("0 {}\n", project.name));
    project.nothing_is_left();
}

#[test]
fn out_of_a_subshell_the_first_run_ever_returns_with_the_script() {
    let project = Project::on(std::sync::Arc::new(Grid::new()));
    project.write("hello.py", "print('hello')\n");
    let ended = Ended::of(project.shell("out=$(rgrid run hello.py); echo \"<$out>\"").output().unwrap());
    ended.printed("<hello>\n");
}
