//! Finds the Python that the user would get (DESIGN section 6): `VIRTUAL_ENV`, a `.venv` at the script or up to the
//! project's root, `CONDA_PREFIX`, `python3` on PATH. A warm call starts no process: answers are remembered.

mod answers;
mod probe;
mod pyenv;

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rgrid_core::runtime::Python;

use answers::{Answers, State};

/// The variables that decide.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    /// `VIRTUAL_ENV`.
    pub virtual_env: Option<PathBuf>,
    /// `CONDA_PREFIX`.
    pub conda_prefix: Option<PathBuf>,
    /// `PATH`.
    pub path: Option<OsString>,
    /// `PYENV_VERSION`.
    pub pyenv_version: Option<OsString>,
    /// `PYENV_ROOT`.
    pub pyenv_root: Option<PathBuf>,
}

impl Variables {
    /// Those of this process.
    pub fn of_process() -> Self {
        let text = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            virtual_env: text("VIRTUAL_ENV").map(PathBuf::from),
            conda_prefix: text("CONDA_PREFIX").map(PathBuf::from),
            path: text("PATH"),
            pyenv_version: text("PYENV_VERSION"),
            pyenv_root: text("PYENV_ROOT").map(PathBuf::from),
        }
    }
}

/// Where the interpreter was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `VIRTUAL_ENV` names its environment.
    VirtualEnv,
    /// This `.venv` folder.
    DotVenv(PathBuf),
    /// `CONDA_PREFIX` names its environment.
    Conda,
    /// It is the first `python3` (else `python`) on PATH.
    Path,
}

/// A Python on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The program to start: never a pyenv shim; in a virtual environment the environment's own.
    pub path: PathBuf,
    /// Of its version 3.`minor`.
    pub minor: u8,
    /// Where it was found.
    pub source: Source,
    /// `sys.prefix`: the environment's folder.
    pub prefix: PathBuf,
    /// `sys.base_prefix`: where the standard library lies.
    pub base_prefix: PathBuf,
}

impl Interpreter {
    /// What to ask of the grid; `None` for a version that it does not run.
    pub fn runtime(&self) -> Option<Python> {
        Python::new(self.minor)
    }

    /// What its program and the settings of its environment are now, as bytes: others after each change of them.
    pub(crate) fn fingerprint(&self) -> Vec<u8> {
        State::of(&self.path).and_then(|state| serde_json::to_vec(&state).ok()).unwrap_or_default()
    }
}

/// Why there is no interpreter.
#[derive(Debug, thiserror::Error)]
pub enum InterpreterError {
    /// Nothing of the four is there.
    #[error("no Python was found: neither an environment nor python3 on PATH")]
    NotFound,
    /// It was found and does not run.
    #[error("{} does not run: {message}", .path.display())]
    Broken {
        /// The program.
        path: PathBuf,
        /// Its last words.
        message: String,
    },
}

/// Where to look.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The script's folder, or the working directory for `-m`.
    pub script_folder: &'a Path,
    /// The project's root.
    pub root: &'a Path,
    /// The working directory (pyenv reads `.python-version` from here upwards).
    pub cwd: &'a Path,
    /// Where answers are remembered; `None` remembers nothing.
    pub cache_folder: Option<&'a Path>,
}

/// Finds the interpreter that the user would get there.
pub fn find(place: Place<'_>, variables: &Variables) -> Result<Interpreter, InterpreterError> {
    let (program, source) = candidate(place, variables).ok_or(InterpreterError::NotFound)?;
    let mut answers = Answers::load(place.cache_folder);
    // A wrapper script may start another Python tomorrow without being changed itself.
    let state = if is_wrapper(&program) { None } else { State::of(&program) };
    if let Some(state) = &state
        && let Some(answer) = answers.get(&program, state)
    {
        return Ok(answer.interpreter(source));
    }
    let answer = probe::ask(&program)?;
    if let Some(state) = state {
        answers.keep(&program, state, answer.clone());
    }
    Ok(answer.interpreter(source))
}

fn candidate(place: Place<'_>, variables: &Variables) -> Option<(PathBuf, Source)> {
    if let Some(program) = variables.virtual_env.as_deref().and_then(program_of) {
        return Some((program, Source::VirtualEnv));
    }
    let up_to_root = place.script_folder.ancestors().take_while(|folder| folder.starts_with(place.root));
    for folder in up_to_root.map(|folder| folder.join(".venv")) {
        if let Some(program) = program_of(&folder) {
            return Some((program, Source::DotVenv(folder)));
        }
    }
    if let Some(program) = variables.conda_prefix.as_deref().and_then(program_of) {
        return Some((program, Source::Conda));
    }
    on_path(place.cwd, variables).map(|program| (program, Source::Path))
}

/// The Python of an environment.
fn program_of(environment: &Path) -> Option<PathBuf> {
    ["python3", "python"]
        .iter()
        .map(|name| environment.join("bin").join(name))
        .find(|program| is_program(program))
}

fn on_path(cwd: &Path, variables: &Variables) -> Option<PathBuf> {
    let path = variables.path.as_ref()?;
    for name in ["python3", "python"] {
        for folder in std::env::split_paths(path).map(|folder| cwd.join(folder)) {
            let program = folder.join(name);
            if !is_program(&program) {
                continue;
            }
            match pyenv::root_of_shims(&folder, variables) {
                None => return Some(program),
                // pyenv goes on to the rest of PATH when the chosen version is the system's.
                Some(root) => match pyenv::program(&root, name, cwd, variables) {
                    Some(program) => return Some(program),
                    None => continue,
                },
            }
        }
    }
    None
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn is_wrapper(program: &Path) -> bool {
    let mut start = [0; 2];
    File::open(program).and_then(|mut file| file.read_exact(&mut start)).is_ok_and(|()| start == *b"#!")
}
