//! What a pyenv shim would start, found as pyenv finds it and without starting it: a shim costs 190 ms.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Variables, is_program};

/// A version file is a few words.
const VERSION_FILE_BYTES_MAX: u64 = 64 << 10;

/// pyenv's folder, when `folder` is the one of its shims.
pub(super) fn root_of_shims(folder: &Path, variables: &Variables) -> Option<PathBuf> {
    let root = folder.parent()?;
    let is_named = folder.ends_with("shims") && root.join("versions").is_dir();
    let is_set = variables.pyenv_root.as_deref().is_some_and(|root| root.join("shims") == folder);
    (is_named || is_set).then(|| root.to_owned())
}

/// The program `name` of the first chosen version that has it; `None` when the system's is chosen, or none has it.
pub(super) fn program(root: &Path, name: &str, cwd: &Path, variables: &Variables) -> Option<PathBuf> {
    for version in chosen(root, cwd, variables) {
        if version == "system" {
            return None;
        }
        let Some(folder) = installed(root, &version) else { continue };
        let program = folder.join("bin").join(name);
        if is_program(&program) {
            return Some(program);
        }
    }
    None
}

/// The chosen versions: `PYENV_VERSION`, else the nearest `.python-version`, else pyenv's own file.
fn chosen(root: &Path, cwd: &Path, variables: &Variables) -> Vec<String> {
    if let Some(versions) = variables.pyenv_version.as_ref().and_then(|versions| versions.to_str()) {
        return versions.split(':').map(str::to_owned).collect();
    }
    let files = cwd.ancestors().map(|folder| folder.join(".python-version")).chain([root.join("version")]);
    let read = |file: PathBuf| {
        let is_small = fs::metadata(&file).is_ok_and(|m| m.is_file() && m.len() <= VERSION_FILE_BYTES_MAX);
        if is_small { fs::read_to_string(file).ok() } else { None }
    };
    let text = files.into_iter().find_map(read).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// The folder of a version: by its full name, else the newest that it is the start of.
fn installed(root: &Path, version: &str) -> Option<PathBuf> {
    let versions = root.join("versions");
    let version = version.strip_prefix("python-").unwrap_or(version);
    // A name that leads out of the folder is no version.
    if version.is_empty() || version.contains("..") || version.starts_with('/') {
        return None;
    }
    let exact = versions.join(version);
    if exact.is_dir() {
        return Some(exact);
    }
    let names = fs::read_dir(&versions).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let start = format!("{version}.");
    let numbers =
        |name: &str| name.split('.').map(|part| part.parse::<u32>().ok()).collect::<Option<Vec<_>>>();
    let newest = names
        .filter(|name| name.starts_with(&start))
        .filter_map(|name| Some((numbers(&name)?, name)))
        .max()?;
    Some(versions.join(newest.1))
}
