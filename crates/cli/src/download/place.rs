//! Where an output may be written: only below the folders that were asked for, and never through a link that leads
//! out of them. An output's path comes from the grid, and is not trusted.

use std::io;
use std::path::{Path, PathBuf};

use rgrid_core::path::AbsolutePath;

/// Where outputs go.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Outputs lie below one of these, or are one of these; empty where `folder` takes whatever there is.
    roots: Vec<AbsolutePath>,
    /// Relative paths of `folder` are counted from here.
    project_root: AbsolutePath,
    /// The folder that takes everything, if not each file's own place does.
    folder: Option<PathBuf>,
}

impl Place {
    /// Each file at its own place below `roots`, or all in `folder`.
    pub(crate) fn new(project_root: AbsolutePath, roots: Vec<AbsolutePath>, folder: Option<PathBuf>) -> Self {
        Self { roots, project_root, folder }
    }

    /// All in `folder`, with the paths that they have in the project.
    pub(crate) fn folder(project_root: AbsolutePath, folder: PathBuf) -> Self {
        Self { roots: Vec::new(), project_root, folder: Some(folder) }
    }

    /// The place of the output `path`, or a fragment that says why it has none.
    pub(crate) fn of(&self, path: &str) -> Result<PathBuf, String> {
        let path: AbsolutePath = path.parse().map_err(|error| format!("its path is damaged ({error})"))?;
        let root =
            self.roots.iter().filter(|root| path.is_within(root)).min_by_key(|root| root.as_str().len());
        if root.is_none() && (self.folder.is_none() || !self.roots.is_empty()) {
            return Err("it lies outside of the project and of the folders that were named".to_owned());
        }
        match &self.folder {
            Some(folder) => {
                let relative = self.relative(&path, root);
                if relative.as_os_str().is_empty() {
                    return Err("it has no name".to_owned());
                }
                stays_within(folder, &folder.join(&relative))
            }
            None => {
                // Beside it would be outside.
                if root == Some(&path) && Path::new(path.as_str()).is_dir() {
                    return Err("it is one of the folders that were named".to_owned());
                }
                let own_root =
                    if path.is_within(&self.project_root) { Some(&self.project_root) } else { root };
                let parent = path.parent().unwrap_or_else(|| path.clone());
                let root = own_root.filter(|root| **root != path).unwrap_or(&parent);
                stays_within(Path::new(root.as_str()), Path::new(path.as_str()))
            }
        }
    }

    /// Its path in a folder of choice: as it is in the project, else as it is in what was named.
    fn relative(&self, path: &AbsolutePath, root: Option<&AbsolutePath>) -> PathBuf {
        let text = Path::new(path.as_str());
        let base = if path.is_within(&self.project_root) && *path != self.project_root {
            Some(self.project_root.clone())
        } else {
            root.and_then(AbsolutePath::parent)
        };
        let base = base.as_ref().map_or("/", AbsolutePath::as_str);
        text.strip_prefix(base).unwrap_or(text).to_owned()
    }
}

/// `path`, unless a link on the way to it leads out of `root`. The last name is not followed: what lies there is
/// judged by the caller.
fn stays_within(root: &Path, path: &Path) -> Result<PathBuf, String> {
    let Some(name) = path.file_name() else { return Err("it has no name".to_owned()) };
    let Ok(real_root) = root.canonicalize() else { return Ok(path.to_owned()) };
    // The deepest folder on the way that is there; what is not there cannot be a link.
    for above in path.ancestors().skip(1) {
        match above.canonicalize() {
            Ok(real) if real.starts_with(&real_root) => return Ok(path.parent().unwrap_or(root).join(name)),
            Ok(_) if above == root || root.starts_with(above) => return Ok(path.to_owned()),
            Ok(_) => {
                return Err(format!("{} is a link that leads out of {}", above.display(), root.display()));
            }
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && std::fs::symlink_metadata(above).is_err() => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(format!("{} is a link that leads nowhere", above.display()));
            }
            Err(error) => return Err(format!("{}: {error}", above.display())),
        }
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn absolute(path: &Path) -> AbsolutePath {
        path.to_str().unwrap().parse().unwrap()
    }

    fn project() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("project");
        std::fs::create_dir(&root).unwrap();
        (folder, root)
    }

    #[test]
    fn an_output_lies_where_the_script_wrote_it_and_nowhere_else() {
        let (_folder, root) = project();
        let place = Place::new(absolute(&root), vec![absolute(&root)], None);
        let inside = root.join("new/deep/out.csv");
        assert_eq!(place.of(inside.to_str().unwrap()), Ok(inside.clone()));
        assert!(place.of("/etc/passwd").is_err());
        assert!(place.of(root.to_str().unwrap()).is_err());
        assert!(place.of(root.join("../x").to_str().unwrap()).is_err());
    }

    #[test]
    fn a_link_that_leads_out_is_not_followed_and_one_that_stays_is() {
        let (folder, root) = project();
        let place = Place::new(absolute(&root), vec![absolute(&root)], None);
        symlink(folder.path(), root.join("out")).unwrap();
        symlink("/nowhere/at/all", root.join("dangling")).unwrap();
        std::fs::create_dir(root.join("real")).unwrap();
        symlink("real", root.join("link")).unwrap();
        assert!(place.of(root.join("out/x").to_str().unwrap()).is_err());
        assert!(place.of(root.join("out/deep/x").to_str().unwrap()).is_err());
        assert!(place.of(root.join("dangling/x").to_str().unwrap()).is_err());
        assert!(place.of(root.join("link/x").to_str().unwrap()).is_ok());
    }

    #[test]
    fn a_project_below_a_link_is_no_link_that_leads_out() {
        let (folder, root) = project();
        let alias = folder.path().canonicalize().unwrap().join("alias");
        symlink(&root, &alias).unwrap();
        let place = Place::new(absolute(&alias), vec![absolute(&alias)], None);
        assert!(place.of(alias.join("a/b").to_str().unwrap()).is_ok());
    }

    #[test]
    fn a_folder_of_choice_takes_paths_as_they_are_in_the_project() {
        let (folder, root) = project();
        let named: AbsolutePath = "/somewhere/results".parse().unwrap();
        let target = folder.path().canonicalize().unwrap().join("target");
        let place = Place::new(absolute(&root), vec![absolute(&root), named], Some(target.clone()));
        assert_eq!(place.of(root.join("a/b.txt").to_str().unwrap()), Ok(target.join("a/b.txt")));
        assert_eq!(place.of("/somewhere/results/c.txt"), Ok(target.join("results/c.txt")));
        let anything = Place::folder(absolute(&root), target.clone());
        assert!(anything.of("/").is_err());
        assert_eq!(anything.of("/x/y.txt"), Ok(target.join("x/y.txt")));
    }

    #[test]
    fn a_single_file_that_was_named_is_its_own_root() {
        let (folder, root) = project();
        let single = folder.path().canonicalize().unwrap().join("out.csv");
        let place = Place::new(absolute(&root), vec![absolute(&root), absolute(&single)], None);
        assert_eq!(place.of(single.to_str().unwrap()), Ok(single));
    }
}
