//! What travels, what comes back, and what is left alone.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use nix::sys::signal::Signal;

use crate::grid::{Grid, until};
use crate::project::{Ended, Process, Project, the_file};

/// A counter of the grid's metrics, over all its labels that hold `having`.
fn counted(grid: &Grid, having: &[&str]) -> u64 {
    let url = grid.notice()["url"].as_str().unwrap().to_owned();
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("rgrid_http_requests_total"), "{answer}");
    let lines = answer.lines().filter(|line| having.iter().all(|part| line.contains(part)));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// Parts of files that arrived, whoever sent them.
fn parts_received(grid: &Grid) -> u64 {
    counted(grid, &["rgrid_http_requests_total", "/blobs/{sha256}\"", "\"PUT\"", "\"204\""])
}

/// A file outside of every project, gone at the end.
struct Outside(PathBuf);

impl Outside {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("rgrid-it-{}-{name}", std::process::id())))
    }

    fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // It need not have come to be.
        let _ = fs::remove_file(&self.0);
    }
}

/// Every file below a folder, as the script in it would list them.
const LISTS: &str = "\
import os, sys
for folder, folders, files in os.walk(sys.argv[1] if len(sys.argv) > 1 else '.'):
    for name in files:
        print(os.path.join(folder, name))
";

#[test]
fn outputs_below_the_project_and_below_folders_that_arguments_name_are_back() {
    const WRITES: &str = "\
import pathlib, sys
pathlib.Path('deep/er').mkdir(parents=True)
pathlib.Path('deep/er/a.txt').write_text('a')
pathlib.Path(sys.argv[1], 'b.txt').write_text('b')
pathlib.Path(sys.argv[2].split('=')[1], 'new').mkdir()
pathlib.Path(sys.argv[2].split('=')[1], 'new', 'c.txt').write_text('c')
";
    let project = Project::with(&[("p/s.py", WRITES), ("one/x", ""), ("two/x", "")]);
    let one = project.path("one");
    let mut command = project.rgrid(&["run", "s.py", one.to_str().unwrap(), "--into=../two"]);
    let ended = Ended::of(command.current_dir(project.path("p")).output().unwrap());
    ended.printed("");
    assert_eq!(ended.stderr, "");
    let back = ["p/deep/er/a.txt", "one/b.txt", "two/new/c.txt"].map(|name| project.read(name));
    assert_eq!(back, ["a", "b", "c"]);
}

#[test]
fn what_is_written_elsewhere_is_named_and_comes_when_asked_for() {
    let out = Outside::new("out.csv");
    let project = Project::with(&[("s.py", "import sys\nopen(sys.argv[1] + '.csv', 'w').write('made')\n")]);
    let stem = out.text().strip_suffix(".csv").unwrap();
    let ended = project.run(&["s.py", stem]);
    ended.printed("");
    let said = format!("rgrid: not brought back: {0}; use --output {0}\n", out.text());
    assert_eq!(ended.stderr, said);
    assert!(!out.0.exists());
    let ended = project.run(&["--output", out.text(), "s.py", stem]);
    ended.printed("");
    assert_eq!(ended.stderr, "");
    assert_eq!(fs::read_to_string(&out.0).unwrap(), "made");
}

#[test]
fn a_file_that_was_edited_meanwhile_is_kept_and_ours_lies_beside_it() {
    const EDITS: &str = "\
text = open('notes.txt').read()
print('read')
input()
open('notes.txt', 'w').write(text + ' and the script')
";
    let project = Project::with(&[("s.py", EDITS), ("notes.txt", "first")]);
    let mut process = project.start(&["s.py"]);
    process.prints("read\n");
    project.write("notes.txt", "edited by hand");
    process.type_in("\n");
    let ended = process.end();
    ended.printed("read\n");
    assert_eq!(project.read("notes.txt"), "edited by hand");
    let beside = the_file(&project.folder, "notes.txt.exec_");
    assert_eq!(fs::read_to_string(&beside).unwrap(), "first and the script");
    assert!(ended.stderr.contains("changed here meanwhile and was kept"), "{}", ended.stderr);
    assert!(ended.stderr.contains(beside.to_str().unwrap()), "{}", ended.stderr);
}

#[test]
fn the_second_run_sends_nothing_though_the_outputs_of_the_first_lie_there() {
    const WRITES: &str = "\
import os, sys
folder = sys.argv[1]
text = open('data/x.csv').read()
print(len(text), sorted(os.listdir(folder)))
open(os.path.join(folder, 'out.csv'), 'w').write(text.upper())
open('summary.txt', 'w').write(str(len(text)))
";
    let project = Project::on(Arc::new(Grid::new()));
    project.write("s.py", WRITES);
    project.write("data/x.csv", "a,b\n".repeat(100_000));
    project.run(&["s.py", "data"]).printed("400000 ['x.csv']\n");
    assert_eq!(project.read("summary.txt"), "400000");
    let before = parts_received(&project.grid);
    assert!(before >= 2);
    project.run(&["s.py", "data"]).printed("400000 ['out.csv', 'x.csv']\n");
    assert_eq!(parts_received(&project.grid), before, "neither inputs nor equal outputs travel again");
}

#[test]
fn a_folder_is_sent_without_what_only_this_machine_needs() {
    let project = Project::with(&[("s.py", LISTS), ("data/a.csv", "1"), ("notes.txt", "n")]);
    for (name, text) in [
        (".git/HEAD", "ref: refs/heads/main"),
        (".git/objects/ab/cd", "x"),
        (".venv/pyvenv.cfg", "home = /usr/bin"),
        (".venv/lib/site.py", "x"),
        ("node_modules/left/pad.js", "x"),
        ("__pycache__/s.cpython-311.pyc", "x"),
        (".env", "PASSWORD=1"),
        ("build/skipped.bin", "x"),
        (".gitignore", "build/\n"),
    ] {
        project.write(name, text);
    }
    for n in 0..500 {
        project.write(&format!("many/{}/{n}.txt", n % 10), n.to_string());
    }
    let ended = project.run(&["s.py", "."]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let seen: BTreeSet<&str> = ended.stdout.lines().collect();
    let many: Vec<String> = (0..500).map(|n| format!("./many/{}/{n}.txt", n % 10)).collect();
    let mut wanted: BTreeSet<&str> = many.iter().map(String::as_str).collect();
    wanted.extend(["./s.py", "./data/a.csv", "./notes.txt", "./.gitignore"]);
    assert_eq!(seen, wanted);
}

/// More files than are sent without a word. Their bytes are the same, so that an agreed sending is short.
fn very_many(project: &Project) {
    let folder = project.path("many");
    fs::create_dir(&folder).unwrap();
    for n in 0..=10_000 {
        fs::write(folder.join(n.to_string()), &project.name).unwrap();
    }
}

const COUNTS: &str = "import os, sys\nprint(len(os.listdir(sys.argv[1])))\n";

#[test]
fn more_than_a_gigabyte_is_not_sent_unasked() {
    let project = Project::with(&[("s.py", COUNTS), ("big/small", "small")]);
    for name in ["big/one", "big/two"] {
        File::create(project.path(name)).unwrap().set_len(600 << 20).unwrap();
    }
    let ended = project.run(&["s.py", "big"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(126), ""), "{}", ended.stderr);
    for said in ["4 files with 1.1G would travel", "big/one", "--yes", "--no-input PATH"] {
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
    // What was refused does not wait for its inputs.
    let waiting = project.grid.success(&["list", "--status", "pending", "--json"]);
    assert!(!waiting.contains(&project.name), "{waiting}");
    let without = ["--no-input", "big/one", "--no-input", "big/two", "s.py", "big"];
    project.run(&without).printed("1\n");
}

#[test]
fn more_than_ten_thousand_files_are_asked_about_on_a_terminal_and_refused_elsewhere() {
    let project = Project::with(&[]);
    // A script that the grid cannot have from elsewhere: it counts.
    project.write("s.py", format!("{COUNTS}# {}\n", project.name));
    very_many(&project);
    let ended = project.run(&["s.py", "many"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(126), ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("10002 files"), "{}", ended.stderr);
    assert!(ended.stderr.contains("--yes") && ended.stderr.contains("--no-input PATH"), "{}", ended.stderr);

    let on_a_terminal = |answer: &str| {
        let line = "script --quiet --return --command 'rgrid run s.py many' /dev/null";
        let mut process = Process::start(&mut project.shell(line));
        process.prints("[y/N]");
        process.type_in(answer);
        process.end()
    };
    let no = on_a_terminal("n\n");
    assert_eq!(no.code, Some(126), "{}", no.stdout);
    let yes = on_a_terminal("y\n");
    assert_eq!(yes.code, Some(0), "{}", yes.stdout);
    assert!(yes.stdout.ends_with("10001\r\n"), "{}", yes.stdout);
    // What is there is not asked about again.
    project.run(&["s.py", "many"]).printed("10001\n");
}

#[test]
fn an_upload_that_was_cut_goes_on_where_it_was() {
    const PART: u64 = 16 << 20;
    const PARTS: u64 = 20;
    let project = Project::on(Arc::new(Grid::new()));
    project.write("s.py", "import os\nprint(os.stat('big.bin').st_size)\n");
    let mut big = File::create(project.path("big.bin")).unwrap();
    for n in 0..PARTS {
        // Parts that differ, or the last of them would be there with the first.
        big.write_all(&vec![n as u8; PART as usize]).unwrap();
    }
    drop(big);
    project.grid.success(&["up"]);
    let mut cut = project.rgrid(&["run", "s.py"]);
    let mut cut = cut.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // The script is one more.
    until("60 % has arrived", || parts_received(&project.grid) > PARTS * 60 / 100);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(cut.id() as i32), Signal::SIGKILL).unwrap();
    assert!(!cut.wait().unwrap().success());
    // What was on its way when the line was cut arrives or does not, before anything is counted.
    let before = parts_received(&project.grid);
    assert!(before < PARTS, "the cut came too late to show anything");
    project.run(&["s.py"]).printed(&format!("{}\n", PART * PARTS));
    let again = parts_received(&project.grid) - before;
    assert!(again * 100 < PARTS * 45, "{again} of {PARTS} parts were sent again");
}

#[test]
fn a_script_run_from_another_folder_leaves_its_files_where_python_would() {
    let project = Project::with(&[
        ("pyproject.toml", ""),
        ("code/s.py", "open('here.txt', 'w').write(open('../data/x.txt').read())\n"),
        ("work/y", ""),
        ("data/x.txt", "x"),
    ]);
    let mut command = project.rgrid(&["run", "../code/s.py"]);
    let ended = Ended::of(command.current_dir(project.path("work")).output().unwrap());
    ended.printed("");
    assert_eq!(project.read("work/here.txt"), "x");
    assert!(!Path::new(&project.path("code/here.txt")).exists());
}

#[test]
fn files_are_made_with_the_umask_of_whoever_runs_the_script() {
    use std::os::unix::fs::PermissionsExt as _;
    const WRITES: &str = "\
import os, sys
for name in sys.argv[1:]:
    open(name, 'w').close()
os.chmod(sys.argv[1], 0o755)
";
    let project = Project::with(&[("s.py", WRITES)]);
    for umask in ["077", "002", "022"] {
        let modes = |by: &str| {
            let line = format!("umask {umask} && {by} s.py {umask}.chosen {umask}.left");
            Ended::of(project.shell(&line).output().unwrap()).printed("");
            ["chosen", "left"].map(|name| {
                let file = project.path(&format!("{umask}.{name}"));
                let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o7777;
                fs::remove_file(file).unwrap();
                format!("{mode:o}")
            })
        };
        assert_eq!(modes("rgrid run"), modes("python3"), "umask {umask}");
    }
}
