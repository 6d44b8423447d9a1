//! The script or module that is run: where it lies, what travels because of it, and which folder Python puts first on
//! its module path.

use std::path::{Path, PathBuf};

use rgrid_core::submission::Program;

use super::modules::locate;
use super::place::{absolute, portable, similar};
use super::{DiscoveryError, Obstacle, Request, Target};

/// What was found.
#[derive(Debug)]
pub(crate) struct ProgramFound {
    pub(crate) program: Program,
    /// The folder from which the project's root is searched upwards.
    pub(crate) folder: PathBuf,
    pub(crate) first_on_path: PathBuf,
    pub(crate) travels: Vec<PathBuf>,
    /// Source files that run because of it.
    pub(crate) sources: Vec<PathBuf>,
    /// Folders whose links travel as links, besides the project.
    pub(crate) link_roots: Vec<PathBuf>,
}

/// Finds the program of a request.
pub(crate) fn find(request: &Request) -> Result<ProgramFound, DiscoveryError> {
    match &request.program {
        Target::Script(script) => find_script(script, request),
        Target::Module(module) => find_module(module, request),
    }
}

fn find_script(script: &Path, request: &Request) -> Result<ProgramFound, DiscoveryError> {
    if script == Path::new("-") {
        return Err(DiscoveryError::FromStdin);
    }
    let path = absolute(&request.cwd, script);
    let Ok(metadata) = path.metadata() else {
        return Err(DiscoveryError::ScriptMissing {
            path: script.to_owned(),
            similar: similar(&path, script),
        });
    };
    if path.extension().is_some_and(|extension| extension == "ipynb") {
        let name = script.to_string_lossy();
        let quoted = shlex::try_quote(&name).unwrap_or_else(|_| name.clone()).into_owned();
        let convert = format!("jupyter nbconvert --to script {quoted}");
        return Err(DiscoveryError::Notebook { path: script.to_owned(), convert });
    }
    let folder = path.parent().unwrap_or(&path).to_owned();
    let argv0 = script.to_str().filter(|typed| Path::new(typed) != path && !typed.starts_with('-'));
    let program = Program::Script { path: portable(&path)?, argv0: argv0.map(str::to_owned) };
    if metadata.is_dir() {
        // Python runs the `__main__.py` of a folder, with the folder first on its module path.
        let main = path.join("__main__.py");
        if !main.is_file() {
            return Err(DiscoveryError::ScriptIsFolder { path: script.to_owned() });
        }
        let travels = vec![path.clone()];
        return Ok(ProgramFound {
            program,
            folder: path.clone(),
            first_on_path: path,
            travels,
            sources: vec![main],
            link_roots: Vec::new(),
        });
    }
    if !metadata.is_file() {
        return Err(DiscoveryError::ScriptIsSpecial { path: script.to_owned() });
    }
    // Python looks for modules beside the file that a linked script is, not beside the link.
    let (first_on_path, link_roots) = match path.is_symlink().then(|| path.canonicalize()) {
        Some(Ok(real)) => {
            let beside = real.parent().unwrap_or(&real).to_owned();
            (beside.clone(), vec![beside])
        }
        Some(Err(_)) | None => (folder.clone(), Vec::new()),
    };
    Ok(ProgramFound {
        program,
        folder,
        first_on_path,
        travels: vec![path.clone()],
        sources: vec![path],
        link_roots,
    })
}

fn find_module(module: &str, request: &Request) -> Result<ProgramFound, DiscoveryError> {
    let is_name = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
    if !module.split('.').all(is_name) {
        return Err(DiscoveryError::ModuleName { name: module.to_owned() });
    }
    let cwd = request.cwd.clone();
    let located = locate(module, std::slice::from_ref(&cwd));
    let mut travels: Vec<_> =
        located.package.iter().chain(&located.sources).chain(&located.compiled).cloned().collect();
    let mut sources = located.sources.clone();
    if located.complete {
        // A package, or a bare folder, is run by its `__main__.py`.
        let mains =
            located.folders.iter().filter(|folder| **folder != cwd).map(|folder| folder.join("__main__.py"));
        let mains: Vec<_> = mains.filter(|main| main.is_file()).collect();
        travels.extend(mains.iter().cloned());
        sources.extend(mains);
    }
    let program = Program::Module(module.to_owned());
    Ok(ProgramFound {
        program,
        folder: cwd.clone(),
        first_on_path: cwd,
        travels,
        sources,
        link_roots: Vec::new(),
    })
}

/// Why a program that is there cannot travel.
pub(crate) fn refused(path: &Path, obstacle: &Obstacle) -> DiscoveryError {
    let path = path.to_owned();
    match obstacle {
        Obstacle::Unreadable(words) => {
            DiscoveryError::Unreadable { path, source: std::io::Error::other(words.clone()) }
        }
        Obstacle::Dangling => DiscoveryError::ScriptMissing { path, similar: None },
        Obstacle::Name => DiscoveryError::NotUtf8 { text: super::place::escaped(path.as_os_str()) },
        Obstacle::IgnoredBy { .. }
        | Obstacle::NeverSent
        | Obstacle::NoInput
        | Obstacle::Special
        | Obstacle::TooLarge { .. }
        | Obstacle::WholeDisk
        | Obstacle::OutsideProject => DiscoveryError::ScriptIsSpecial { path },
    }
}
