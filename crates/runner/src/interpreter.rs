//! Finds the Python that a lease asks for, and what of the machine it needs to be seen in the sandbox.
//!
//! An interpreter is asked once, by running it, where its folders are; the answer is kept beside the identity until
//! the interpreter, its `pyvenv.cfg` or a folder of packages changes.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rgrid_core::runtime::Python;
use serde::{Deserialize, Serialize};

use crate::sandbox::ImageFound;
use crate::system::is_system;

/// An interpreter says where its folders are within this.
const ASK_DEADLINE: Duration = Duration::from_secs(20);
/// Links that may be between a name and its interpreter, as the kernel has it.
const LINKS_MAX: usize = 40;
/// Interpreters that are remembered.
const REMEMBERED_MAX: usize = 64;

/// Asks an interpreter about itself. It prints one line of JSON.
const QUESTION: &str = r#"
import json, platform, site, sys, sysconfig
libraries = set()
try:
    with open("/proc/self/maps") as maps:
        for line in maps:
            name = line.rstrip("\n").partition("/")
            if name[1] and ".so" in name[2]:
                libraries.add("/" + name[2])
except OSError:
    pass
user_site = site.getusersitepackages() if site.ENABLE_USER_SITE else None
print(json.dumps({
    "executable": sys.executable,
    "base_executable": getattr(sys, "_base_executable", None) or sys.executable,
    "build": " ".join([sys.version, sysconfig.get_config_var("SOABI") or "", platform.machine(), *platform.libc_ver()]),
    "version": list(sys.version_info[:2]),
    "prefixes": [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix],
    "search_path": [p for p in sys.path if p],
    "libraries": sorted(libraries),
    "user_base": site.getuserbase() if user_site in sys.path else None,
}))
"#;

/// What an interpreter says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    executable: PathBuf,
    base_executable: PathBuf,
    build: String,
    version: (u8, u8),
    prefixes: Vec<PathBuf>,
    search_path: Vec<PathBuf>,
    libraries: Vec<PathBuf>,
    user_base: Option<PathBuf>,
}

impl Answer {
    fn is(&self, wanted: Python) -> bool {
        self.version.0 == 3 && Python::new(self.version.1) == Some(wanted)
    }
}

/// An interpreter, ready to be bound into a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interpreter {
    /// Its path, on the machine and inside.
    pub(crate) executable: PathBuf,
    /// The interpreter behind a virtual environment; itself where there is none.
    pub(crate) base_executable: PathBuf,
    /// Exact version, build, machine and C library, as it says them.
    pub(crate) build: String,
    /// Folders and files that it cannot run without: on the machine, and inside.
    pub(crate) needs: Vec<(PathBuf, PathBuf)>,
    /// Further folders on its search path, which the user's own files may hide.
    pub(crate) packages: Vec<PathBuf>,
    /// Where the user's own packages lie, when it looks there.
    pub(crate) user_base: Option<PathBuf>,
    /// The container image that it is in, by its id.
    pub(crate) image: Option<String>,
    /// And for the records, by the registry's digest if it has one.
    pub(crate) image_digest: Option<String>,
}

impl Interpreter {
    /// The one that an image brings: nothing of the machine belongs to it.
    pub(crate) fn of_image(found: &ImageFound) -> Self {
        Self {
            executable: found.executable.clone(),
            base_executable: found.base_executable.clone(),
            build: found.build.clone(),
            needs: Vec::new(),
            packages: Vec::new(),
            user_base: None,
            image: Some(found.id.clone()),
            image_digest: Some(found.resolved.clone()),
        }
    }
}

/// Why there is no interpreter.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InterpreterError {
    /// None of the asked version is here.
    #[error("{wanted} is not installed on this worker; install python{} or choose another --runtime", wanted.version())]
    NotInstalled { wanted: Python },
    /// It is here and does not run.
    #[error("{path} does not run: {reason}")]
    Broken { path: PathBuf, reason: String },
}

/// Seconds and nanoseconds of the last change, and the inode.
type FileStamp = (i64, i64, u64);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Remembered {
    /// What the answer depends on; `None` where nothing was.
    stamps: Vec<(PathBuf, Option<FileStamp>)>,
    answer: Answer,
}

/// The interpreters of this machine, as far as they were asked for.
pub(crate) struct Interpreters {
    file: PathBuf,
    remembered: Mutex<BTreeMap<PathBuf, Remembered>>,
}

impl Interpreters {
    /// Starts with what was remembered in the data folder.
    pub(crate) fn open(data_folder: &Path) -> Self {
        let file = data_folder.join("interpreters.json");
        // A file that cannot be read is asked for again and written anew.
        let remembered = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { file, remembered: Mutex::new(remembered.unwrap_or_default()) }
    }

    /// The interpreter for `wanted`: the user's own when it is named and of that version, else one on `PATH`.
    pub(crate) async fn find(
        &self,
        wanted: Python,
        own: Option<&Path>,
    ) -> Result<Interpreter, InterpreterError> {
        let named = format!("python{}", wanted.version());
        let mut broken = None;
        if let Some(own) = own {
            match self.ask(own).await {
                Ok(answer) if answer.is(wanted) => return Ok(interpreter(answer)),
                Ok(_) => {}
                Err(error) => broken = Some(error),
            }
        }
        for candidate in [named.as_str(), "python3", "python"].into_iter().flat_map(on_path) {
            match self.ask(&candidate).await {
                Ok(answer) if answer.is(wanted) => return Ok(interpreter(answer)),
                Ok(_) => {}
                // A shim of a version that is not installed fails; that is no fault of the one who asks.
                Err(error) => tracing::debug!(%error, "passed over"),
            }
        }
        Err(broken.unwrap_or(InterpreterError::NotInstalled { wanted }))
    }

    async fn ask(&self, path: &Path) -> Result<Answer, InterpreterError> {
        if let Some(known) = self.remembered().get(path)
            && known.stamps.iter().all(|(path, stamp)| stamp_of(path) == *stamp)
        {
            return Ok(known.answer.clone());
        }
        let answer = run(path).await?;
        // A shim may lead to another interpreter tomorrow, without a change of its own.
        if path.canonicalize().ok() != answer.executable.canonicalize().ok() {
            return Ok(answer);
        }
        let site = |folder: &&PathBuf| folder.ends_with("site-packages") || folder.ends_with("dist-packages");
        let mut stamped = vec![path.to_owned()];
        stamped.extend(answer.prefixes.first().map(|prefix| prefix.join("pyvenv.cfg")));
        stamped.extend(answer.search_path.iter().filter(site).cloned());
        let stamps = stamped
            .into_iter()
            .map(|path| (stamp_of(&path), path))
            .map(|(stamp, path)| (path, stamp))
            .collect();
        let mut remembered = self.remembered();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(path.to_owned(), Remembered { stamps, answer: answer.clone() });
        let aside = self.file.with_extension("new");
        let body = serde_json::to_vec(&*remembered).expect("paths of a Python that speaks JSON are text");
        // It only saves time: a full disk is met elsewhere.
        let _ = std::fs::write(&aside, body).and_then(|()| std::fs::rename(&aside, &self.file));
        Ok(answer)
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, BTreeMap<PathBuf, Remembered>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamp_of(path: &Path) -> Option<FileStamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.mtime(), metadata.mtime_nsec(), metadata.ino()))
}

fn on_path(name: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).filter(|file| file.is_file()).collect()
}

async fn run(path: &Path) -> Result<Answer, InterpreterError> {
    let broken = |reason: String| InterpreterError::Broken { path: path.to_owned(), reason };
    let kept = ["PATH", "HOME", "LANG", "LC_ALL"].map(|name| (name, std::env::var_os(name)));
    let output = tokio::process::Command::new(path)
        .args(["-c", QUESTION])
        .env_clear()
        .envs(
            kept.into_iter().filter_map(|(name, value)| Some((name, value?))).collect::<Vec<(_, OsString)>>(),
        )
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir("/")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(ASK_DEADLINE, output)
        .await
        .map_err(|_| broken("it does not answer".to_owned()))?
        .map_err(|error| broken(error.to_string()))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(broken(words.trim().lines().last().unwrap_or("it fails silently").to_owned()));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| broken(format!("its answer cannot be read: {error}")))
}

/// A folder so wide that binding it would show the user's own files.
fn is_broad(folder: &Path) -> bool {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    folder.components().count() < 2
        || home.is_some_and(|home| home.starts_with(folder))
        || folder == Path::new("/home")
}

fn interpreter(answer: Answer) -> Interpreter {
    let mut needs: Vec<(PathBuf, PathBuf)> = Vec::new();
    let mut seen: HashSet<PathBuf> = HashSet::new();
    let mut need = |path: &Path| {
        let covered = is_system(path) || seen.iter().any(|folder| path.starts_with(folder));
        if !covered && let Ok(real) = path.canonicalize() {
            seen.insert(path.to_owned());
            needs.push((real.clone(), path.to_owned()));
            // Links inside point at the real place.
            if real != path && !is_system(&real) && seen.insert(real.clone()) {
                needs.push((real.clone(), real));
            }
        }
    };
    answer.prefixes.iter().filter(|prefix| !is_broad(prefix)).for_each(|prefix| need(prefix));
    for link in chain(&answer.executable) {
        // An interpreter lies in PREFIX/bin; its standard library is found from there.
        match link.parent().and_then(Path::parent) {
            Some(prefix) if !is_broad(prefix) => need(prefix),
            Some(_) | None => need(&link),
        }
    }
    // What an environment of its own links to.
    need(&answer.base_executable);
    answer.libraries.iter().for_each(|library| need(library));
    let covered = |path: &Path| is_system(path) || seen.iter().any(|folder| path.starts_with(folder));
    let packages = answer
        .search_path
        .iter()
        .filter(|path| !covered(path) && !is_broad(path) && path.exists())
        .cloned()
        .collect();
    Interpreter {
        executable: answer.executable,
        base_executable: answer.base_executable,
        build: answer.build,
        needs,
        packages,
        user_base: answer.user_base,
        image: None,
        image_digest: None,
    }
}

/// Every name that the links lead over, from `path` to the file itself.
fn chain(path: &Path) -> Vec<PathBuf> {
    let mut links = vec![path.to_owned()];
    let mut current = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(target) = std::fs::read_link(&current) else { break };
        current = current.parent().unwrap_or(Path::new("/")).join(target);
        links.push(current.clone());
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_python_of_this_machine_is_found_and_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let python = on_path("python3").into_iter().next().expect("a python3 on PATH");
        let interpreters = Interpreters::open(folder.path());
        let answer = interpreters.ask(&python).await.unwrap();
        let wanted = Python::new(answer.version.1).unwrap();
        let found = interpreters.find(wanted, Some(&python)).await.unwrap();
        assert!(found.executable.is_absolute());
        for (host, _) in &found.needs {
            assert!(host.exists() && !is_broad(host), "{host:?}");
        }
        let real = answer.executable.clone();
        let again = interpreters.ask(&real).await.unwrap();
        let reopened = Interpreters::open(folder.path());
        assert_eq!(reopened.remembered().get(&real).map(|known| known.answer.clone()), Some(again));
    }

    #[tokio::test]
    async fn a_version_that_is_not_here_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let interpreters = Interpreters::open(folder.path());
        let error = interpreters.find(Python::new(10).unwrap(), None).await.unwrap_err();
        assert!(error.to_string().contains("3.10"), "{error}");
    }
}
