//! The `local` provider: a worker is a runner process of this machine, and we are its parent. It is told its join
//! token on standard input, ends with us, and is known to be gone the moment it ends.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::Utc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rgrid_core::fleet::Backing;
use rgrid_core::fleet::catalog::Catalog;
use rgrid_core::id::WorkerId;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Cloud, Deletion, Error, Listing, Server, Target, Wish};

/// A runner that was asked to end is killed after this: it hands back what it holds, which takes moments.
const END_PATIENCE: Duration = Duration::from_secs(15);
/// Ended runners whose last words are kept.
const ENDED_MAX: usize = 32;
/// Bytes of a runner's last line that are kept.
const LAST_WORDS_BYTES: usize = 500;
/// A runner that was started ahead and that nobody needed ends after this.
const AHEAD_MAX: Duration = Duration::from_secs(60);

/// How a runner is started.
#[derive(Debug, Clone)]
pub struct RunnerCommand {
    /// The program: this binary.
    pub program: PathBuf,
    /// Its arguments. It reads its join token as the first line of standard input, once all else is ready; when that
    /// ends without a line, nobody needs it.
    pub args: Vec<OsString>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
}

/// Runner processes of this machine.
#[derive(Debug, Clone)]
pub struct Local {
    runner: RunnerCommand,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    runners: Mutex<Runners>,
    /// A runner that waits to be told whose it is.
    ahead: Mutex<Option<Child>>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Runners {
    running: HashMap<WorkerId, Running>,
    ended: Vec<(WorkerId, String)>,
}

#[derive(Debug)]
struct Running {
    pid: Pid,
    asked_to_end: Option<Instant>,
}

impl Shared {
    fn ahead(&self) -> MutexGuard<'_, Option<Child>> {
        // Nothing that could panic is done while it is held.
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_ahead(&self) -> Option<Child> {
        self.ahead().take()
    }

    fn runners(&self) -> MutexGuard<'_, Runners> {
        // A panic while it was held leaves a map that is still right.
        self.runners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Local {
    /// A provider that starts runners by `runner`.
    pub fn new(runner: RunnerCommand) -> Self {
        Self { runner, shared: Arc::default() }
    }

    /// Starts a runner before anybody asks for a worker: its sandbox is made ready meanwhile, and the next worker is
    /// this one. It ends when a minute has passed without. Must be called within a runtime.
    ///
    /// # Errors
    /// When it cannot be started; a worker then starts one of its own.
    pub fn start_ahead(&self) -> Result<(), Error> {
        let child = self.spawn()?;
        *self.shared.ahead() = Some(child);
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            tokio::time::sleep(AHEAD_MAX).await;
            if let Some(unneeded) = shared.take_ahead() {
                end_unneeded(unneeded).await;
            }
        });
        Ok(())
    }

    fn spawn(&self) -> Result<Child, Error> {
        Command::new(&self.runner.program)
            .args(&self.runner.args)
            .env_clear()
            .envs(self.runner.environment.iter().cloned())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(Error::Spawn)
    }

    /// Passes a runner's log on, keeps its last words, and tells when it ends.
    async fn watch(shared: Arc<Shared>, worker: WorkerId, mut child: Child) {
        let last_words = pass_log_on(&mut child, &worker.to_string()).await;
        let status = child.wait().await;
        let ended = match &status {
            Ok(status) if status.success() => "it ended as it was told".to_owned(),
            Ok(status) if last_words.is_empty() => format!("its process ended: {status}"),
            Ok(_) => last_words,
            Err(error) => format!("its process cannot be waited for: {error}"),
        };
        tracing::info!(%worker, %ended, "runner ended");
        let mut runners = shared.runners();
        runners.running.remove(&worker);
        runners.ended.push((worker, ended));
        if runners.ended.len() > ENDED_MAX {
            runners.ended.remove(0);
        }
        drop(runners);
        shared.changed.notify_one();
    }
}

/// Passes a runner's log on until it ends, and returns its last line.
async fn pass_log_on(child: &mut Child, worker: &str) -> String {
    let mut last_words = String::new();
    if let Some(stderr) = child.stderr.take() {
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            tracing::info!(target: "rgrid_runner_process", worker, "{line}");
            last_words = line.chars().take(LAST_WORDS_BYTES).collect();
        }
    }
    last_words
}

/// A runner without a worker gives back what it made ready, and leaves.
async fn end_unneeded(mut child: Child) {
    drop(child.stdin.take());
    if tokio::time::timeout(END_PATIENCE, child.wait()).await.is_err() {
        tracing::warn!("a runner that nobody needed did not end by itself");
        // Killed by its drop.
    }
}

fn signal(pid: Pid, signal: Signal) -> Result<(), Error> {
    match kill(pid, signal) {
        // Gone already: `watch` is about to say so.
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(errno) => Err(Error::Signal(errno.into())),
    }
}

impl Cloud for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn backing(&self) -> Backing {
        Backing::Local
    }

    async fn list(&self, expected: &[Target]) -> Result<Listing, Error> {
        let runners = self.shared.runners();
        let absent = |target: &&Target| !runners.running.contains_key(&target.worker);
        Ok(Listing {
            present: runners.running.keys().copied().collect(),
            gone: expected.iter().filter(absent).map(|target| target.worker).collect(),
            last_words: runners.ended.iter().cloned().collect(),
            ..Listing::default()
        })
    }

    async fn create(&self, wish: &Wish) -> Result<Option<Server>, Error> {
        let Wish { worker, join_token, .. } = wish;
        let mut child = match self.shared.take_ahead() {
            Some(mut ahead) => match ahead.try_wait() {
                Ok(None) => ahead,
                // Another will say why again, as the last words of this worker.
                Ok(Some(_)) | Err(_) => {
                    tokio::spawn(async move { pass_log_on(&mut ahead, "none yet").await });
                    self.spawn()?
                }
            },
            None => self.spawn()?,
        };
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        let pid = pid.ok_or_else(|| Error::Spawn(std::io::ErrorKind::NotFound.into()))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(format!("{join_token}\n").as_bytes()).await.map_err(Error::Spawn)?;
        }
        self.shared.runners().running.insert(*worker, Running { pid, asked_to_end: None });
        tokio::spawn(Self::watch(Arc::clone(&self.shared), *worker, child));
        Ok(None)
    }

    async fn delete(&self, target: &Target) -> Result<Deletion, Error> {
        let mut runners = self.shared.runners();
        let Some(running) = runners.running.get_mut(&target.worker) else {
            return Ok(Deletion::Gone(Utc::now()));
        };
        match running.asked_to_end {
            None => {
                running.asked_to_end = Some(Instant::now());
                signal(running.pid, Signal::SIGTERM)
            }
            Some(asked) if asked.elapsed() >= END_PATIENCE => signal(running.pid, Signal::SIGKILL),
            Some(_) => Ok(()),
        }?;
        Ok(Deletion::Asked(Utc::now()))
    }

    async fn catalog(&self) -> Result<Catalog, Error> {
        Ok(Catalog::default())
    }

    async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    async fn close(&self) {
        if let Some(unneeded) = self.shared.take_ahead() {
            end_unneeded(unneeded).await;
        }
        let deadline = Instant::now() + END_PATIENCE;
        let running =
            |shared: &Shared| -> Vec<Pid> { shared.runners().running.values().map(|r| r.pid).collect() };
        for pid in running(&self.shared) {
            let _ = signal(pid, Signal::SIGTERM);
        }
        while !running(&self.shared).is_empty() {
            if tokio::time::timeout_at(deadline, self.shared.changed.notified()).await.is_err() {
                for pid in running(&self.shared) {
                    let _ = signal(pid, Signal::SIGKILL);
                }
                return;
            }
        }
    }
}
