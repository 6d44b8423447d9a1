//! What never travels by itself: a fixed list of names, and what `.gitignore` and `.rgridignore` exclude.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::Obstacle;
use super::place::is_never_whole;

/// The files with patterns; what the first says counts above what the second says.
const IGNORE_FILES: [&str; 2] = [".rgridignore", ".gitignore"];
/// Names of files and folders that hold no work of the user's, or secrets.
const NEVER_SENT: [&str; 14] = [
    ".git",
    ".hg",
    ".svn",
    "__pycache__",
    "node_modules",
    ".ssh",
    ".gnupg",
    ".aws",
    ".netrc",
    ".pgpass",
    ".pypirc",
    ".git-credentials",
    ".htpasswd",
    ".rgrid",
];
/// Starts of such names.
const NEVER_SENT_STARTS: [&str; 5] = [".env", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"];
/// Suffixes of key files.
const KEY_SUFFIXES: [&str; 7] = ["pem", "key", "p12", "pfx", "jks", "keystore", "ppk"];

/// Which rules something must pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// The list and the ignore files.
    All,
    /// The list only: what lies in a folder that `--input` names.
    ListOnly,
}

/// Files with patterns that count in a folder, the nearest first; of each kind of [`IGNORE_FILES`].
type FolderPatterns = [Vec<Rc<Gitignore>>; 2];

/// The rules of one project.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Ignore files above this folder do not count.
    top: PathBuf,
    no_inputs: Vec<PathBuf>,
    /// Those of them that hold nearly everything: they stand for themselves and not for what is in them.
    no_inputs_alone: Vec<PathBuf>,
    patterns: HashMap<PathBuf, Rc<FolderPatterns>>,
}

impl Rules {
    /// The rules of the project at `root`. As git does, ignore files above it count up to the repository's top, unless
    /// that is the home folder or above it: people keep their settings there with `*` ignored.
    pub(crate) fn of_project(root: &Path, home: Option<&Path>, no_inputs: Vec<PathBuf>) -> Self {
        let is_home = |folder: &Path| home.is_some_and(|home| home.starts_with(folder));
        let top = root
            .ancestors()
            .take_while(|folder| !is_home(folder))
            .find(|folder| folder.join(".git").exists())
            .unwrap_or(root);
        let (no_inputs_alone, no_inputs) = no_inputs.into_iter().partition(|path| is_never_whole(path, home));
        Self { top: top.to_owned(), no_inputs, no_inputs_alone, patterns: HashMap::new() }
    }

    /// What stands against sending the thing at `path`. Parts of the path at or above `named` are not judged: the
    /// user named them.
    pub(crate) fn obstacle(
        &mut self,
        path: &Path,
        is_folder: bool,
        named: &Path,
        strictness: Strictness,
    ) -> Option<Obstacle> {
        if path != named && self.is_refused(path) {
            return Some(Obstacle::NoInput);
        }
        let mut parts: Vec<_> =
            path.ancestors().take_while(|part| *part != named && part.starts_with(named)).collect();
        parts.reverse();
        let last = parts.len();
        parts.into_iter().enumerate().find_map(|(place, part)| {
            let is_folder = is_folder || place + 1 < last;
            self.obstacle_of_entry(part, is_folder, named, strictness)
        })
    }

    /// True when `--no-input` names it or a folder that holds it.
    pub(crate) fn is_refused(&self, path: &Path) -> bool {
        self.no_inputs.iter().any(|refused| path.starts_with(refused))
            || self.no_inputs_alone.iter().any(|refused| path == refused)
    }

    /// What stands against one entry of a folder that itself passes.
    pub(crate) fn obstacle_of_entry(
        &mut self,
        path: &Path,
        is_folder: bool,
        named: &Path,
        strictness: Strictness,
    ) -> Option<Obstacle> {
        if self.is_refused(path) {
            return Some(Obstacle::NoInput);
        }
        if path.file_name().is_some_and(is_never_sent) || (is_folder && is_environment(path)) {
            return Some(Obstacle::NeverSent);
        }
        match strictness {
            Strictness::ListOnly => None,
            Strictness::All => self.excluded(path, is_folder, named),
        }
    }

    fn excluded(&mut self, path: &Path, is_folder: bool, named: &Path) -> Option<Obstacle> {
        let folder = path.parent()?;
        let top = if path.starts_with(&self.top) { self.top.clone() } else { named.to_owned() };
        for kind in self.patterns(folder, &top).iter() {
            // The nearest file with an opinion decides.
            for matcher in kind {
                match matcher.matched(path, is_folder) {
                    Match::None => {}
                    Match::Whitelist(_) => return None,
                    Match::Ignore(glob) => {
                        let file = glob.from().map(Path::to_owned).unwrap_or_default();
                        return Some(Obstacle::IgnoredBy { file, pattern: glob.original().to_owned() });
                    }
                }
            }
        }
        None
    }

    /// The patterns of a folder and of those above it, up to `top`.
    fn patterns(&mut self, folder: &Path, top: &Path) -> Rc<FolderPatterns> {
        if let Some(known) = self.patterns.get(folder) {
            return Rc::clone(known);
        }
        if !folder.starts_with(top) {
            return Rc::default();
        }
        let above = folder.parent().map(|above| self.patterns(above, top)).unwrap_or_default();
        let mut patterns = IGNORE_FILES.map(|name| read_patterns(folder, name));
        for (own, above) in patterns.iter_mut().zip(above.iter()) {
            own.extend(above.iter().cloned());
        }
        let patterns = Rc::new(patterns);
        self.patterns.insert(folder.to_owned(), Rc::clone(&patterns));
        patterns
    }
}

fn read_patterns(folder: &Path, name: &str) -> Vec<Rc<Gitignore>> {
    let file = folder.join(name);
    if !file.is_file() {
        return Vec::new();
    }
    let mut builder = GitignoreBuilder::new(folder);
    // A line that is no pattern is skipped, as git does.
    let _ = builder.add(&file);
    builder.build().into_iter().map(Rc::new).collect()
}

fn is_never_sent(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    let is_key = name.rsplit_once('.').is_some_and(|(stem, suffix)| {
        !stem.is_empty() && KEY_SUFFIXES.iter().any(|key| suffix.eq_ignore_ascii_case(key))
    });
    NEVER_SENT.contains(&name) || NEVER_SENT_STARTS.iter().any(|start| name.starts_with(start)) || is_key
}

/// True of a virtual or conda environment.
fn is_environment(folder: &Path) -> bool {
    folder.join("pyvenv.cfg").is_file() || folder.join("conda-meta").is_dir()
}
