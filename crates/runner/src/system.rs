//! Which folders of the sandbox are the machine's own, and what that means for paths of the user's below them.

use std::path::{Path, PathBuf};

/// Folders that the sandbox makes, or binds from the machine: what lies there in a workspace is hidden by them.
pub(crate) const SYSTEM_FOLDERS: [&str; 12] = [
    "/bin",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/proc",
    "/sbin",
    "/sys",
    "/usr",
];

/// True when the machine's own folders hide `path`.
pub(crate) fn is_system(path: &Path) -> bool {
    SYSTEM_FOLDERS.iter().any(|folder| path.starts_with(folder))
}

/// What must be bound over `hidden` folders so that every path of `sent` is seen there: the outermost of
/// `roots` that holds it, else the path alone.
pub(crate) fn rebinds<'a>(
    sent: impl Iterator<Item = &'a Path>,
    roots: &[PathBuf],
    hidden: impl Fn(&Path) -> bool,
) -> Vec<PathBuf> {
    let holding = |path: &Path| {
        roots
            .iter()
            .filter(|root| {
                path.starts_with(root)
                    && hidden(root)
                    && !SYSTEM_FOLDERS.iter().any(|s| Path::new(s) == *root)
            })
            .min_by_key(|root| root.components().count())
    };
    let mut binds: Vec<PathBuf> = sent
        .filter(|path| hidden(path))
        .map(|path| holding(path).map_or_else(|| path.to_owned(), Clone::clone))
        .collect();
    binds.sort();
    binds.dedup();
    binds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_below_a_system_folder_is_bound_whole_and_a_lone_file_alone() {
        let roots = [PathBuf::from("/usr/src/app"), PathBuf::from("/home/u/p")];
        let sent = ["/usr/src/app/main.py", "/usr/src/app/data/x.csv", "/etc/motd", "/home/u/p/x", "/usrx/y"];
        let binds = rebinds(sent.iter().map(Path::new), &roots, is_system);
        assert_eq!(binds, [PathBuf::from("/etc/motd"), PathBuf::from("/usr/src/app")]);
    }
}
