//! A grid of this machine for one test: a home and a folder to work in, under an account of choice. Everything of it
//! is gone when the test ends, however that ends.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Conditions that must come true do so within this.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// How often they are looked at.
const LOOK: Duration = Duration::from_millis(10);
/// The ordinary user of tests that run as root: any with an entry in the list of accounts.
const USER: &str = "nobody";

/// Who types the commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    /// Whoever runs the tests.
    Ourselves,
    /// Somebody without rights; only root can become one.
    OrdinaryUser,
}

impl Account {
    /// Every kind of account that this run of the tests can be.
    pub(crate) fn all() -> Vec<Self> {
        match nix::unistd::Uid::effective().is_root() {
            true => vec![Self::Ourselves, Self::OrdinaryUser],
            false => vec![Self::Ourselves],
        }
    }

    /// Signals are as in a terminal, however the tests themselves were started: `nohup` and shells that start something
    /// in the background have it ignore some.
    fn command(self, program: &Path) -> Command {
        let mut command = Command::new("/usr/bin/env");
        command.arg("--default-signal=HUP,INT,TERM");
        match self {
            Self::Ourselves => {}
            Self::OrdinaryUser => {
                command.args(["setpriv", &format!("--reuid={USER}"), "--regid=nogroup", "--clear-groups"]);
            }
        }
        command.arg(program);
        command
    }
}

/// A grid of this machine.
pub(crate) struct Grid {
    folder: TempDir,
    account: Account,
    binary: Arc<Binary>,
    /// Folders and files of this machine that nothing of this grid finds.
    hidden: Vec<PathBuf>,
    /// Variables that every command is given.
    variables: Vec<(&'static str, OsString)>,
}

impl Grid {
    pub(crate) fn new() -> Self {
        Self::of(Account::Ourselves)
    }

    /// The grid that tests share which mind no neighbours: a cold start costs seconds. It is gone with the last of them.
    pub(crate) fn shared(account: Account) -> Arc<Self> {
        static OURS: Mutex<Weak<Grid>> = Mutex::new(Weak::new());
        static THEIRS: Mutex<Weak<Grid>> = Mutex::new(Weak::new());
        let known = match account {
            Account::Ourselves => &OURS,
            Account::OrdinaryUser => &THEIRS,
        };
        let mut shared = known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(grid) = shared.upgrade() {
            return grid;
        }
        let grid = Arc::new(Self::of(account));
        grid.success(&["up"]);
        *shared = Arc::downgrade(&grid);
        grid
    }

    pub(crate) fn of(account: Account) -> Self {
        let folder = tempfile::Builder::new().prefix("rgrid-it-").tempdir().unwrap();
        // PostgreSQL, which is somebody else when we are root, must be let through.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let grid =
            Self { folder, account, binary: Binary::shared(), hidden: Vec::new(), variables: Vec::new() };
        for part in [grid.work(), grid.user_home()] {
            fs::create_dir(&part).unwrap();
        }
        if account == Account::OrdinaryUser {
            let user = nix::unistd::User::from_name(USER).unwrap().unwrap();
            for owned in [grid.folder.path(), &grid.work(), &grid.user_home()] {
                lchown(owned, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
            }
        }
        grid
    }

    /// Of a person who has set these variables.
    pub(crate) fn with(account: Account, variables: &[(&'static str, &OsStr)]) -> Self {
        let mut grid = Self::of(account);
        grid.variables = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        grid
    }

    /// On a machine that lacks what the embedded grid needs beside Python. Only root can make one.
    pub(crate) fn without_tools(account: Account) -> Self {
        let mut grid = Self::of(account);
        let lie =
            ["/usr/lib/postgresql", "/usr/local/lib/postgresql", "/usr/bin/bwrap", "/usr/local/bin/bwrap"];
        grid.hidden = lie.map(PathBuf::from).into_iter().filter(|path| path.exists()).collect();
        grid
    }

    /// Where scripts lie and run.
    pub(crate) fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Where the grid lives.
    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("grid")
    }

    fn user_home(&self) -> PathBuf {
        self.folder.path().join("user")
    }

    /// The interpreter by its real path: a shim on the PATH would be timed, and say other things, by itself. It is the
    /// first that this account can run.
    pub(crate) fn python(&self) -> PathBuf {
        static OURS: OnceLock<PathBuf> = OnceLock::new();
        static THEIRS: OnceLock<PathBuf> = OnceLock::new();
        let known = match self.account {
            Account::Ourselves => &OURS,
            Account::OrdinaryUser => &THEIRS,
        };
        known
            .get_or_init(|| {
                let path = std::env::var_os("PATH").unwrap_or_default();
                let found = std::env::split_paths(&path)
                    .map(|folder| folder.join("python3"))
                    .find(|python| self.may("-x", python))
                    .expect("there is a python3 on the PATH");
                let asks = ["-c", "import sys; print(sys.executable)"];
                let shown = self.account.command(&found).args(asks).output().unwrap();
                PathBuf::from(text(&shown.stdout).trim())
            })
            .clone()
    }

    /// True when jobs of this account can have a network: an ordinary user needs the machine's tun device for it.
    pub(crate) fn has_network(&self) -> bool {
        self.may("-w", Path::new("/dev/net/tun"))
    }

    /// What `test` says to this account about a file.
    fn may(&self, how: &str, file: &Path) -> bool {
        self.account.command(Path::new("/usr/bin/test")).arg(how).arg(file).status().unwrap().success()
    }

    /// `rgrid ARGS`, in the work folder, with nothing configured.
    pub(crate) fn rgrid(&self, args: &[&str]) -> Command {
        self.program(&self.binary.path, args)
    }

    /// A line of a shell, which finds `rgrid` and `python3`.
    pub(crate) fn shell(&self, line: &str) -> Command {
        self.program(Path::new("/bin/bash"), &["-c", line])
    }

    /// The command in a mount namespace in which the hidden folders are empty and the hidden files no programs.
    fn blindfolded(&self, command: Command) -> Command {
        if self.hidden.is_empty() {
            return command;
        }
        let cover = |path: &PathBuf| match path.is_dir() {
            true => format!("mount -t tmpfs none {}", path.display()),
            false => format!("mount --bind /dev/null {}", path.display()),
        };
        let covers: Vec<String> = self.hidden.iter().map(cover).collect();
        let mut outer = Command::new("unshare");
        outer.args(["--mount", "sh", "-c", &format!("{} && exec \"$@\"", covers.join(" && ")), "sh"]);
        outer.arg(command.get_program()).args(command.get_args());
        outer
    }

    /// Any program, as the person of this grid starts it.
    pub(crate) fn program(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = self.blindfolded(self.account.command(program));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let python = self.python();
        let own = [python.parent(), self.binary.path.parent()].into_iter().flatten().map(Path::to_owned);
        let folders = own.chain(std::env::split_paths(&path));
        command
            .args(args)
            .current_dir(self.work())
            .env_clear()
            .env("PATH", std::env::join_paths(folders).unwrap())
            .env("HOME", self.user_home())
            .env("RGRID_HOME", self.home())
            .env("LANG", "C.UTF-8")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub(crate) fn output(&self, args: &[&str]) -> Output {
        self.rgrid(args).output().unwrap()
    }

    /// Runs it, and answers what it printed; it must succeed.
    pub(crate) fn success(&self, args: &[&str]) -> String {
        let output = self.output(args);
        assert!(output.status.success(), "rgrid {args:?}: {}\n{}", text(&output.stderr), self.log());
        text(&output.stdout)
    }

    /// A script in the work folder.
    pub(crate) fn script(&self, name: &str, content: &str) {
        let path = self.work().join(name);
        fs::write(&path, content).unwrap();
        self.give(&path);
    }

    /// Gives a file to whoever types the commands.
    pub(crate) fn give(&self, path: &Path) {
        let owner = fs::metadata(self.work()).unwrap();
        lchown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }

    /// What the daemon logged, for failures.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.home().join("daemon.log")).unwrap_or_default()
    }

    /// What `grid.json` says.
    pub(crate) fn notice(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.home().join("grid.json")).unwrap()).unwrap()
    }

    /// Every living process that belongs to the grid: its home stands in its arguments or its environment.
    pub(crate) fn processes(&self) -> Vec<(i32, String)> {
        let home = self.home();
        let mark = home.as_os_str().as_encoded_bytes();
        let mentions = |bytes: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
        let pids =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter_map(|pid: i32| {
            let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let line = read("cmdline");
            // A zombie has no arguments; nor does it do anything.
            let ours = !line.is_empty() && (mentions(&line) || mentions(&read("environ")));
            ours.then(|| (pid, text(&line).replace('\0', " ")))
        })
        .collect()
    }

    /// Ends everything of the grid as a power cut would.
    pub(crate) fn kill_all(&self) {
        until("every process is gone", || {
            for (pid, _) in self.processes() {
                // It may be gone in this moment.
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
            self.processes().is_empty()
        });
    }
}

impl Drop for Grid {
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// Waits for a condition; the deadline is only for those that never come true.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {} s", DEADLINE.as_secs());
        std::thread::sleep(LOOK);
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The binary where everybody can run it: a target folder may lie in a closed home. It is gone with the last grid.
struct Binary {
    path: PathBuf,
    /// Holds the path, where it is one of our own making.
    _folder: Option<TempDir>,
}

impl Binary {
    fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Binary>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let binary = Arc::new(Self::placed());
            *shared = Arc::downgrade(&binary);
            binary
        })
    }

    fn placed() -> Self {
        let built = Path::new(env!("CARGO_BIN_EXE_rgrid"));
        if !nix::unistd::Uid::effective().is_root() {
            return Self { path: built.to_owned(), _folder: None };
        }
        let folder = tempfile::Builder::new().prefix("rgrid-it-bin-").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = folder.path().join("rgrid");
        // A second name for it costs nothing; it must lie on the same file system.
        fs::hard_link(built, &path).or_else(|_| fs::copy(built, &path).map(drop)).unwrap();
        Self { path, _folder: Some(folder) }
    }
}
