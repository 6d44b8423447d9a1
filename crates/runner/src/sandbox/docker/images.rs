//! The images that jobs ran in: by which id a name is known now, and what is in it that a job must know of. An image is
//! asked once, by running its Python; the answer is kept beside the workspaces.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::super::{JobExit, JobLimits, JobSpec, SandboxError};
use super::job;
use super::mounts::DEPTH;
use super::waiting::{Making, Shape, Waiting};
use super::{Host, NOBODY, environment, nothing};
use crate::system::SYSTEM_FOLDERS;

/// Asks a Python what is in its image. It prints one line of JSON.
const QUESTION: &str = include_str!("question.py");
/// An image answers within this.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
/// And with no more than this.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// Images that are remembered.
const REMEMBERED_MAX: usize = 64;
/// What an image's Python may use while it answers.
const LIMITS: JobLimits =
    JobLimits { cpu_millis: 1000, memory_bytes: 256 << 20, disk_bytes: 16 << 20, processes: 8 };

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// Its Python.
    pub(super) executable: PathBuf,
    /// The one behind it, where that is of a virtual environment.
    pub(super) base_executable: PathBuf,
    /// Exact version, build, machine and C library, as it says them.
    pub(super) build: String,
    /// Paths, some levels deep, at which a job sees something that is not empty.
    pub(super) taken: BTreeSet<PathBuf>,
}

/// An image as a job uses it.
#[derive(Debug, Clone)]
pub(super) struct Image {
    /// The engine's name for exactly these bytes.
    pub(super) id: String,
    /// The registry's, if it came from one.
    pub(super) digest: Option<String>,
    /// Variables that it sets, as `NAME=value`.
    pub(super) environment: Vec<String>,
}

impl Image {
    /// Which image it is, for the records.
    pub(super) fn resolved(&self) -> String {
        self.digest.clone().unwrap_or_else(|| self.id.clone())
    }
}

/// Asks an image what is in it, by running its Python in a container of its own.
pub(super) async fn ask(host: &Arc<Host>, image: &Image, name: &str) -> Result<Answer, SandboxError> {
    let folder = host.data_folder.join("sandbox").join("asking");
    let shape = Shape { image: image.id.clone(), user: NOBODY, limits: LIMITS };
    let making = Making { name: &host.name_to_ask(), labels: &[], binds: Vec::new(), folder: &folder };
    let system = || SandboxError::system("ask an image");
    let pipe = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC);
    let (answer, stdout) = pipe.map_err(io::Error::from).map_err(system())?;
    let mut command: Vec<OsString> = ["", "-I", "-S", "-c", QUESTION].map(Into::into).to_vec();
    command.push(DEPTH.to_string().into());
    command.extend(SYSTEM_FOLDERS.iter().chain(&["/run", "/.dockerenv"]).map(Into::into));
    let job = JobSpec {
        root: folder.clone(),
        read_only_binds: Vec::new(),
        file_binds: Vec::new(),
        command,
        environment: Vec::new(),
        cwd: "/".into(),
        limits: LIMITS,
        network: false,
        slot: 0,
        umask: 0o022,
        image: None,
        name: String::new(),
        labels: Vec::new(),
        stdin: nothing().map_err(system())?,
        stderr: stdout.try_clone().map_err(system())?,
        stdout,
    };
    let waiting = Waiting::make(host, shape, making).await?;
    let mut running = job::run(waiting, job, &environment(image, &[]), async {}).await?;
    let mut said = Vec::new();
    let reading = async {
        let answer = pipe::Receiver::from_owned_fd(answer)?;
        answer.take(ANSWER_BYTES_MAX).read_to_end(&mut said).await
    };
    let read = tokio::time::timeout(ANSWER_DEADLINE, reading).await;
    let broken = |why: String| {
        SandboxError::Broken(format!("the Python of the image {name} does not say what is in it: {why}"))
    };
    read.map_err(|_| broken("it takes too long".to_owned()))?.map_err(system())?;
    let end = running.wait().await;
    match (end.exit, serde_json::from_slice(&said)) {
        (JobExit::Exited(0), Ok(answer)) => Ok(answer),
        (exit @ (JobExit::Exited(_) | JobExit::Signalled(_)), _) => {
            let said = String::from_utf8_lossy(&said);
            Err(broken(format!("{exit:?} {}", said.lines().last().unwrap_or_default())))
        }
    }
}

/// What is remembered of images, by id.
#[derive(Debug)]
pub(super) struct Images {
    file: PathBuf,
    remembered: Mutex<BTreeMap<String, Answer>>,
    /// What the engine said of them, by id: of that nothing changes.
    seen: Mutex<BTreeMap<String, Image>>,
}

impl Images {
    /// Starts with what was remembered in this folder.
    pub(super) fn open(folder: &Path) -> Self {
        let file = folder.join("images.json");
        // A file that cannot be read is asked for again and written anew.
        let remembered = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { file, remembered: Mutex::new(remembered.unwrap_or_default()), seen: Mutex::default() }
    }

    /// An image that was seen, by its id.
    pub(super) fn seen(&self, id: &str) -> Option<Image> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub(super) fn note(&self, image: &Image) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED_MAX {
            seen.clear();
        }
        seen.insert(image.id.clone(), image.clone());
    }

    pub(super) fn known(&self, id: &str) -> Option<Answer> {
        self.remembered().get(id).cloned()
    }

    pub(super) fn remember(&self, id: &str, answer: &Answer) {
        let mut remembered = self.remembered();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(id.to_owned(), answer.clone());
        let aside = self.file.with_extension("new");
        let Ok(body) = serde_json::to_vec(&*remembered) else { return };
        // It only saves time: a full disk is met elsewhere.
        let _ = std::fs::write(&aside, body).and_then(|()| std::fs::rename(&aside, &self.file));
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Answer>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
