//! What the command line names: arguments that are paths, `--input`, `--include`.

use std::path::{Path, PathBuf};

use rgrid_core::path::AbsolutePath;

use super::gather::{Extent, Gather, Kind, Naming};
use super::ignored::Strictness;
use super::pattern::{Hidden, expand, is_pattern};
use super::place::{absolute, escaped, is_kernels, is_never_whole, portable, similar};
use super::sources::Sources;
use super::{DiscoveryError, Obstacle, Reason, Request, Target};

/// Letters that an expression has and a pattern of files has not.
const EXPRESSION_LETTERS: [char; 8] = ['\\', '^', '$', '(', ')', '|', '+', ' '];
/// Folders that every sandbox has: they need not be made.
const EVERYWHERE: [&str; 4] = ["/", "/tmp", "/var/tmp", "/run"];

/// Modules that look for the sources they work on by themselves, from the working directory downwards.
const TEST_RUNNERS: [&str; 4] = ["coverage", "nose2", "pytest", "unittest"];

/// What the arguments add to an execution besides inputs.
#[derive(Debug, Default)]
pub(crate) struct Named {
    /// Folders that arguments name: written files in them come back.
    pub(crate) output_roots: Vec<AbsolutePath>,
    pub(crate) warnings: Vec<String>,
}

/// The arguments as text.
pub(crate) fn texts(request: &Request) -> Result<Vec<String>, DiscoveryError> {
    let text = |arg: &std::ffi::OsString| {
        arg.to_str().map(str::to_owned).ok_or_else(|| DiscoveryError::NotUtf8 { text: escaped(arg) })
    };
    request.args.iter().map(text).collect()
}

/// Takes the working directory for a test runner: which tests there are, and what they test, only it knows.
pub(crate) fn take_for_test_runner(request: &Request, gather: &mut Gather) -> Result<(), DiscoveryError> {
    if let Target::Module(module) = &request.program
        && TEST_RUNNERS.contains(&module.as_str())
        && !is_never_whole(&request.cwd, request.home.as_deref())
    {
        let naming = Naming { reason: &Reason::Program, named: &request.cwd, strictness: Strictness::All };
        let _ = gather.add(&request.cwd, Extent::Whole, naming)?;
    }
    Ok(())
}

/// Takes what the arguments name.
pub(crate) fn take_arguments(
    request: &Request,
    args: &[String],
    gather: &mut Gather,
    sources: &mut Sources,
) -> Result<Named, DiscoveryError> {
    let mut named = Named::default();
    for (place, arg) in args.iter().enumerate() {
        let reason = Reason::Argument { position: place + 1 };
        let value = arg.split_once('=').map(|(_, value)| value);
        let listed = arg.strip_prefix('@');
        // The whole first: a file may well have `=` in its name.
        for text in [Some(arg.as_str()), value, listed].into_iter().flatten() {
            if !text.is_empty() && take_argument(text, arg, &reason, request, gather, sources, &mut named)? {
                break;
            }
        }
    }
    Ok(named)
}

/// Takes what one text names; true when it named something that is there.
fn take_argument(
    text: &str,
    arg: &str,
    reason: &Reason,
    request: &Request,
    gather: &mut Gather,
    sources: &mut Sources,
    named: &mut Named,
) -> Result<bool, DiscoveryError> {
    let path = absolute(&request.cwd, Path::new(text));
    if path.symlink_metadata().is_err() {
        if is_pattern(text) && !text.contains(EXPRESSION_LETTERS) && text.contains(char::is_alphanumeric) {
            return take_pattern(text, reason, request, gather);
        }
        // A file to be written: its folder is there for the script, as it is here.
        if let Some(folder) = path.parent()
            && text.contains('/')
            && folder.is_dir()
            && !EVERYWHERE.iter().any(|everywhere| folder == Path::new(everywhere))
            && !is_kernels(folder)
        {
            let naming = Naming { reason, named: folder, strictness: Strictness::ListOnly };
            let _ = gather.try_add(folder, Extent::Empty, naming)?;
        }
        return Ok(false);
    }
    if gather.rules.is_refused(&path) {
        gather.leave(&path, Obstacle::NoInput, reason);
        return Ok(true);
    }
    let is_folder = path.is_dir();
    if is_folder && !is_kernels(&path) {
        if is_never_whole(&path, request.home.as_deref()) {
            return Err(DiscoveryError::NeverWhole { path, argument: Some(arg.to_owned()) });
        }
        named.output_roots.push(portable(&path)?);
    }
    let left_before = gather.not_sent.len();
    let naming = Naming { reason, named: &path, strictness: Strictness::All };
    match gather.add(&path, Extent::Whole, naming)? {
        Ok(Kind::File) if is_python(&path) => sources.follow_script(path),
        Ok(Kind::File) => {}
        Ok(Kind::Folder) => warn_if_emptied(&path, left_before, gather, named),
        Err(Obstacle::Special) if path.starts_with("/dev/fd") || path.starts_with("/proc") => {
            named
                .warnings
                .push(format!("{text} is a pipe of this machine and cannot be sent; save it into a file"));
        }
        Err(_) => {}
    }
    Ok(true)
}

/// A folder that people pass and that arrives without a single file surprises: say so.
fn warn_if_emptied(folder: &Path, left_before: usize, gather: &Gather, named: &mut Named) {
    let holds_files =
        gather.entries.range(folder.to_owned()..).skip(1).any(|(path, _)| path.starts_with(folder));
    let left: Vec<_> =
        gather.not_sent[left_before..].iter().filter(|left| left.path.starts_with(folder)).collect();
    if let Some(first) = left.first().filter(|_| !holds_files) {
        let why = match &first.obstacle {
            Obstacle::IgnoredBy { file, pattern } => format!("{} excludes it with {pattern}", file.display()),
            Obstacle::NeverSent | Obstacle::NoInput | Obstacle::Special | Obstacle::Dangling => {
                "it is left out".into()
            }
            Obstacle::Unreadable(error) => error.clone(),
            Obstacle::Name | Obstacle::TooLarge { .. } | Obstacle::WholeDisk | Obstacle::OutsideProject => {
                "it is left out".into()
            }
        };
        let folder = folder.display();
        named
            .warnings
            .push(format!("{folder} travels empty: {why}; to send what is in it, add --input {folder}"));
    }
}

fn take_pattern(
    pattern: &str,
    reason: &Reason,
    request: &Request,
    gather: &mut Gather,
) -> Result<bool, DiscoveryError> {
    let found = expand(&request.cwd, pattern, Hidden::Skipped, &mut |_| false);
    for path in found.iter().filter(|path| path.is_file()) {
        let folder = path.parent().unwrap_or(path);
        let _ =
            gather.add(path, Extent::Empty, Naming { reason, named: folder, strictness: Strictness::All })?;
    }
    Ok(!found.is_empty())
}

/// Takes what `--input` names.
pub(crate) fn take_inputs(
    request: &Request,
    gather: &mut Gather,
    sources: &mut Sources,
) -> Result<(), DiscoveryError> {
    for input in &request.inputs {
        let path = absolute(&request.cwd, input);
        if path.symlink_metadata().is_err() {
            return Err(DiscoveryError::InputMissing { path: input.clone(), similar: similar(&path, input) });
        }
        if path.is_dir() && is_never_whole(&path, request.home.as_deref()) {
            return Err(DiscoveryError::NeverWhole { path, argument: None });
        }
        let naming = Naming { reason: &Reason::Input, named: &path, strictness: Strictness::ListOnly };
        match gather.add(&path, Extent::Whole, naming)? {
            Ok(Kind::File) if is_python(&path) => sources.follow_script(path),
            Ok(_) => {}
            Err(Obstacle::Special) => return Err(DiscoveryError::InputIsSpecial { path: input.clone() }),
            Err(Obstacle::Dangling) => {
                return Err(DiscoveryError::InputMissing { path: input.clone(), similar: None });
            }
            Err(Obstacle::Name) => return Err(DiscoveryError::NotUtf8 { text: escaped(input.as_os_str()) }),
            Err(_) => {}
        }
    }
    Ok(())
}

/// Takes what `--include` matches; answers the patterns that match nothing.
pub(crate) fn take_includes(request: &Request, gather: &mut Gather) -> Result<Vec<String>, DiscoveryError> {
    let mut warnings = Vec::new();
    for pattern in &request.includes {
        let reason = Reason::Include { pattern: pattern.clone() };
        let rules = &mut gather.rules;
        let top = request.cwd.clone();
        let mut enter =
            |folder: &Path| rules.obstacle_of_entry(folder, true, &top, Strictness::All).is_none();
        let found: Vec<PathBuf> = expand(&request.cwd, pattern, Hidden::Skipped, &mut enter);
        if found.is_empty() {
            warnings.push(format!("--include {pattern} matches nothing"));
        }
        for path in found {
            if path.is_dir() && is_never_whole(&path, request.home.as_deref()) {
                return Err(DiscoveryError::NeverWhole { path, argument: None });
            }
            let named = gather.judged_from(&path);
            let naming = Naming { reason: &reason, named: &named, strictness: Strictness::All };
            let _ = gather.add(&path, Extent::Whole, naming)?;
        }
    }
    Ok(warnings)
}

/// True of a file of Python source, by its name.
pub(crate) fn is_python(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "py" || extension == "pyw")
}
