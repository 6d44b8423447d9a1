//! Paths on this machine as Python would see them, and the project's root.

use std::ffi::OsStr;
use std::fs;
use std::path::{Component, Path, PathBuf};

use rgrid_core::path::AbsolutePath;

use super::DiscoveryError;

/// Files and folders that mark a project's root.
const ROOT_MARKERS: [&str; 3] = ["pyproject.toml", ".git", ".rgridignore"];
/// Names of one folder that are compared when a name is not there.
const SIMILAR_AMONG_MAX: usize = 10_000;

/// The absolute path of what `path` names from `folder`, without `.` and `..`. A `..` after a symbolic link leads, as
/// for the operating system, to the folder above the link's target.
pub(crate) fn absolute(folder: &Path, path: &Path) -> PathBuf {
    let mut at = PathBuf::from("/");
    for part in folder.join(path).components() {
        match part {
            Component::Normal(name) => at.push(name),
            Component::ParentDir => {
                if at.is_symlink()
                    && let Ok(target) = at.canonicalize()
                {
                    at = target;
                }
                at.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    at
}

/// The path as it travels.
pub(crate) fn portable(path: &Path) -> Result<AbsolutePath, DiscoveryError> {
    match path.to_str() {
        Some(text) => Ok(text.parse()?),
        None => Err(DiscoveryError::NotUtf8 { text: escaped(path.as_os_str()) }),
    }
}

/// A text that is not UTF-8, readable.
pub(crate) fn escaped(text: &OsStr) -> String {
    format!("{text:?}").trim_matches('"').to_owned()
}

/// The project's root for a script in `script_folder`: the nearest folder with a marker, else the working directory if
/// the script lies below it, else the script's folder. `/` is no project, whatever lies in it.
pub(crate) fn project_root(script_folder: &Path, cwd: &Path) -> PathBuf {
    let is_slash = |folder: &Path| folder.parent().is_none();
    let marked = |folder: &&Path| ROOT_MARKERS.iter().any(|marker| folder.join(marker).exists());
    match script_folder.ancestors().take_while(|folder| !is_slash(folder)).find(marked) {
        Some(root) => root.to_owned(),
        None if script_folder.starts_with(cwd) && !is_slash(cwd) => cwd.to_owned(),
        None => script_folder.to_owned(),
    }
}

/// True for `/`, the home folder and what lies above it: folders that are never sent whole.
pub(crate) fn is_never_whole(folder: &Path, home: Option<&Path>) -> bool {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    folder == Path::new("/") || home.is_some_and(|home| home.starts_with(&folder))
}

/// True below the folders in which the kernel shows itself: nothing there is a file that could be sent.
pub(crate) fn is_kernels(path: &Path) -> bool {
    ["/proc", "/sys", "/dev"].iter().any(|folder| path.starts_with(folder))
}

/// Something beside `path` that is there and is named much alike, spelled as `typed` is.
pub(crate) fn similar(path: &Path, typed: &Path) -> Option<PathBuf> {
    let wanted = path.file_name()?.to_str()?;
    let folder = path.parent()?;
    let names = fs::read_dir(folder)
        .ok()?
        .take(SIMILAR_AMONG_MAX)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let nearest = names.map(|name| (distance(wanted, &name), name)).min()?;
    // A third of the name may differ: more is another name.
    let (distance, name) = nearest;
    (distance * 3 <= wanted.chars().count()).then(|| typed.with_file_name(name))
}

/// Letters to insert, delete or change (Levenshtein), without regard to case.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
