//! `rgrid down`: ends the daemon and everything that it started, and says what that was. What is queued stays, and
//! goes on with the next start. With `--purge` nothing stays.

use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::Signal;

use super::address::Notice;
use super::home::{Home, HomeLock};
use super::postgres;
use super::process::Process;

/// A daemon hands back its work, stops its workers and PostgreSQL within this, else it is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(60);
/// How often we look whether it has ended.
const LOOK: Duration = Duration::from_millis(10);

/// What was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// Nothing ran.
    Nothing,
    /// The daemon, by itself.
    Daemon,
    /// It did not end, and was killed.
    Killed,
    /// Only a PostgreSQL that had outlived its daemon.
    LeftOver,
}

/// Stops the grid of a home, and answers with its lock: nobody can start it before that is dropped.
pub(crate) fn stop(home: &Home) -> anyhow::Result<(Stopped, HomeLock)> {
    let daemon = daemon(home);
    if let Some(daemon) = daemon {
        daemon.signal(Signal::SIGTERM);
    }
    let deadline = Instant::now() + STOP_DEADLINE;
    let mut killed = false;
    let lock = loop {
        if let Some(lock) = home.try_lock().context("the lock of the embedded grid cannot be opened")? {
            break lock;
        }
        if Instant::now() >= deadline {
            let Some(daemon) = daemon.filter(|_| !killed) else {
                anyhow::bail!(
                    "something holds the embedded grid's lock in {:?} and does not end",
                    home.root()
                );
            };
            daemon.signal(Signal::SIGKILL);
            killed = true;
        }
        std::thread::sleep(LOOK);
    };
    Notice::remove(&home.notice());
    let left_over = postgres::stop_left_over(home);
    let stopped = match (daemon, killed, left_over) {
        (Some(_), true, _) => Stopped::Killed,
        (Some(_), false, _) => Stopped::Daemon,
        (None, _, true) => Stopped::LeftOver,
        (None, _, false) => Stopped::Nothing,
    };
    Ok((stopped, lock))
}

/// The living daemon: by its notice, or, while it starts or stops, by what it wrote beside the lock.
fn daemon(home: &Home) -> Option<Process> {
    if !home.is_locked() {
        return None;
    }
    home.holder().filter(|process| process.is_alive())
}

/// Deletes everything. The caller holds the lock, which is in the folder and goes last.
pub(crate) fn purge(home: &Home, _lock: &HomeLock) -> anyhow::Result<()> {
    let socket_folder = postgres::outside_socket_folder(home);
    for folder in [Some(home.root().to_owned()), socket_folder].into_iter().flatten() {
        match fs::remove_dir_all(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("{folder:?} cannot be deleted")),
        }
    }
    Ok(())
}

/// Asks on the terminal; without one there is nobody to say yes.
pub(crate) fn confirmed(question: &str) -> anyhow::Result<bool> {
    anyhow::ensure!(io::stdin().is_terminal(), "nobody can be asked here: repeat it with --yes");
    let mut terminal = io::stderr();
    write!(terminal, "{question} [y/N] ")?;
    terminal.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
