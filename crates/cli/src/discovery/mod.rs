//! Finds what must travel with a script: the script, its local modules, the files it names and the files its
//! arguments name (DESIGN section 4, step 1). Reads this machine and nothing else: no grid, no network, no terminal.
//!
//! `discover` answers with a manifest whose every line has a reason, so that `--dry-run` can print why.

mod arguments;
mod companions;
pub mod consent;
mod error;
mod evaluate;
#[doc(hidden)]
pub mod fuzzing;
mod gather;
pub mod hashes;
mod ignored;
pub mod interpreter;
mod manifest;
mod mentions;
mod modules;
mod pattern;
mod place;
mod program;
mod scan;
mod sources;
mod standard_library;

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::SystemTime;

use rgrid_core::path::AbsolutePath;
use rgrid_core::submission::{Input, Program};

pub use error::DiscoveryError;

use crate::dependencies::is_imported;
use gather::{Extent, Gather, Naming};
use hashes::Remembered;
use ignored::{Rules, Strictness};
use mentions::Ground;
use place::portable;
pub(crate) use place::{absolute, project_root};
use sources::Sources;

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
    /// It belongs to a package that lies on this machine as source, or is what packages are installed from.
    Package,
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
    /// The script lists a folder that is never sent whole: `/`, the home folder, or one above it.
    WholeDisk,
    /// A literal names it, and it lies outside the project.
    OutsideProject,
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

/// True of a module that every Python has.
pub(crate) fn is_of_standard_library(module: &str) -> bool {
    standard_library::has(module)
}

/// Adds what travels of packages that lie on this machine as source: each of `paths` whole, but for what the rules
/// exclude.
pub(crate) fn add_packages(
    discovery: &mut Discovery,
    request: &Request,
    paths: &[PathBuf],
) -> Result<(), DiscoveryError> {
    let root = PathBuf::from(discovery.project_root.as_str());
    let no_inputs = request.no_inputs.iter().map(|path| absolute(&request.cwd, path)).collect();
    let mut gather =
        Gather::new(Rules::of_project(&root, request.home.as_deref(), no_inputs), vec![root.clone()]);
    for path in paths {
        // A module that is named by itself is imported whatever git ignores.
        let strictness = if is_imported(path) { Strictness::ListOnly } else { Strictness::All };
        let _ =
            gather.add(path, Extent::Whole, Naming { reason: &Reason::Package, named: path, strictness })?;
    }
    let mut remembered = Remembered::load(request.cache_folder.as_deref(), &root, SystemTime::now());
    let (inputs, not_sent) = manifest::seal(gather, &mut remembered)?;
    remembered.save();
    let known: HashSet<AbsolutePath> =
        discovery.inputs.iter().map(|found| found.input.path.clone()).collect();
    discovery.inputs.extend(inputs.into_iter().filter(|found| !known.contains(&found.input.path)));
    discovery.inputs.sort_by(|a, b| a.input.path.cmp(&b.input.path));
    discovery.not_sent.extend(not_sent);
    Ok(())
}

/// Rounds of following: each one takes what the sources found in the round before name.
const ROUNDS_MAX: usize = 32;

/// Finds what must travel.
pub fn discover(request: &Request) -> Result<Discovery, DiscoveryError> {
    let found = program::find(request)?;
    let args = arguments::texts(request)?;
    let cwd = portable(&request.cwd)?;
    let home = request.home.as_deref().map(|home| home.canonicalize().unwrap_or_else(|_| home.to_owned()));
    let request = &Request { home: home.clone(), ..request.clone() };
    let root = project_root(&found.folder, &request.cwd);
    if root.parent().is_none() {
        return Err(DiscoveryError::RootIsSlash);
    }
    let no_inputs = request.no_inputs.iter().map(|path| absolute(&request.cwd, path)).collect();
    let rules = Rules::of_project(&root, home.as_deref(), no_inputs);
    let mut gather = Gather::new(rules, vec![root.clone()]);
    let mut remembered = Remembered::load(request.cache_folder.as_deref(), &root, SystemTime::now());
    let mut sources = Sources::new(found.first_on_path.clone());
    let ground = Ground {
        cwd: &request.cwd,
        cwd_text: cwd.as_str(),
        home: home.as_deref(),
        script_folder: &found.first_on_path,
        root: &root,
        root_real: root.canonicalize().unwrap_or_else(|_| root.clone()),
    };

    for folder in found.link_roots {
        gather.add_link_root(folder);
    }
    for path in &found.travels {
        // The script was named outright: no rule stands against it.
        let naming = Naming { reason: &Reason::Program, named: path, strictness: Strictness::All };
        if let Err(obstacle) = gather.try_add(path, Extent::Whole, naming)? {
            return Err(program::refused(path, &obstacle));
        }
    }
    found.sources.into_iter().for_each(|source| sources.follow(source));
    // `--input` first: it may overrule what the rules say about the rest.
    arguments::take_inputs(request, &mut gather, &mut sources)?;
    let named = arguments::take_arguments(request, &args, &mut gather, &mut sources)?;
    arguments::take_for_test_runner(request, &mut gather)?;
    let mut warnings = named.warnings;
    warnings.extend(arguments::take_includes(request, &mut gather)?);

    for _ in 0..ROUNDS_MAX {
        let mut news = sources.read_waiting(&mut gather, &mut remembered)?;
        let folders = mentions::module_paths(&sources, &ground);
        if sources.add_module_folders(&folders, &request.cwd) {
            continue;
        }
        mentions::take_mentions(&mut sources, &mut gather, &ground)?;
        news &= sources.is_waiting();
        if !news {
            break;
        }
    }

    let third_party_imports = sources.third_party()?;
    let project_root = portable(&root)?;
    let outside = named.output_roots.into_iter().filter(|folder| !folder.is_within(&project_root));
    let mut output_roots: Vec<_> = std::iter::once(project_root.clone()).chain(outside).collect();
    output_roots.dedup();
    let outputs = request.outputs.iter().map(|path| portable(&absolute(&request.cwd, path)));
    let outputs = outputs.collect::<Result<_, _>>()?;
    let (inputs, not_sent) = manifest::seal(gather, &mut remembered)?;
    warnings.extend(manifest::surprises(&not_sent));
    remembered.save();
    Ok(Discovery {
        program: found.program,
        args,
        cwd,
        project_root,
        first_on_path: portable(&found.first_on_path)?,
        inputs,
        not_sent,
        output_roots,
        outputs,
        third_party_imports,
        warnings,
    })
}
