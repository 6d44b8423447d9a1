//! Jobs that take all they can get, and leave behind all that should not be there: how each ends and what the person is
//! told, that nothing of it stays, and that a neighbour working beside it has its files and its life.
//!
//! `RGRID_HOSTILE=full` has them at their full sizes (`cargo xtask soak --hostile`), and holds the neighbour's pace to its
//! bound, which only a quiet machine can promise.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use crate::grid::{Account, Grid};
use crate::project::{Ended, Process, Project};

/// The neighbour's pace may become this much slower.
const SLOWER_MAX: f64 = 2.0;

/// Works in small units, and answers each line with the median time that one took since the last.
const NEIGHBOUR: &str = "\
import statistics, sys, threading, time
open('mine.txt', 'w').write('mine')
times = []
def unit():
    begun = time.perf_counter()
    sum(n * n for n in range(100_000))
    times.append(time.perf_counter() - begun)
for _ in range(20):
    unit()
    time.sleep(0.02)
def work():
    while True:
        unit()
        time.sleep(0.05)
threading.Thread(target=work, daemon=True).start()
print(statistics.median(times), flush=True)
times.clear()
for line in sys.stdin:
    taken, times[:] = list(times), []
    print(statistics.median(taken) if taken else 0.0, open('mine.txt').read(), flush=True)
";

/// A hostile script: its name, the options it is run with, and what it does.
struct Deed {
    name: &'static str,
    options: &'static [&'static str],
    script: String,
}

fn deed(name: &'static str, options: &'static [&'static str], script: &str) -> Deed {
    Deed { name, options, script: script.to_owned() }
}

const FORK_BOMB: &str = "fork bomb";
const LOG: &str = "log";
const NO_MORE: &[&str] = &["--memory", "256M"];

fn deeds() -> Vec<Deed> {
    vec![
        deed("memory", NO_MORE, "hog = []\nwhile True:\n    hog.append(b'x' * (1 << 20))\n"),
        deed(
            "memory of many",
            NO_MORE,
            "import os, time\nfor _ in range(4):\n    if os.fork() == 0:\n        hog = b'x' * (90 << 20)\n        time.sleep(600)\nos.wait()\ntime.sleep(600)\n",
        ),
        deed(
            "memory as files",
            NO_MORE,
            "import sys\nn = 0\nwhile True:\n    n += 1\n    try:\n        open(f'/dev/shm/{n}', 'wb').write(b'x' * (1 << 20))\n    except OSError:\n        sys.exit(1)\n",
        ),
        deed(
            FORK_BOMB,
            &["--memory", "256M", "--timeout", "2s"],
            "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass\n",
        ),
        deed(
            "disk",
            &["--disk", "64M", "--memory", "256M"],
            "import sys\nn = 0\nwhile True:\n    n += 1\n    try:\n        open(f'/tmp/{n}', 'wb').write(b'x' * (1 << 20))\n    except OSError:\n        sys.exit(1)\n",
        ),
        deed(
            "disk without names",
            &["--disk", "64M", "--memory", "256M"],
            "import os, sys, time\nheld = []\nwhile True:\n    try:\n        held.append(os.open('.', os.O_TMPFILE | os.O_RDWR))\n        os.write(held[-1], b'x' * (1 << 20))\n    except OSError:\n        time.sleep(1)\n        sys.exit(1)\n",
        ),
        deed(
            "files that are not there",
            NO_MORE,
            "import os\nfor n in range(11):\n    open(f'big{n}', 'w').close()\n    os.truncate(f'big{n}', 1 << 30)\n",
        ),
        deed(
            "daemon",
            NO_MORE,
            "import os, time\nhears, says = os.pipe()\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        os.chdir('/')\n        os.write(1, b'stays\\n')\n        os.write(says, b'x')\n        time.sleep(600)\n    os._exit(0)\nos.read(hears, 1)\nprint('leaves')\n",
        ),
        deed(
            "daemon that shuts everything",
            NO_MORE,
            "import os, sys, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        os.closerange(0, 100)\n        time.sleep(600)\n    os._exit(0)\nos.wait()\nprint('leaves')\n",
        ),
        deed("a signal to itself", NO_MORE, "import os\nos.kill(os.getpid(), 9)\n"),
        deed(
            "links",
            NO_MORE,
            "import os, socket\nos.symlink('/etc/shadow', 'shadow.txt')\nos.symlink('/etc', 'folder')\nos.symlink('../../../../../../etc/shadow', 'up.txt')\nos.mkfifo('pipe')\nsocket.socket(socket.AF_UNIX).bind('socket')\nopen('honest.txt', 'w').write('honest')\n",
        ),
        deed(
            "names",
            NO_MORE,
            "import os\nfor name in [b'../outside', b'--help', b'-rf', b'..x', b'...', b'..\\\\x', b'%2e%2e%2fx', b'two\\nlines', b'red\\x1b[31m', b'bell\\x07', b'bad\\xff', b' ', b'n' * 255, b'nul.txt:x']:\n    open(name, 'w').close()\nlong = 'f' * 100 + '/' + 'g' * 100 + '/' + 'h' * 98\nos.makedirs(os.path.dirname(long))\nopen(long, 'w').close()\ntry:\n    open('n' * 300, 'w')\nexcept OSError as error:\n    print(error.strerror)\n",
        ),
        deed(
            "a folder without end",
            NO_MORE,
            "import os\nfor _ in range(2000):\n    os.mkdir('d')\n    os.chdir('d')\nopen('bottom', 'w').close()\n",
        ),
        deed(
            "closed folders",
            NO_MORE,
            "import os\nos.mkdir('closed')\nopen('closed/file.txt', 'w').write('kept')\nos.chmod('closed/file.txt', 0)\nos.chmod('closed', 0)\n",
        ),
    ]
}

/// Many files: at full size it takes the grid minutes.
fn files() -> Deed {
    let files = if is_full() { 100_000 } else { 2_000 };
    deed("files", NO_MORE, &format!("for n in range({files}):\n    open(f'{{n}}.txt', 'w').close()\n"))
}

/// More than a log may have.
fn flood() -> Deed {
    let log_bytes: u64 = if is_full() { 10 << 30 } else { 80 << 20 };
    let script = format!(
        "import sys\nblock = (b'x' * 1023 + b'\\n') * 1024\nfor _ in range({log_bytes} // len(block)):\n    sys.stdout.buffer.write(block)\n"
    );
    deed(LOG, NO_MORE, &script)
}

/// Free disk with which the share of each of two slots is over the 1 GiB that each of one deed's files of holes has.
const DISK_BYTES_MIN: u64 = 4 << 30;

fn is_full() -> bool {
    std::env::var_os("RGRID_HOSTILE").is_some_and(|size| size == "full")
}

#[test]
fn hostile_jobs_end_as_they_should_and_harm_nobody() {
    let disk = nix::sys::statvfs::statvfs(&std::env::temp_dir()).unwrap();
    let free = disk.blocks_available() * disk.fragment_size();
    assert!(free > DISK_BYTES_MIN, "this test needs {} GiB of free disk", DISK_BYTES_MIN >> 30);
    for account in Account::all() {
        let told = all_told(account, deeds().into_iter().chain([files()]).collect());
        match is_full() {
            true => println!("{told}"),
            false => insta::assert_snapshot!("hostile_jobs", told),
        }
    }
}

#[test]
fn a_flood_of_log_loses_its_middle_and_harms_nobody() {
    // Half a minute, most of it for what is kept; it is the same for every account.
    let accounts = Account::all().into_iter().take(if is_full() { usize::MAX } else { 1 });
    for account in accounts {
        let told = all_told(account, vec![flood()]);
        match is_full() {
            true => println!("{told}"),
            false => insta::assert_snapshot!(told, @r"
            log (exit code 0)
              stdout: about 64 MiB
              stderr: rgrid: 16M of standard output are missing here: the log has a limit
            "),
        }
    }
}

/// Runs each beside a neighbour, and tells how it went.
fn all_told(account: Account, deeds: Vec<Deed>) -> String {
    let grid = Arc::new(Grid::of(account));
    grid.success(&["up"]);
    let theirs = Project::on(grid.clone());
    theirs.write("neighbour.py", NEIGHBOUR);
    let mut neighbour = Neighbour::start(&theirs);
    let mut told = String::new();
    for deed in &deeds {
        let project = Project::on(grid.clone());
        project.write("s.py", &deed.script);
        let options = ["--cpu", "1"].iter().chain(deed.options).chain(&["s.py"]);
        let words: Vec<&str> = options.copied().chain([project.name.as_str()]).collect();
        let begun = std::time::Instant::now();
        let ended = project.run(&words);
        let took = begun.elapsed().as_secs_f64();
        let line = format!("{account:?}: {}: {took:.1} s, neighbour {}\n", deed.name, neighbour.pace());
        std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes()).unwrap();
        project.nothing_is_left();
        if deed.name == FORK_BOMB {
            // Time or memory, whatever the machine has less of.
            assert!(matches!(ended.code, Some(124 | 137)), "{}", ended.stderr);
            assert!(
                ["--timeout ", "--memory "]
                    .iter()
                    .any(|more| ended.next().starts_with(&format!("rgrid run {more}")))
            );
        } else {
            tell(&mut told, deed.name, &project, &ended);
        }
        if deed.name == LOG {
            assert!((60 << 20..68 << 20).contains(&ended.stdout.len()), "{}", ended.stdout.len());
        }
    }
    let honest = Project::on(grid.clone());
    honest.write("s.py", "print('alive')\n");
    honest.run(&["--cpu", "1", "--memory", "256M", "s.py"]).printed("alive\n");
    neighbour.ends_unharmed();
    assert_eq!(fs::read_dir(grid.work()).unwrap().count(), deeds.len() + 2, "something lies outside");
    told
}

/// Every byte, what is no UTF-8, what commands a terminal, and what would end a line of JSON or of an event stream.
const BYTES: &str = "\
import sys
said = bytes(range(256)) * 3 + b'\\xff\\xfe\\x00\\xc3(\\xed\\xa0\\x80\\x1b[2J\\x1b]0;title\\x07\\x9b31m\\r\\r\\n\\n\\ndata: x\\n\\nevent: end\\n\\n\\x00'
for piece in range(0, len(said), 7):
    sys.stdout.buffer.write(said[piece:piece + 7])
    sys.stdout.buffer.flush()
sys.stderr.buffer.write(said)
open('red\\x1b[31m\\u009b31m\\u202e.txt', 'w').close()
open('--help', 'w').close()
";

#[test]
fn what_a_job_prints_passes_byte_for_byte_and_what_it_names_is_spelled_out() {
    let project = Project::with(&[("s.py", BYTES)]);
    let shown = |words: &[&str]| project.rgrid(words).output().unwrap();
    let python = project.shell("python3 s.py").output().unwrap();
    fs::remove_file(project.path("--help")).unwrap();
    for words in [&["run", "--no-network", "s.py"][..], &["logs", "last"], &["logs", "-f", "last"]] {
        let ours = shown(words);
        assert_eq!(ours.stdout, python.stdout, "{words:?}");
        assert_eq!(ours.stderr, python.stderr, "{words:?}");
    }
    let ours = shown(&["run", "--no-network", "--json", "s.py"]);
    // Both come there, and which first is nobody's promise.
    let sorted = |mut bytes: Vec<u8>| {
        bytes.sort_unstable();
        bytes
    };
    assert_eq!(sorted(ours.stderr.clone()), sorted([python.stdout, python.stderr].concat()));
    serde_json::from_slice::<serde_json::Value>(&ours.stdout).unwrap();
    let lists: [&[&str]; 6] = [
        &["outputs", "last"],
        &["outputs", "last", "--json"],
        &["status", "last"],
        &["status", "last", "--json"],
        &["download", "last", "--output-dir", "x"],
        &["download", "last", "--output-dir", "y", "--json"],
    ];
    for (words, said) in lists.iter().map(|words| (words, shown(words))).chain([(&lists[0], ours)]) {
        let text = String::from_utf8(said.stdout).unwrap();
        assert!(text.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{words:?}: {text:?}");
        assert!(text.starts_with(['{', '/']) || words[0] != "outputs" || text.contains("--help"), "{text}");
    }
}

/// Works beside the others.
struct Neighbour {
    process: Process,
    alone: f64,
    lines: usize,
}

impl Neighbour {
    fn start(theirs: &Project) -> Self {
        let mut process = theirs.start(&["--cpu", "1", "--memory", "256M", "neighbour.py"]);
        process.prints("\n");
        let alone = process.stdout().trim().parse().unwrap();
        Self { process, alone, lines: 1 }
    }

    /// Asks it how it goes: it must have its file, and at full size its pace.
    fn pace(&mut self) -> String {
        self.process.type_in("?\n");
        self.lines += 1;
        crate::grid::until("the neighbour answers", || {
            self.process.stdout().lines().count() == self.lines && self.process.stdout().ends_with('\n')
        });
        let said = self.process.stdout();
        let (median, file) = said.lines().last().unwrap().split_once(' ').unwrap();
        assert_eq!(file, "mine");
        let times = median.parse::<f64>().unwrap() / self.alone;
        assert!(!is_full() || times < SLOWER_MAX, "{times} times slower");
        format!("{times:.2} times its time alone ({:.1} ms)", self.alone * 1000.0)
    }

    fn ends_unharmed(mut self) {
        self.process.close_stdin();
        let ended = self.process.end();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(ended.stderr, "");
    }
}

/// What a person saw and has afterwards.
fn tell(told: &mut String, name: &str, project: &Project, ended: &Ended) {
    writeln!(told, "{name} (exit code {})", ended.code.unwrap()).unwrap();
    let stdout = match ended.stdout.len() {
        0..=200 => ended.stdout.clone(),
        _ if name == LOG => "about 64 MiB\n".to_owned(),
        length => format!("{length} bytes\n"),
    };
    let work = project.grid.work();
    let places = [(&project.folder, "PROJECT"), (&work, "WORK")];
    let stderr = places
        .iter()
        .fold(ended.stderr.clone(), |text, (place, name)| text.replace(place.to_str().unwrap(), name))
        .replace(&project.name, "NAME")
        .replace(" --no-network", "");
    for line in stdout.lines() {
        writeln!(told, "  stdout: {line}").unwrap();
    }
    for line in stderr.lines() {
        writeln!(told, "  stderr: {}", without_figures(line).escape_debug()).unwrap();
    }
    let mut files = Vec::new();
    let mut folders = vec![project.folder.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => files.push(entry.path().strip_prefix(&project.folder).unwrap().to_owned()),
            }
        }
    }
    files.retain(|file| file != &PathBuf::from("s.py"));
    files.sort();
    match files.len() {
        0..=20 => {
            for file in files {
                let name = file.as_os_str().as_bytes().escape_ascii().to_string();
                writeln!(told, "  came back: {name}").unwrap();
            }
        }
        count => writeln!(told, "  came back: {count} files").unwrap(),
    }
}

/// Figures differ from run to run: what was seen at the peak, what is asked for because of it, which files there were.
fn without_figures(line: &str) -> &str {
    let cuts = [" (peak ", "next: rgrid run --memory ", "not brought back: /tmp/"];
    cuts.iter().find_map(|cut| line.find(cut).map(|at| &line[..at + cut.len()])).unwrap_or(line)
}
