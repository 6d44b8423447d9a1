//! The proof of the mission: each folder of `tests/like_python` is run once by python and once by `rgrid run`, in the
//! same place; standard output, standard error, exit code and the resulting files must be equal.
//!
//! A folder may hold `case.toml`: `args` (what stands after `python`), `cwd` (below the folder), `stdin`, `env`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::grid::{Account, Grid};

/// A case that takes longer hangs.
const CASE_DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Case {
    pub(crate) name: String,
    folder: PathBuf,
    /// All of `case.toml`.
    pub(crate) table: toml::Table,
    pub(crate) args: Vec<String>,
    cwd: String,
    stdin: Option<String>,
    environment: BTreeMap<String, String>,
}

impl Case {
    fn read(folder: PathBuf) -> Self {
        let text = std::fs::read_to_string(folder.join("case.toml")).unwrap_or_default();
        let table: toml::Table = text.parse().unwrap();
        Self {
            name: folder.file_name().unwrap().to_string_lossy().into_owned(),
            args: table.get("args").map_or_else(|| vec!["main.py".to_owned()], texts),
            cwd: table.get("cwd").map_or_else(String::new, |cwd| cwd.as_str().unwrap().to_owned()),
            stdin: table.get("stdin").map(|stdin| stdin.as_str().unwrap().to_owned()),
            environment: table
                .get("env")
                .and_then(toml::Value::as_table)
                .into_iter()
                .flatten()
                .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
                .collect(),
            folder,
            table,
        }
    }

    /// How the two differ, as text; empty when they do not.
    pub(crate) fn difference(&self, plain: &Seen, ours: &Seen) -> String {
        if plain == ours { String::new() } else { format!("{}:\n{}\n", self.name, plain.difference(ours)) }
    }

    /// Lays the case out anew in `place`, with times that tell its files apart.
    fn lay_out(&self, place: &Path) {
        if place.exists() {
            std::fs::remove_dir_all(place).unwrap();
        }
        copy_tree(&self.folder, place, true);
        std::fs::create_dir_all(place.join(&self.cwd)).unwrap();
        let mut files: Vec<PathBuf> = tree(place).into_keys().map(|file| place.join(file)).collect();
        files.sort();
        for (n, file) in files.iter().filter(|file| file.is_file()).enumerate() {
            let time = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + 60 * n as u64);
            std::fs::File::options().append(true).open(file).unwrap().set_modified(time).unwrap();
        }
    }

    /// Lays the case out, and runs the command that is made there.
    pub(crate) fn run(&self, grid: &Grid, place: &Path, command: impl FnOnce() -> Command) -> Seen {
        self.lay_out(place);
        let mut command = command();
        for name in tree(place).into_keys() {
            grid.give(&place.join(name.trim_end_matches(['/', '@'])));
        }
        grid.give(place);
        command
            .current_dir(place.join(&self.cwd))
            .stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = finished(command, self.stdin.as_deref(), &self.name);
        // As a shell tells it: a signal is 128 and its number.
        let code = output.status.code().or_else(|| Some(128 + output.status.signal()?));
        Seen { code, stdout: output.stdout, stderr: output.stderr, files: tree(place) }
    }
}

/// A list of texts.
pub(crate) fn texts(value: &toml::Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

/// Runs to the end, or kills and says that it hung.
fn finished(mut command: Command, stdin: Option<&str>, name: &str) -> Output {
    let mut child = command.spawn().unwrap();
    if let (Some(mut pipe), Some(text)) = (child.stdin.take(), stdin) {
        // A script that reads nothing may be gone already.
        let _ = pipe.write_all(text.as_bytes());
    }
    let pid = child.id();
    let (done, waits) = std::sync::mpsc::channel();
    let watch = std::thread::spawn(move || {
        if waits.recv_timeout(CASE_DEADLINE).is_err() {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    });
    let started = Instant::now();
    let output = child.wait_with_output().unwrap();
    let _ = done.send(());
    watch.join().unwrap();
    assert!(started.elapsed() < CASE_DEADLINE, "{name} hangs: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[derive(PartialEq)]
pub(crate) struct Seen {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Seen {
    /// Where `self`, python, and `ours` differ, as text.
    fn difference(&self, ours: &Self) -> String {
        let mut text = String::new();
        if self.code != ours.code {
            writeln!(text, "  exit code: python {:?}, rgrid {:?}", self.code, ours.code).unwrap();
        }
        for (what, python, rgrid) in
            [("stdout", &self.stdout, &ours.stdout), ("stderr", &self.stderr, &ours.stderr)]
        {
            if python != rgrid {
                writeln!(text, "  {what}: python {}\n  {what}: rgrid  {}", shown(python), shown(rgrid))
                    .unwrap();
            }
        }
        for name in self.files.keys().chain(ours.files.keys()) {
            let (python, rgrid) = (self.files.get(name), ours.files.get(name));
            if python != rgrid {
                let bytes =
                    |file: Option<&Vec<u8>>| file.map_or_else(|| "nothing".to_owned(), |bytes| shown(bytes));
                writeln!(text, "  {name}: python {}, rgrid {}", bytes(python), bytes(rgrid)).unwrap();
            }
        }
        text
    }
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let start: String = text.chars().take(600).collect();
    format!("({} bytes) {start:?}", bytes.len())
}

/// Compiled modules, environments, and what the building of a package leaves behind.
fn is_made_by_tools(name: &str) -> bool {
    matches!(name, "__pycache__" | ".venv" | "build") || name.ends_with(".egg-info")
}

/// Everything below a folder: path, kind and permission bits to bytes. What tools make does not count.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if is_made_by_tools(&entry.file_name().to_string_lossy()) {
                continue;
            }
            let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                found.insert(format!("{name}/"), Vec::new());
                folders.push(path);
            } else if kind.is_symlink() {
                found.insert(
                    format!("{name}@"),
                    std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(),
                );
            } else {
                let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
                let mut bytes = format!("{mode:o} ").into_bytes();
                bytes.extend(std::fs::read(&path).unwrap());
                found.insert(name, bytes);
            }
        }
    }
    // The key of a file is its own path, so that `lay_out` can find it again.
    found
}

fn copy_tree(from: &Path, to: &Path, top: bool) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        if top && entry.file_name() == "case.toml" || entry.file_name() == "__pycache__" {
            continue;
        }
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target, false);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn check(grid: &Grid, cases: impl IntoIterator<Item = Case>) {
    let place = grid.work().join("case");
    let python = grid.python();
    let mut failures = String::new();
    let mut count = 0;
    for case in cases {
        count += 1;
        let args: Vec<&str> = case.args.iter().map(String::as_str).collect();
        let plain = case.run(grid, &place, || {
            let mut plain = grid.program(&python, &args);
            // What a person compares with is python on a terminal, where a line is seen when it is printed.
            plain.env("PYTHONUNBUFFERED", "1").envs(&case.environment);
            plain
        });
        let ours = case.run(grid, &place, || {
            let mut ours = grid.rgrid(&["run", "--quiet"]);
            ours.args((!grid.has_network()).then_some("--no-network"));
            let variables = case.environment.iter();
            ours.args(variables.flat_map(|(name, value)| ["--env".to_owned(), format!("{name}={value}")]));
            ours.args(&args);
            ours
        });
        failures.push_str(&case.difference(&plain, &ours));
    }
    assert!(count > 0, "there are no cases");
    assert!(failures.is_empty(), "of {count} cases these differ:\n{failures}");
}

/// The committed cases whose name holds `RGRID_CASE`.
fn cases() -> impl Iterator<Item = Case> {
    cases_in("like_python")
}

/// The same of another folder of `tests`.
pub(crate) fn cases_in(folder: &str) -> impl Iterator<Item = Case> + use<> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests").join(folder);
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(all).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let only = std::env::var("RGRID_CASE").unwrap_or_default();
    folders
        .into_iter()
        .filter(|folder| folder.is_dir())
        .map(Case::read)
        .filter(move |case| case.name.contains(&only))
}

#[test]
fn every_script_behaves_as_under_python() {
    check(&Grid::new(), cases());
}

/// One case in three: who runs them differs in the sandbox, not in what is sent and said. A case that is asked for by
/// name is run in any event.
#[test]
fn scripts_behave_as_under_python_for_an_ordinary_user_too() {
    let every = if std::env::var_os("RGRID_CASE").is_some() { 1 } else { 3 };
    if Account::all().contains(&Account::OrdinaryUser) {
        check(&Grid::of(Account::OrdinaryUser), cases().step_by(every));
    }
}
