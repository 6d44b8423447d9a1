//! From nothing to an address: finds the daemon, or starts it in the background and waits until it is ready. Any
//! number of commands may do this at once; one daemon comes of it, because only one can hold the home's lock.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::Signal;
use rgrid_cli::{Audience, GridAddress};

use super::address::{Notice, is_older};
use super::home::Home;
use super::tools;
use crate::config::{EmbeddedConfig, Settings};

/// A cold start may take this long, on a slow disk.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// How often we look whether it is ready.
const LOOK: Duration = Duration::from_millis(5);
/// Nothing is said of a start that is over before a person wonders.
const SILENCE: Duration = Duration::from_millis(400);
/// Bytes of the log that are shown when a start fails without a reason.
const LOG_TAIL_BYTES: u64 = 2000;

/// Variables that the daemon keeps; it outlives the shell whose they were. Everything else, credentials of other
/// services above all, is no business of a process that serves for days.
const KEPT_VARIABLES: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "XDG_DATA_HOME",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "LOG_LEVEL",
    "LOG_FORMAT",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];
/// And those that begin so.
const KEPT_PREFIXES: &[&str] = &["RGRID_", "PIP_", "UV_"];
/// But not what names another grid.
const DROPPED_VARIABLES: &[&str] = &["RGRID_URL", "RGRID_API_KEY"];

/// The environment of the daemon and of its runners.
pub(crate) fn kept_environment() -> Vec<(OsString, OsString)> {
    let is_kept = |name: &OsStr| {
        let Some(name) = name.to_str() else { return false };
        (KEPT_VARIABLES.contains(&name) || KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
            && !DROPPED_VARIABLES.contains(&name)
    };
    std::env::vars_os().filter(|(name, _)| is_kept(name)).collect()
}

/// The address of the running grid, if there is one.
pub(crate) async fn find(home: &Home) -> Option<GridAddress> {
    let notice = Notice::read(home)?;
    notice.answers().await.then(|| notice.address())
}

/// The address of the grid, started if need be.
pub(crate) async fn ensure(home: &Home, audience: &dyn Audience) -> anyhow::Result<GridAddress> {
    let begun = Instant::now();
    let mut progress = Progress { begun, said: false, audience };
    let mut fetched = false;
    let mut daemon: Option<Daemon> = None;
    loop {
        if let Some(notice) = Notice::read(home)
            && notice.answers().await
        {
            if !is_older(&notice.version) {
                return Ok(notice.address());
            }
            make_way(home, &notice, audience).await;
            continue;
        }
        if let Some(started) = &mut daemon
            && let Some(status) = started.child.try_wait()?
        {
            // It lost against another command's when it ended well.
            anyhow::ensure!(status.success(), started.failure(home));
            daemon = None;
        }
        if daemon.is_none() && !home.is_locked() {
            if !std::mem::replace(&mut fetched, true) {
                home.prepare()?;
                let config = EmbeddedConfig::of(&Settings::load(None, Vec::new())?)?;
                tools::fetch_missing(home, &config, audience).await?;
            }
            daemon = Some(Daemon::start(home)?);
        }
        progress.tell(home);
        if begun.elapsed() > START_DEADLINE {
            anyhow::bail!(
                "the grid on this machine was not ready after {} s; its log is {}",
                START_DEADLINE.as_secs(),
                home.daemon_log().display()
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// An older daemon finishes what runs and takes no more; what is queued waits for the new one.
async fn make_way(home: &Home, notice: &Notice, audience: &dyn Audience) {
    notice.process.signal(Signal::SIGUSR1);
    let begun = Instant::now();
    let mut said = false;
    while notice.process.is_alive() && home.is_locked() {
        if !said && begun.elapsed() > SILENCE {
            audience.say(&format!(
                "waiting for the grid of version {} on this machine to finish what runs, then it is updated \
                 (`rgrid down` ends it at once; what ran is queued again)",
                notice.version
            ));
            said = true;
        }
        tokio::time::sleep(LOOK).await;
    }
}

struct Progress<'a> {
    begun: Instant,
    said: bool,
    audience: &'a dyn Audience,
}

impl Progress<'_> {
    fn tell(&mut self, home: &Home) {
        if !self.said && self.begun.elapsed() > SILENCE {
            self.said = true;
            self.audience.say(match super::postgres::data_major(home) {
                Some(_) => "starting the grid on this machine",
                None => "setting up a grid on this machine (once)",
            });
        }
    }
}

/// A daemon that this command started.
struct Daemon {
    child: Child,
    log_start: u64,
}

impl Daemon {
    fn start(home: &Home) -> anyhow::Result<Self> {
        home.prepare()?;
        // A reason that an earlier start left would be told as this one's.
        let _ = fs::remove_file(home.failure());
        let path = home.daemon_log();
        let log = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("the log {path:?} cannot be opened"))?;
        let log_start = log.metadata()?.len();
        let executable = std::env::current_exe().context("this program cannot find itself")?;
        let child = Command::new(executable)
            .args(["up", "--background"])
            .env_clear()
            .envs(kept_environment())
            .env(super::home::HOME_VARIABLE, home.root())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("the grid's daemon cannot be started")?;
        Ok(Self { child, log_start })
    }

    /// Why it ended: its own words, else what it logged.
    fn failure(&self, home: &Home) -> String {
        if let Ok(reason) = fs::read_to_string(home.failure()) {
            return reason.trim().to_owned();
        }
        let log = home.daemon_log();
        let grown = fs::metadata(&log).map_or(0, |about| about.len().saturating_sub(self.log_start));
        let tail = tools::tail(&log, grown.min(LOG_TAIL_BYTES));
        format!("the grid on this machine does not start; the end of {}:\n{}", log.display(), tail.trim_end())
    }
}
