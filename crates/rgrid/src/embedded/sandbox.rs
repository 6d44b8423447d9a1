//! What isolates scripts here that name no image, as the commands and the daemon know it. Where nobody said so, a runner finds
//! out by trying, and leaves it in a file of the home; a command that prepares a submission reads only that, before the
//! grid is there and once more when it is.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rgrid_cli::Audience;
use rgrid_core::runtime::{ImageName, PYTHON_MINOR, Python, SandboxKind};
use rgrid_runner::{Found, Isolation};

use super::home::{Home, write_private};
use crate::config::{EmbeddedConfig, SandboxWish};

/// A runner has found out what this machine can do within this; else the commands take it to be as it was.
const FINDING_PATIENCE: Duration = Duration::from_secs(10);
/// How often we look whether it has.
const LOOK: Duration = Duration::from_millis(5);

/// The images in which scripts run where they run in containers.
pub(crate) fn images() -> Vec<ImageName> {
    PYTHON_MINOR.filter_map(Python::new).map(Python::own_image).collect()
}

/// What a runner of this machine is told.
pub(crate) fn isolation(home: &Home, wish: SandboxWish) -> Isolation {
    match wish {
        SandboxWish::Only(kind) => Isolation::Only(kind),
        SandboxWish::Auto => Isolation::Open { images: images(), record: home.sandbox() },
    }
}

/// What a command prepares for. Tells once why that is containers, if nobody asked for them.
///
/// # Errors
/// When containers are asked for, and there is no engine to make them.
pub(crate) fn of_commands(
    home: &Home,
    config: &EmbeddedConfig,
    audience: &dyn Audience,
) -> anyhow::Result<SandboxKind> {
    // Never weaker than this command's own settings, whatever those of a daemon were that runs already.
    if config.sandbox == SandboxWish::Only(SandboxKind::Docker) {
        anyhow::ensure!(engine_listens(&config.docker_socket), no_engine(&config.docker_socket));
        return Ok(SandboxKind::Docker);
    }
    Ok(match Found::read(&home.sandbox()) {
        Some(Found::Docker { why }) => {
            if let Some(why) = why {
                tell_once(home, &why, audience);
            }
            SandboxKind::Docker
        }
        // In the last case the grid says itself what is wrong.
        Some(Found::Process) | None | Some(Found::Nothing) => SandboxKind::Process,
    })
}

pub(crate) fn engine_listens(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

/// What is wrong, and what to do about it.
fn no_engine(socket: &Path) -> String {
    format!(
        "scripts are to run in containers here (RGRID_EMBEDDED_SANDBOX is docker), and nothing answers at {}: {NO_ENGINE_FIX}",
        socket.display()
    )
}

pub(crate) const NO_ENGINE_FIX: &str = "install Docker (apt-get install docker.io) and let this user use it, or set RGRID_EMBEDDED_SANDBOX to auto";

fn tell_once(home: &Home, why: &str, audience: &dyn Audience) {
    let told = home.sandbox_told();
    if fs::read_to_string(&told).is_ok_and(|told| told == why) {
        return;
    }
    audience.say(&format!("scripts run in containers here, for the process sandbox cannot be made: {why}"));
    // Then it is told again.
    let _ = write_private(&told, why.as_bytes());
}

/// What a daemon waits for when it starts.
#[derive(Debug)]
pub(crate) enum Wait {
    /// Nothing: it is known, or was the usual one last time.
    No,
    /// Its first runner finds out; until then the file is as old as this.
    For(Option<SystemTime>),
}

/// Looks at what is known when a daemon starts, and writes down what was asked for.
///
/// # Errors
/// When the disk refuses.
pub(crate) fn at_start(home: &Home, wish: SandboxWish) -> anyhow::Result<Wait> {
    let record = home.sandbox();
    let known = Found::read(&record);
    let asked = match wish {
        SandboxWish::Auto if known == Some(Found::Process) => {
            // Should it be containers one day, that is news.
            let _ = fs::remove_file(home.sandbox_told());
            return Ok(Wait::No);
        }
        SandboxWish::Auto => return Ok(Wait::For(modified(&record))),
        SandboxWish::Only(SandboxKind::Process) => Found::Process,
        SandboxWish::Only(SandboxKind::Docker) => Found::Docker { why: None },
    };
    if known.as_ref() != Some(&asked) {
        asked.write(&record)?;
    }
    Ok(Wait::No)
}

impl Wait {
    /// Returns when it is known. A command that waits for this grid then prepares what it sends for the right one.
    pub(crate) async fn end(self, home: &Home) {
        let Self::For(before) = self else { return };
        let record = home.sandbox();
        let found = async {
            while modified(&record) == before {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(FINDING_PATIENCE, found).await.is_err() {
            tracing::warn!("no runner has found out what isolates scripts here");
        }
    }
}

fn modified(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|about| about.modified()).ok()
}
