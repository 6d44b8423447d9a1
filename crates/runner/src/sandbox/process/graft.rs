//! Places that a job needs below folders it may not write and the machine does not have: a script of the user's lies in
//! `/usr/local/data`, and this worker has no such folder.
//!
//! The nearest folder that exists is built again, in memory: all that the machine has in it, bound, and room beside it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::SandboxError;
use super::layout::Arguments;

/// Entries of a folder that is built again; each is a mount.
const ENTRIES_MAX: usize = 400;

/// A folder to build again: where it lies on the host and inside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Graft {
    inside: PathBuf,
    host: PathBuf,
}

impl Graft {
    /// The nearest folder above `inside` that the host has, below `bound` (inside) and `bound_host` (on the host).
    pub(super) fn above(inside: &Path, bound: &Path, bound_host: &Path) -> Self {
        let below = inside.strip_prefix(bound).unwrap_or(Path::new(""));
        let parts = below.ancestors().skip(1);
        let nearest = parts.map(|part| bound_host.join(part)).find(|folder| folder.is_dir());
        let host = nearest.unwrap_or_else(|| bound_host.to_owned());
        let inside = bound.join(host.strip_prefix(bound_host).unwrap_or(Path::new("")));
        Self { inside, host }
    }
}

/// Folders to build again, outer ones first, each with the places that need room in it.
pub(super) type Grafts = BTreeMap<Graft, Vec<PathBuf>>;

/// Builds them again.
pub(super) fn build(grafts: &Grafts, arguments: &mut Arguments) -> Result<(), SandboxError> {
    for (Graft { inside, host }, places) in grafts {
        let failed = || SandboxError::system(format!("read {}", host.display()));
        let entries =
            fs::read_dir(host).map_err(failed())?.collect::<Result<Vec<_>, _>>().map_err(failed())?;
        if entries.len() > ENTRIES_MAX {
            return Err(SandboxError::Refused(format!(
                "this worker has nothing of that name in {}, and too much else to make room for it",
                inside.display()
            )));
        }
        arguments.words(["--tmpfs".as_ref(), inside.as_os_str()]);
        for entry in entries {
            let place = inside.join(entry.file_name());
            if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                let target = fs::read_link(entry.path()).map_err(failed())?;
                arguments.words(["--symlink".as_ref(), target.as_os_str(), place.as_os_str()]);
            } else {
                arguments.bind("--ro-bind", &entry.path(), &place);
            }
        }
        // Left to bubblewrap, the folders above a place would be closed to the job's user.
        for place in places {
            let above: Vec<&Path> = place.ancestors().skip(1).take_while(|above| *above != inside).collect();
            for folder in above.into_iter().rev() {
                arguments.words(["--perms".as_ref(), "0755".as_ref(), "--dir".as_ref(), folder.as_os_str()]);
            }
        }
    }
    Ok(())
}

/// Closes them again, when everything that needed room has its place.
pub(super) fn close(grafts: &Grafts, arguments: &mut Arguments) {
    for graft in grafts.keys() {
        arguments.words(["--remount-ro".as_ref(), graft.inside.as_os_str()]);
    }
}
