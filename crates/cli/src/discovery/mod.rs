//! Finds what must travel with a script: the script, its local modules, the files it names and the files its
//! arguments name (DESIGN section 4, step 1). Reads this machine and nothing else: no grid, no network, no terminal.
//!
//! `discover` answers with a manifest whose every line has a reason, so that `--dry-run` can print why.

pub mod consent;
mod error;
pub mod hashes;
pub mod interpreter;

use std::ffi::OsString;
use std::path::PathBuf;

use rgrid_core::path::AbsolutePath;
use rgrid_core::submission::{Input, Program};

pub use error::DiscoveryError;

/// What the user asked to run, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A script file, as typed: relative to the working directory or absolute.
    Script(PathBuf),
    /// A module, as `python -m` takes it.
    Module(String),
}

/// Everything that decides what travels.
#[derive(Debug, Clone)]
pub struct Request {
    /// What to run.
    pub program: Target,
    /// The script's own arguments.
    pub args: Vec<OsString>,
    /// The working directory, absolute.
    pub cwd: PathBuf,
    /// `--input`: sent whatever the ignore rules say.
    pub inputs: Vec<PathBuf>,
    /// `--no-input`: never sent, nor anything below it.
    pub no_inputs: Vec<PathBuf>,
    /// `--include`: patterns, relative to the working directory unless absolute.
    pub includes: Vec<String>,
    /// `--output`: files or folders that come back wherever they lie.
    pub outputs: Vec<PathBuf>,
    /// The user's home folder, which is never sent whole.
    pub home: Option<PathBuf>,
    /// Where hashes are remembered; `None` remembers nothing.
    pub cache_folder: Option<PathBuf>,
}

/// A line of a source file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLine {
    /// The file.
    pub file: AbsolutePath,
    /// Its line, counted from 1.
    pub line: u32,
}

/// Why something travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is the script, or the module that `-m` names.
    Program,
    /// A local module or a part of a local package, imported there.
    Imported(SourceLine),
    /// An argument names it, or the folder that holds it.
    Argument {
        /// Its place among the arguments, counted from 1.
        position: usize,
    },
    /// A string literal there names it, or lists the folder that holds it.
    Literal(SourceLine),
    /// `--input` names it, or the folder that holds it.
    Input,
    /// `--include` matches it.
    Include {
        /// The pattern.
        pattern: String,
    },
    /// A symbolic link that travels points at it.
    LinkTarget {
        /// The link.
        link: AbsolutePath,
    },
}

/// Something that travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The line of the manifest; of a file, with its hash.
    pub input: Input,
    /// Why it travels: the first reason that was met.
    pub reason: Reason,
    /// Bytes of a file; 0 of a folder and of a link.
    pub size_bytes: u64,
}

/// Why something that the script or an argument names stays here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// `.gitignore` or `.rgridignore` excludes it.
    IgnoredBy {
        /// The file with the pattern.
        file: PathBuf,
        /// The pattern.
        pattern: String,
    },
    /// One of the names that never travel: `.git`, a virtual environment, `.env*`, a key file ...
    NeverSent,
    /// `--no-input` names it.
    NoInput,
    /// A socket, a pipe or a device.
    Special,
    /// A symbolic link that leads nowhere, or in a circle.
    Dangling,
    /// It cannot be read; the operating system's words.
    Unreadable(String),
    /// Its name is not UTF-8, or longer than a manifest takes.
    Name,
    /// It is larger than a blob may be.
    TooLarge {
        /// Its size.
        size_bytes: u64,
    },
    /// The script lists a folder that is never sent whole: `/`, the home folder, or one above the project.
    WholeDisk,
}

/// Something that is named and does not travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotSent {
    /// What.
    pub path: PathBuf,
    /// Why not.
    pub obstacle: Obstacle,
    /// Who names it.
    pub named_by: Reason,
}

/// A package that is neither local nor in the standard library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThirdPartyImport {
    /// The first part of the module's name.
    pub module: String,
    /// Where it is imported first.
    pub imported_at: SourceLine,
    /// True when every import of it stands under `try` or `if`, so that the script may do without.
    pub optional: bool,
}

/// What travels, and what does not.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// What to run, at its absolute path.
    pub program: Program,
    /// The arguments, which are unchanged.
    pub args: Vec<String>,
    /// The working directory.
    pub cwd: AbsolutePath,
    /// The project's folder.
    pub project_root: AbsolutePath,
    /// The folder that Python puts first on its module path.
    pub first_on_path: AbsolutePath,
    /// Everything that travels, sorted by path.
    pub inputs: Vec<Found>,
    /// What is named and stays here.
    pub not_sent: Vec<NotSent>,
    /// Folders below which written files come back.
    pub output_roots: Vec<AbsolutePath>,
    /// Further files or folders that come back.
    pub outputs: Vec<AbsolutePath>,
    /// Packages that must be there already.
    pub third_party_imports: Vec<ThirdPartyImport>,
    /// Sentences for the user.
    pub warnings: Vec<String>,
}

/// Finds what must travel.
pub fn discover(request: &Request) -> Result<Discovery, DiscoveryError> {
    let _ = request;
    Err(DiscoveryError::FromStdin)
}
