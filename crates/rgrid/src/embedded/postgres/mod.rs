//! A private PostgreSQL: made once, started with the daemon, stopped with it. Durable (fsync stays on), reachable
//! only through a Unix socket in a folder that only its owner can enter, never as root.
//!
//! All of it is synchronous and belongs on the daemon's main thread: the server is tied to the thread that starts it.

mod account;
mod binaries;
mod left_over;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use sha2::{Digest as _, Sha256};

pub(crate) use self::account::Account;
pub(crate) use self::binaries::{Binaries, BinariesError};
use super::home::{Home, private_folder};
use super::process::tied;
use super::tools;

/// A cold start makes the data folder within this.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// A fast stop ends within this, else it is made to.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// How often we look whether the server is ready, or gone.
const LOOK: Duration = Duration::from_millis(4);
/// A killed server's children may hold its shared memory for a moment: starting is tried this often.
const START_TRIES: u32 = 5;
/// And this is the time between.
const START_PAUSE: Duration = Duration::from_millis(300);
/// A socket's path may be 107 bytes on Linux and 103 on macOS, its NUL not counted.
const SOCKET_PATH_BYTES_MAX: usize = 100;
/// The file in the socket's folder, by PostgreSQL's rules for the port below.
const SOCKET_NAME: &str = ".s.PGSQL.5432";
/// Connections of the daemon's parts together; more would only wait for the disk.
pub(crate) const CONNECTIONS_MAX: u32 = 40;
/// The database's superuser, who is also the only one.
const SUPERUSER: &str = "rgrid";

/// What the server is told at each start. Nobody else uses it: a small memory, no replication, and a log that
/// speaks only of trouble.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", ""),
    ("port", "5432"),
    ("unix_socket_permissions", "0700"),
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("shared_buffers", "64MB"),
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("min_wal_size", "64MB"),
    ("max_wal_size", "512MB"),
    ("wal_compression", "on"),
    ("huge_pages", "off"),
    ("jit", "off"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("log_min_messages", "warning"),
    ("log_checkpoints", "off"),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("max_parallel_workers_per_gather", "0"),
];

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PostgresError {
    #[error(transparent)]
    Binaries(#[from] BinariesError),
    #[error("PostgreSQL refuses to run as root, and no other account can be made or found on this machine")]
    NoAccount,
    #[error(
        "PostgreSQL runs as `{account}`, who cannot enter {folder:?}; set RGRID_HOME to a folder that others can pass through"
    )]
    Closed { account: String, folder: PathBuf },
    #[error("the folder {folder:?} for PostgreSQL's socket belongs to somebody else")]
    SocketFolderTaken { folder: PathBuf },
    #[error("initdb failed: {0}")]
    Initdb(String),
    #[error("PostgreSQL does not start; its last words: {0}")]
    Start(String),
    #[error("{what}")]
    Io { what: String, source: io::Error },
}

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> PostgresError {
    let what = what.into();
    |source| PostgresError::Io { what, source }
}

/// How to run the server of one home.
#[derive(Debug)]
pub(crate) struct Postgres {
    binaries: Binaries,
    /// Whom to become; absent when we need not change.
    account: Option<Account>,
    data: PathBuf,
    sockets: PathBuf,
    log: PathBuf,
    server: Option<Child>,
}

impl Postgres {
    /// Makes the data folder if there is none, and starts the server. The caller holds the home's lock.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn start(home: &Home, binaries: Binaries) -> Result<Self, PostgresError> {
        let folder = home.postgres();
        let data = folder.join("data");
        let account = match Uid::effective().is_root() {
            true => Some(Account::for_root(&data).ok_or(PostgresError::NoAccount)?),
            false => None,
        };
        private_folder(&folder).map_err(io_error(format!("the folder {folder:?} cannot be made")))?;
        if let Some(account) = &account {
            give(&folder, account)?;
            check_passable(&folder, account)?;
        }
        let sockets = socket_folder(home, account.as_ref())?;
        let mut postgres = Self { binaries, account, data, sockets, log: home.postgres_log(), server: None };
        left_over::clear(&postgres.data);
        left_over::unlock(&postgres.sockets, SOCKET_NAME);
        if major_of_data(&postgres.data).is_none() {
            postgres.make_data()?;
        }
        postgres.start_server()?;
        Ok(postgres)
    }

    /// Where to connect.
    pub(crate) fn url(&self) -> String {
        let host: String = self.sockets.to_string_lossy().bytes().map(escaped).collect();
        format!("postgres://{SUPERUSER}@localhost/postgres?host={host}")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.program(program));
        if let Some(account) = &self.account {
            command.uid(account.uid.as_raw()).gid(account.gid.as_raw());
        }
        quiet(&mut command);
        command
    }

    /// Made aside and renamed: a data folder is whole, or not there.
    fn make_data(&self) -> Result<(), PostgresError> {
        let aside = self.data.with_extension("new");
        let _ = fs::remove_dir_all(&aside);
        tracing::info!(folder = ?self.data, postgres = self.binaries.major, "making the database");
        let run = |command: &mut Command| -> Result<(), PostgresError> {
            let output = command.stdin(Stdio::null()).output().map_err(io_error("initdb cannot be run"))?;
            if output.status.success() {
                return Ok(());
            }
            let words = String::from_utf8_lossy(&output.stderr);
            Err(PostgresError::Initdb(
                words.trim().lines().next_back().unwrap_or("no reason given").to_owned(),
            ))
        };
        run(self.command("initdb").arg("--pgdata").arg(&aside).args([
            "--no-sync",
            "--no-instructions",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--wal-segsize=4",
            "--username",
            SUPERUSER,
        ]))?;
        // Once at the end, instead of file by file.
        run(self.command("initdb").arg("--sync-only").arg("--pgdata").arg(&aside))?;
        fs::rename(&aside, &self.data).map_err(io_error("the new database cannot be put in its place"))?;
        let parent = self.data.parent().map(File::open).transpose();
        parent
            .and_then(|folder| folder.map_or(Ok(()), |f| f.sync_all()))
            .map_err(io_error("the disk refuses to sync"))
    }

    fn start_server(&mut self) -> Result<(), PostgresError> {
        let deadline = Instant::now() + START_DEADLINE;
        for last in (0..START_TRIES).map(|n| n + 1 == START_TRIES) {
            let child = self.spawn()?;
            match self.wait_ready(child, deadline) {
                Some(child) => {
                    self.server = Some(child);
                    return Ok(());
                }
                None if last => break,
                None => std::thread::sleep(START_PAUSE),
            }
        }
        Err(PostgresError::Start(last_words(&self.log)))
    }

    fn spawn(&self) -> Result<Child, PostgresError> {
        let log = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.log)
            .map_err(io_error(format!("the log {:?} cannot be opened", self.log)))?;
        let account = self.account.as_ref().map(|a| (a.uid, a.gid));
        // Without us there is no use for it, and the next start wants it gone: SIGINT is its fast stop.
        let mut command = tied(self.binaries.program("postgres").as_os_str(), account, Signal::SIGINT);
        quiet(&mut command);
        command.arg("-D").arg(&self.data);
        for (name, value) in SETTINGS {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.arg("-c").arg(format!("max_connections={CONNECTIONS_MAX}"));
        command.arg("-c").arg(format!("unix_socket_directories={}", self.sockets.display()));
        // A group of its own: a terminal's Ctrl-C is for us, who then stop it in order.
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.spawn().map_err(io_error("PostgreSQL cannot be run"))
    }

    /// As `pg_ctl -w` does: the server writes its state into the eighth line of its pid file.
    fn wait_ready(&self, mut child: Child, deadline: Instant) -> Option<Child> {
        let pid = child.id().to_string();
        loop {
            let written = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
            let mut lines = written.lines();
            if lines.next().map(str::trim) == Some(&pid) && lines.nth(6).map(str::trim) == Some("ready") {
                return Some(child);
            }
            let ended = !matches!(child.try_wait(), Ok(None));
            if ended || Instant::now() >= deadline {
                end(&mut child);
                return None;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// How the server ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.server.as_mut()?.try_wait().ok().flatten()
    }

    /// Starts it again after it ended by itself.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn restart(&mut self) -> Result<(), PostgresError> {
        self.server = None;
        left_over::clear(&self.data);
        left_over::unlock(&self.sockets, SOCKET_NAME);
        self.start_server()
    }

    /// Stops it: at once for its clients, and without loss.
    pub(crate) fn stop(mut self) {
        if let Some(mut child) = self.server.take() {
            end(&mut child);
        }
    }
}

/// Dropped on an error's way out: the server must not stay behind.
impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut child) = self.server.take() {
            end(&mut child);
        }
    }
}

/// Fast, then immediate, then by force.
fn end(child: &mut Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGKILL] {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        // It may end in this moment, which is what the signal is for.
        let _ = kill(pid, signal);
        let deadline = Instant::now() + STOP_DEADLINE;
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
    }
}

/// Stops a server that outlived its daemon; true when there was one. The caller holds the home's lock.
pub(crate) fn stop_left_over(home: &Home) -> bool {
    left_over::clear(&home.postgres().join("data"))
}

/// The major version that the data of a home needs, if there is data.
pub(crate) fn data_major(home: &Home) -> Option<u32> {
    major_of_data(&home.postgres().join("data"))
}

/// Nothing of our environment is the server's business, and its messages must be the ones we know.
fn quiet(command: &mut Command) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("LC_ALL", "C").env("TZ", "UTC").current_dir("/");
}

fn major_of_data(data: &Path) -> Option<u32> {
    fs::read_to_string(data.join("PG_VERSION")).ok()?.trim().parse().ok()
}

fn give(folder: &Path, account: &Account) -> Result<(), PostgresError> {
    chown(folder, Some(account.uid.as_raw()), Some(account.gid.as_raw()))
        .map_err(io_error(format!("{folder:?} cannot be given to `{}`", account.name)))
}

/// Every folder above must let the account through: initdb's own message does not say which one does not.
fn check_passable(folder: &Path, account: &Account) -> Result<(), PostgresError> {
    for above in folder.ancestors().skip(1) {
        let about = fs::metadata(above).map_err(io_error(format!("{above:?} cannot be looked at")))?;
        let search_bit = if about.uid() == account.uid.as_raw() {
            0o100
        } else if about.gid() == account.gid.as_raw() {
            0o010
        } else {
            0o001
        };
        if about.permissions().mode() & search_bit == 0 {
            return Err(PostgresError::Closed { account: account.name.clone(), folder: above.to_owned() });
        }
    }
    Ok(())
}

/// The socket's folder when a path in the home would be too long: one of our own below /tmp.
pub(crate) fn outside_socket_folder(home: &Home) -> Option<PathBuf> {
    let folder = home.postgres();
    let fits = folder.join("socket").join(SOCKET_NAME).as_os_str().len() < SOCKET_PATH_BYTES_MAX;
    if fits {
        return None;
    }
    let hash = Sha256::digest(folder.as_os_str().as_encoded_bytes());
    let name: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    Some(PathBuf::from(format!("/tmp/rgrid-{}-{name}", Uid::effective())))
}

fn socket_folder(home: &Home, account: Option<&Account>) -> Result<PathBuf, PostgresError> {
    let folder = outside_socket_folder(home).unwrap_or_else(|| home.postgres().join("socket"));
    let owner = account.map_or(Uid::effective(), |a| a.uid);
    match fs::create_dir(&folder) {
        Ok(()) => {
            if let Some(account) = account {
                give(&folder, account)?;
            }
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Anybody can make names below /tmp: only a real folder of the right owner will do.
            let about =
                fs::symlink_metadata(&folder).map_err(io_error("the socket's folder cannot be looked at"))?;
            if !about.is_dir() || about.uid() != owner.as_raw() {
                return Err(PostgresError::SocketFolderTaken { folder });
            }
        }
        Err(error) => return Err(io_error("the socket's folder cannot be made")(error)),
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))
        .map_err(io_error("the socket's folder cannot be closed to others"))?;
    Ok(folder)
}

fn escaped(byte: u8) -> String {
    match byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    }
}

/// The line of the log that says why, if one does; else its last lines.
fn last_words(log: &Path) -> String {
    const LINES: usize = 8;
    let text = tools::tail(log, 4096);
    let reason = |level| text.lines().rev().find_map(|line: &str| line.split_once(level));
    if let Some((_, reason)) = reason("PANIC:").or_else(|| reason("FATAL:")) {
        return reason.trim().to_owned();
    }
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    match lines.len() {
        0 => "none".to_owned(),
        count => lines[count.saturating_sub(LINES)..].join("\n"),
    }
}
