//! Removes a folder that a job could write: it may be deeper than any stack, and closed to its own owner.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Below this depth `rm` takes over, which walks without a path and without a stack.
const DEPTH_MAX: usize = 128;

/// Removes `folder` and all in it. The job is over, so nothing moves meanwhile; links are removed, never followed.
/// What cannot be removed is reported, and left.
pub(crate) fn remove_tree(folder: &Path) {
    let result = match remove(folder, 0) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => rm(folder),
        other => other,
    };
    match result {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, folder = %folder.display(), "a workspace cannot be removed"),
    }
}

fn remove(folder: &Path, depth: usize) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(io::Error::other("too deep"));
    }
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => open_up(folder)?,
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            remove(&path, depth + 1)?;
        } else {
            unlink(folder, &path)?;
        }
    }
    fs::remove_dir(folder)
}

fn unlink(folder: &Path, path: &PathBuf) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(folder)?;
            fs::remove_file(path)
        }
        other => other,
    }
}

fn open_up(folder: &Path) -> io::Result<fs::ReadDir> {
    fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    fs::read_dir(folder)
}

fn rm(folder: &Path) -> io::Result<()> {
    let status = Command::new("rm")
        .args(["-rf", "--one-file-system", "--"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("rm failed")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_deep_and_linked_folders_go_and_what_links_point_at_stays() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        fs::create_dir_all(outside.join("kept")).unwrap();
        let doomed = folder.path().join("doomed");
        fs::create_dir_all(doomed.join("closed/inner")).unwrap();
        std::os::unix::fs::symlink(&outside, doomed.join("closed/link")).unwrap();
        fs::set_permissions(doomed.join("closed"), Permissions::from_mode(0o000)).unwrap();
        let mut deep = doomed.clone();
        for _ in 0..DEPTH_MAX + 50 {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();
        remove_tree(&doomed);
        assert!(!doomed.exists() && outside.join("kept").exists());
    }
}
