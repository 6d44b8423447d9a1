//! What isolates jobs that name no image: what the runner was told; or, on a machine whose owner leaves it open, the process
//! sandbox, and containers only where that cannot be made and an image is there. Looking for Docker costs a machine nothing
//! that has the process sandbox.
//!
//! What was found is left in a file, for whoever has to know it before a job is sent.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rgrid_core::runtime::{ImageName, SandboxKind};

use crate::Error;
use crate::causes::chain;
use crate::room::{Containers, Room};
use crate::sandbox::{self, Sandbox, SandboxConfig, SandboxError};

/// What a runner is told about it.
#[derive(Debug, Clone)]
pub enum Isolation {
    /// This, and nothing weaker or else.
    Only(SandboxKind),
    /// The process sandbox; where it cannot be made, containers.
    Open {
        /// If the engine has one of these already.
        images: Vec<ImageName>,
        /// Where to leave what was found.
        record: PathBuf,
    },
}

/// What a machine was found to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The process sandbox.
    Process,
    /// Containers.
    Docker {
        /// Why not the process sandbox; absent where containers were asked for.
        why: Option<String>,
    },
    /// Neither.
    Nothing,
}

/// How [`Found::Nothing`] is written.
const NOTHING: &str = "nothing";

impl Found {
    /// What was left there; `None` when nobody looked yet.
    #[must_use]
    pub fn read(record: &Path) -> Option<Self> {
        let text = fs::read_to_string(record).ok()?;
        let (kind, why) = text.split_once('\n')?;
        if kind == NOTHING {
            return Some(Self::Nothing);
        }
        Some(match kind.parse().ok()? {
            SandboxKind::Process => Self::Process,
            SandboxKind::Docker => {
                Self::Docker { why: Some(why.trim_end().to_owned()).filter(|why| !why.is_empty()) }
            }
        })
    }

    /// Leaves it there, whole or not at all.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, record: &Path) -> io::Result<()> {
        let text = match self {
            Self::Process => format!("{}\n", SandboxKind::Process.as_str()),
            Self::Docker { why } => {
                format!("{}\n{}\n", SandboxKind::Docker.as_str(), why.as_deref().unwrap_or_default())
            }
            Self::Nothing => format!("{NOTHING}\n"),
        };
        let aside = record.with_extension(format!("{}.new", std::process::id()));
        fs::write(&aside, text).and_then(|()| fs::rename(&aside, record))
    }
}

/// What a runner isolates by.
pub(crate) struct Chosen {
    pub(crate) kind: SandboxKind,
    /// Where jobs run that name no image.
    pub(crate) room: Room,
    /// Images run too.
    pub(crate) docker: bool,
}

/// Opens what jobs run in that name no image.
pub(crate) async fn open(
    isolation: &Isolation,
    config: &SandboxConfig,
    containers: &Containers,
) -> Result<Chosen, Error> {
    match isolation {
        Isolation::Only(SandboxKind::Process) => in_processes(config, Sandbox::process(config).await?).await,
        Isolation::Only(SandboxKind::Docker) => Ok(in_containers(containers).await?),
        Isolation::Open { images, record } => match Sandbox::process(config).await {
            Ok(sandbox) => {
                // The usual case, and the same as last time: nothing is written.
                if Found::read(record) != Some(Found::Process) {
                    leave(&Found::Process, record);
                }
                in_processes(config, sandbox).await
            }
            Err(error) => instead(error, images, record, config, containers).await,
        },
    }
}

/// Containers, where the process sandbox cannot be made; else its own words.
async fn instead(
    error: SandboxError,
    images: &[ImageName],
    record: &Path,
    config: &SandboxConfig,
    containers: &Containers,
) -> Result<Chosen, Error> {
    if !sandbox::docker_has_one_of(&config.docker_socket, images).await {
        leave(&Found::Nothing, record);
        return Err(error.into());
    }
    match in_containers(containers).await {
        Ok(chosen) => {
            let why = chain(&error);
            tracing::warn!(why, "the process sandbox cannot be made: jobs run in containers");
            leave(&Found::Docker { why: Some(why) }, record);
            Ok(chosen)
        }
        Err(docker) => {
            tracing::warn!(error = chain(&docker), "no containers either");
            leave(&Found::Nothing, record);
            Err(error.into())
        }
    }
}

async fn in_processes(config: &SandboxConfig, sandbox: Sandbox) -> Result<Chosen, Error> {
    let docker = sandbox::docker_answers(&config.docker_socket).await;
    let folder = |source| Error::Folder { path: config.data_folder.clone(), source };
    let room = Room::open(sandbox, config.slots).map_err(folder)?;
    Ok(Chosen { kind: SandboxKind::Process, room, docker })
}

async fn in_containers(containers: &Containers) -> Result<Chosen, SandboxError> {
    let room = containers.room().await?.clone();
    Ok(Chosen { kind: SandboxKind::Docker, room, docker: true })
}

/// Who cannot read it takes the process sandbox to be there, and is told by the job that it is not.
fn leave(found: &Found, record: &Path) {
    if let Err(error) = found.write(record) {
        tracing::warn!(%error, ?record, "what isolates jobs here cannot be written down");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_reads_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("sandbox");
        assert_eq!(Found::read(&record), None);
        let why = Some("bubblewrap is not installed\nat all".to_owned());
        for found in [Found::Process, Found::Docker { why }, Found::Docker { why: None }, Found::Nothing] {
            found.write(&record).unwrap();
            assert_eq!(Found::read(&record), Some(found));
        }
        fs::write(&record, "firecracker\n").unwrap();
        assert_eq!(Found::read(&record), None);
    }
}
