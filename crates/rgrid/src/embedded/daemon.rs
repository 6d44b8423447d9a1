//! `rgrid up`: the one process of the embedded grid. This file is its main thread: it takes the lock, starts
//! PostgreSQL, watches over it, and ends it last. The parts of the grid run beside it, in `parts.rs`.

use std::fs;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::address::Notice;
use super::home::{Home, private_folder};
use super::parts::{self, Ahead, Ended};
use super::postgres::Postgres;
use super::process::{self, Process};
use super::{tools, weight};
use crate::config::{EmbeddedConfig, Settings};
use crate::logging;

/// How often the main thread looks after PostgreSQL.
const LOOK: Duration = Duration::from_millis(250);
/// PostgreSQL is started again after it ended by itself, but not more often than this
const RESTARTS_MAX: usize = 5;
/// within this time: something is wrong that starting does not repair.
const RESTARTS_PERIOD: Duration = Duration::from_secs(60);
/// Tasks that do not end by themselves are left behind after this.
const TASKS_PATIENCE: Duration = Duration::from_secs(2);

/// How the daemon is attached to whoever started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attachment {
    /// In a terminal, for a person: it says where it listens, and does not stop by itself.
    Foreground,
    /// Started by a command, which it outlives.
    Background,
}

/// Serves until it is told to end, or has been idle long enough. Must be the process's main thread.
pub(crate) fn run(settings: &Settings, attachment: Attachment) -> ExitCode {
    if attachment == Attachment::Background
        && let Err(error) = process::detach()
    {
        tracing::warn!(error = &*error, "the terminal cannot be left");
    }
    logging::start(settings);
    let home = match Home::locate() {
        Ok(home) => home,
        Err(error) => return failed(None, &error),
    };
    match serve(&home, settings, attachment) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(Some(&home), &error),
    }
}

/// The reason is for the log, and for the command that waits for us.
fn failed(home: Option<&Home>, error: &anyhow::Error) -> ExitCode {
    tracing::error!("{error:#}");
    if let Some(home) = home
        && let Err(error) = super::home::write_private(&home.failure(), format!("{error:#}\n").as_bytes())
    {
        tracing::warn!(%error, "the reason cannot be left for the command that waits");
    }
    ExitCode::FAILURE
}

fn serve(home: &Home, settings: &Settings, attachment: Attachment) -> anyhow::Result<()> {
    let config = EmbeddedConfig::of(settings)?;
    home.prepare()?;
    let mut lock = match home.try_lock().context("the lock of the embedded grid cannot be opened")? {
        Some(lock) => lock,
        None if attachment == Attachment::Background => {
            tracing::info!("another daemon was faster");
            return Ok(());
        }
        None => anyhow::bail!("the grid on this machine runs already; `rgrid down` stops it"),
    };
    let ourselves = Process::ourselves().context("/proc is not mounted, and RGrid needs it")?;
    lock.sign(ourselves).context("the lock of the embedded grid cannot be written")?;
    Notice::remove(&home.notice());
    let _ = fs::remove_file(home.failure());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let binaries = runtime.block_on(tools::check(home, &config))?;
    for folder in [home.objects(), home.workers()] {
        private_folder(&folder).with_context(|| format!("{folder:?} cannot be made"))?;
    }
    weight::limit_log(&home.postgres_log());
    weight::limit_log(&home.daemon_log());

    let ahead = runtime.block_on(Ahead::make(home, &config, ourselves, attachment))?;
    let mut postgres = Postgres::start(home, binaries)?;
    let stop = CancellationToken::new();
    let (sender, ended) = mpsc::channel();
    let grid = parts::Grid {
        home: home.clone(),
        config,
        attachment,
        ourselves,
        database_url: postgres.url(),
        stop: stop.clone(),
    };
    let handle = runtime.handle().clone();
    let parts = std::thread::Builder::new().name("parts".to_owned()).spawn(move || {
        // The receiver is gone only when nobody waits any more.
        let _ = sender.send(handle.block_on(grid.serve(ahead)));
    })?;
    let result = watch(&mut postgres, &ended, &stop);
    // Its panic is in the log, and in the result.
    let _ = parts.join();
    Notice::remove(&home.notice());
    runtime.shutdown_timeout(TASKS_PATIENCE);
    postgres.stop();
    drop(lock);
    match result? {
        Ended::Told => tracing::info!("stopped"),
        Ended::Idle => tracing::info!("stopped: there was nothing to do"),
        Ended::Replaced => tracing::info!("stopped: a newer version takes over"),
    }
    Ok(())
}

/// Waits for the parts to end, and keeps PostgreSQL alive meanwhile.
fn watch(
    postgres: &mut Postgres,
    ended: &mpsc::Receiver<anyhow::Result<Ended>>,
    stop: &CancellationToken,
) -> anyhow::Result<Ended> {
    let mut restarts: Vec<Instant> = Vec::new();
    let mut broken = None;
    loop {
        match ended.recv_timeout(LOOK) {
            Ok(result) => return broken.map_or(result, Err),
            Err(RecvTimeoutError::Disconnected) => {
                anyhow::bail!("a part of the grid panicked; the log says where")
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let Some(status) = postgres.ended().filter(|_| broken.is_none()) else { continue };
        tracing::error!(%status, "PostgreSQL ended; starting it again");
        restarts.retain(|at| at.elapsed() < RESTARTS_PERIOD);
        restarts.push(Instant::now());
        let restarted = match restarts.len() > RESTARTS_MAX {
            true => Err(anyhow::anyhow!("PostgreSQL ended {RESTARTS_MAX} times within a minute")),
            false => postgres.restart().map_err(Into::into),
        };
        if let Err(error) = restarted {
            // Without it nothing can go on; the parts still get the time to end in order.
            broken = Some(error);
            stop.cancel();
        }
    }
}
