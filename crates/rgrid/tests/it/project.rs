//! A person's folder on a grid, and a command that runs in it while the test looks on.

use std::fs;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::grid::{Account, Grid, text, until};

/// A folder with scripts. Its name is in no other process, nor the start of another's: what mentions it belongs to this
/// test.
pub(crate) struct Project {
    pub(crate) grid: Arc<Grid>,
    pub(crate) folder: PathBuf,
    pub(crate) name: String,
}

impl Project {
    pub(crate) fn on(grid: Arc<Grid>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("project-{}-{}-", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = grid.work().join(&name);
        fs::create_dir(&folder).unwrap();
        grid.give(&folder);
        Self { grid, folder, name }
    }

    /// On the grid that tests share, with its files.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        Self::of(Account::Ourselves, files)
    }

    /// The same, of an account.
    pub(crate) fn of(account: Account, files: &[(&str, &str)]) -> Self {
        let project = Self::on(Grid::shared(account));
        for (name, content) in files {
            project.write(name, content);
        }
        project
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        for made in path.ancestors().take_while(|above| *above != self.folder) {
            self.grid.give(made);
        }
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn rgrid(&self, args: &[&str]) -> Command {
        let mut command = self.grid.rgrid(args);
        command.current_dir(&self.folder);
        command
    }

    pub(crate) fn shell(&self, line: &str) -> Command {
        let mut command = self.grid.shell(line);
        command.current_dir(&self.folder);
        command
    }

    /// `rgrid run ARGS` to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        Ended::of(self.rgrid(&self.words(args)).output().unwrap())
    }

    /// `rgrid run ARGS`, going on.
    pub(crate) fn start(&self, args: &[&str]) -> Process {
        Process::start(&mut self.rgrid(&self.words(args)))
    }

    /// Where jobs can have no network, they must not ask for one.
    fn words<'a>(&self, args: &[&'a str]) -> Vec<&'a str> {
        let without = (!self.grid.has_network()).then_some("--no-network");
        ["run"].into_iter().chain(without).chain(args.iter().copied()).collect()
    }

    /// Processes that mention this project, the sandboxes' own included.
    pub(crate) fn processes(&self) -> Vec<String> {
        let lines = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let line = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
            Some(text(&line).replace('\0', " "))
        });
        lines.filter(|line| line.contains(&self.name)).collect()
    }

    /// Waits until nothing of this project runs any more.
    pub(crate) fn nothing_is_left(&self) {
        until("nothing is left running", || self.processes().is_empty());
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn of(output: Output) -> Self {
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// It succeeded, and printed this.
    #[track_caller]
    pub(crate) fn printed(&self, stdout: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(0), stdout), "{}", self.stderr);
    }

    /// The command that the person is told to run instead.
    #[track_caller]
    pub(crate) fn next(&self) -> &str {
        let line = self.stderr.lines().find_map(|line| line.strip_prefix("  next: "));
        line.unwrap_or_else(|| panic!("no command is handed over: {}", self.stderr))
    }
}

/// A command that runs; it is killed when the test is done with it.
pub(crate) struct Process {
    child: Child,
    stdout: Stream,
    stderr: Stream,
}

/// What came so far, and the thread that gathers it.
struct Stream {
    bytes: Arc<Mutex<Vec<u8>>>,
    gathers: Option<std::thread::JoinHandle<()>>,
}

impl Stream {
    fn gather(mut from: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&bytes);
        let gathers = std::thread::spawn(move || {
            let mut buffer = [0; 64 << 10];
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                into.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        });
        Self { bytes, gathers: Some(gathers) }
    }

    fn so_far(&self) -> String {
        text(&self.bytes.lock().unwrap())
    }

    fn whole(&mut self) -> String {
        if let Some(gathers) = self.gathers.take() {
            gathers.join().unwrap();
        }
        self.so_far()
    }
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = Stream::gather(child.stdout.take().unwrap());
        let stderr = Stream::gather(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Writes to its standard input.
    pub(crate) fn type_in(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        let typed = stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush());
        assert!(typed.is_ok(), "{typed:?}: it has ended, and said {:?}", self.stderr());
    }

    /// Ends its standard input.
    pub(crate) fn close_stdin(&mut self) {
        self.child.stdin.take();
    }

    pub(crate) fn stdout(&self) -> String {
        self.stdout.so_far()
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.so_far()
    }

    /// Waits until its standard output holds this.
    pub(crate) fn prints(&mut self, wanted: &str) {
        until(&format!("{wanted:?} is printed"), || {
            let ended = self.child.try_wait().unwrap().is_some();
            let seen = self.stdout().contains(wanted);
            assert!(seen || !ended || self.stdout.whole().contains(wanted), "it ended: {}", self.stderr());
            seen
        });
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits for its end, its standard input still open.
    pub(crate) fn end(&mut self) -> Ended {
        let mut status = None;
        until("the command ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        Ended {
            code: status.and_then(|status| status.code()),
            stdout: self.stdout.whole(),
            stderr: self.stderr.whole(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The file in `folder` whose name starts so; there must be one.
pub(crate) fn the_file(folder: &Path, start: &str) -> PathBuf {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<_> =
        names.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(start)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap()
}
