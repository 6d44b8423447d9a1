//! What of a workspace is mounted where in a container, as a decision on two listings: what was sent lies at the same path
//! as at home, and what the image brings is hidden only where it must be.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::{JobSpec, SandboxError};
use crate::system::is_system;

/// Mounts of one container.
const MOUNTS_MAX: usize = 1_000;
/// How deep an image is looked at, beside its system's folders: below that a folder of the workspace hides all.
pub(super) const DEPTH: usize = 3;
/// What the workspace may hold of the process sandbox's, and a container has of its own.
const OWN_FOLDERS: [&str; 1] = ["/run"];

/// One mount: the host's path, that inside, and whether the job may write there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bind {
    pub(super) host: PathBuf,
    pub(super) inside: PathBuf,
    pub(super) writable: bool,
}

/// All mounts of a job in an image in which these paths are taken.
pub(super) fn of(job: &JobSpec, taken: &BTreeSet<PathBuf>) -> Result<Vec<Bind>, SandboxError> {
    let mut binds = Vec::new();
    let step = format!("read the workspace {}", job.root.display());
    below(&job.root, Path::new("/"), taken, &mut binds).map_err(SandboxError::system(step))?;
    let read_only = job.read_only_binds.iter().map(|(host, inside)| (host, inside, false));
    let files = job.file_binds.iter().map(|(host, inside, writable)| (host, inside, *writable));
    for (host, inside, writable) in read_only.chain(files) {
        binds.push(Bind { host: host.clone(), inside: inside.clone(), writable });
    }
    if binds.len() > MOUNTS_MAX {
        return Err(SandboxError::Refused(format!("{} mounts are more than {MOUNTS_MAX}", binds.len())));
    }
    for Bind { host, inside, .. } in &binds {
        job.refuse_link(host, inside)?;
    }
    Ok(binds)
}

/// Takes each entry as a whole where the image has nothing there, else what is in it.
fn below(root: &Path, inside: &Path, taken: &BTreeSet<PathBuf>, binds: &mut Vec<Bind>) -> io::Result<()> {
    let folder = root.join(inside.strip_prefix("/").unwrap_or(inside));
    let mut entries: Vec<fs::DirEntry> = fs::read_dir(&folder)?.collect::<io::Result<_>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let inside = inside.join(entry.file_name());
        if is_system(&inside) || OWN_FOLDERS.iter().any(|own| inside == Path::new(own)) {
            continue;
        }
        if entry.file_type()?.is_dir() && taken.contains(&inside) {
            below(root, &inside, taken, binds)?;
        } else {
            binds.push(Bind { host: entry.path(), inside, writable: true });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(workspace: &[&str], taken: &[&str]) -> Vec<String> {
        let root = tempfile::TempDir::new().unwrap();
        for path in workspace {
            fs::create_dir_all(root.path().join(path)).unwrap();
        }
        let mut binds = Vec::new();
        let taken = taken.iter().map(PathBuf::from).collect();
        below(root.path(), Path::new("/"), &taken, &mut binds).unwrap();
        binds.iter().map(|bind| bind.inside.display().to_string()).collect()
    }

    #[test]
    fn a_folder_is_mounted_whole_unless_the_image_has_something_there() {
        let workspace = ["home/ada/project", "tmp", "var/tmp", "rgrid/home", "usr/src/app", "proc"];
        assert_eq!(check(&workspace, &["/var", "/var/lib"]), ["/home", "/rgrid", "/tmp", "/var/tmp"]);
        let opt = ["opt/project/data", "opt/conda"];
        assert_eq!(check(&opt, &[]), ["/opt"]);
        assert_eq!(check(&opt, &["/opt", "/opt/conda"]), ["/opt/project"]);
    }
}
