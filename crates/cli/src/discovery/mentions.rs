//! Takes the files that sources name: every expression that may be a path is looked up on this machine, from the
//! working directory and from the script's folder.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::arguments::is_python;
use super::evaluate::{Evaluator, Unknown, Value};
use super::gather::{Extent, Gather, Kind, Naming};
use super::ignored::Strictness;
use super::pattern::{Hidden, expand, is_pattern};
use super::place::{absolute, is_kernels, is_never_whole, portable};
use super::scan::{Mention, Usage};
use super::sources::Sources;
use super::{DiscoveryError, Obstacle, Reason, SourceLine};

/// A longer text is no path.
const TEXT_BYTES_MAX: usize = 4095;
/// Folders of the operating system: a script that names a file there means the worker's own.
const SYSTEM_FOLDERS: [&str; 12] =
    ["/bin", "/dev", "/etc", "/lib", "/lib64", "/opt", "/proc", "/run", "/sbin", "/sys", "/usr", "/var"];

/// Where texts are looked up.
#[derive(Debug)]
pub(crate) struct Ground<'a> {
    pub(crate) cwd: &'a Path,
    pub(crate) cwd_text: &'a str,
    pub(crate) home: Option<&'a Path>,
    pub(crate) script_folder: &'a Path,
    pub(crate) root: &'a Path,
    /// The same without symbolic links.
    pub(crate) root_real: PathBuf,
}

impl Ground<'_> {
    fn evaluator<'b>(&'b self, sources: &'b Sources, unknown: Unknown) -> Evaluator<'b> {
        let home = self.home.and_then(Path::to_str);
        Evaluator { sources, cwd: self.cwd_text, home, unknown }
    }

    /// The paths that a text may mean.
    fn paths(&self, text: &str) -> Vec<PathBuf> {
        if text.is_empty() || text.len() > TEXT_BYTES_MAX || text.contains(['\0', '\n']) {
            return Vec::new();
        }
        let first = absolute(self.cwd, Path::new(text));
        if text.starts_with('/') || self.cwd == self.script_folder {
            return vec![first];
        }
        vec![first, absolute(self.script_folder, Path::new(text))]
    }

    fn is_below_root(&self, path: &Path) -> bool {
        path.starts_with(self.root) || path.canonicalize().is_ok_and(|path| path.starts_with(&self.root_real))
    }
}

/// Folders that the sources add to `sys.path`.
pub(crate) fn module_paths(sources: &Sources, ground: &Ground<'_>) -> Vec<String> {
    let evaluator = ground.evaluator(sources, Unknown::Open);
    let mut texts = Vec::new();
    for (file, scan) in sources.scans() {
        let values = scan.module_paths.iter().flat_map(|expr| evaluator.values(&file, expr));
        texts.extend(values.filter(|value| !value.open && !value.text.is_empty()).map(|value| value.text));
    }
    texts
}

/// Takes what the sources that were not looked at yet name.
pub(crate) fn take_mentions(
    sources: &mut Sources,
    gather: &mut Gather,
    ground: &Ground<'_>,
) -> Result<(), DiscoveryError> {
    let mut follow = Vec::new();
    let mut seen = std::mem::take(&mut sources.texts_seen);
    for (file, scan) in sources.scans() {
        if !sources.looked_at.insert(file.clone()) {
            continue;
        }
        let source = portable(&file)?;
        for mention in &scan.mentions {
            let reason = Reason::Literal(SourceLine { file: source.clone(), line: mention.line });
            let mut look = Look { sources, gather, ground, reason: &reason, follow: &mut follow };
            look.at(&file, mention, &mut seen)?;
        }
    }
    sources.texts_seen = seen;
    follow.into_iter().for_each(|file| sources.follow_script(file));
    Ok(())
}

struct Look<'a, 'b> {
    sources: &'a Sources,
    gather: &'a mut Gather,
    ground: &'a Ground<'b>,
    reason: &'a Reason,
    follow: &'a mut Vec<PathBuf>,
}

impl Look<'_, '_> {
    fn at(
        &mut self,
        file: &Path,
        mention: &Mention,
        seen: &mut HashMap<String, bool>,
    ) -> Result<(), DiscoveryError> {
        let unknown = match mention.usage {
            Usage::Named | Usage::Listed | Usage::Walked => Unknown::Open,
            Usage::Pattern | Usage::PathPattern => Unknown::Star,
        };
        let values = self.ground.evaluator(self.sources, unknown).values(file, &mention.expr);
        match mention.usage {
            Usage::Named => {
                let mut found = false;
                for value in &values {
                    found |= self.named_once(value, seen)?;
                }
                if !found {
                    let mut literals = Vec::new();
                    mention.expr.literals(&mut literals);
                    for text in literals {
                        self.named_once(&Value { text: text.to_owned(), open: false }, seen)?;
                    }
                }
            }
            Usage::Listed => self.listed(&values, Extent::Listing)?,
            Usage::Walked => self.listed(&values, Extent::Whole)?,
            Usage::Pattern => self.pattern(&values, Hidden::Skipped)?,
            Usage::PathPattern => self.pattern(&values, Hidden::Matched)?,
        }
        Ok(())
    }

    /// Looks each text up once: the first line that names it is the reason.
    fn named_once(
        &mut self,
        value: &Value,
        seen: &mut HashMap<String, bool>,
    ) -> Result<bool, DiscoveryError> {
        if value.open {
            return self.named(value);
        }
        if let Some(found) = seen.get(&value.text) {
            return Ok(*found);
        }
        let found = self.named(value)?;
        seen.insert(value.text.clone(), found);
        Ok(found)
    }

    /// Takes what a value names; true when there is a file or a folder of that name.
    fn named(&mut self, value: &Value) -> Result<bool, DiscoveryError> {
        // Of a text that goes on in an unknown way, the folder is known.
        let text = match value.open {
            false => value.text.as_str(),
            true => value.text.rfind('/').map(|cut| &value.text[..cut]).unwrap_or_default(),
        };
        let mut found = false;
        for path in self.ground.paths(text) {
            let Ok(metadata) = path.metadata() else {
                // A link that leads nowhere is named all the same.
                if path.is_symlink() && self.ground.is_below_root(&path) {
                    self.gather.leave(&path, Obstacle::Dangling, self.reason);
                } else if text.contains('/')
                    && let Some(folder) = path.parent().filter(|folder| folder.is_dir())
                {
                    self.empty_folder(folder)?;
                }
                continue;
            };
            found = true;
            if metadata.is_dir() {
                self.empty_folder(&path)?;
            } else if !value.open {
                self.file(path)?;
            }
        }
        Ok(found)
    }

    fn file(&mut self, path: PathBuf) -> Result<(), DiscoveryError> {
        if !self.ground.is_below_root(&path) {
            if !SYSTEM_FOLDERS.iter().any(|folder| path.starts_with(folder)) {
                self.gather.leave(&path, Obstacle::OutsideProject, self.reason);
            }
            return Ok(());
        }
        let naming = Naming { reason: self.reason, named: self.ground.root, strictness: Strictness::All };
        if self.gather.add(&path, Extent::Empty, naming)? == Ok(Kind::File) && is_python(&path) {
            self.follow.push(path);
        }
        Ok(())
    }

    /// The script may write into a folder that is here: it is there, too, and empty.
    fn empty_folder(&mut self, path: &Path) -> Result<(), DiscoveryError> {
        if path != self.ground.root && self.ground.is_below_root(path) {
            let naming =
                Naming { reason: self.reason, named: self.ground.root, strictness: Strictness::ListOnly };
            let _ = self.gather.try_add(path, Extent::Empty, naming)?;
        }
        Ok(())
    }

    fn listed(&mut self, values: &[Value], extent: Extent) -> Result<(), DiscoveryError> {
        for value in values.iter().filter(|value| !value.open) {
            for path in self.ground.paths(&value.text) {
                if !path.is_dir() || is_kernels(&path) {
                    continue;
                }
                if is_never_whole(&path, self.ground.home) {
                    self.gather.leave(&path, Obstacle::WholeDisk, self.reason);
                } else if !self.ground.is_below_root(&path) {
                    if !SYSTEM_FOLDERS.iter().any(|folder| path.starts_with(folder)) {
                        self.gather.leave(&path, Obstacle::OutsideProject, self.reason);
                    }
                } else {
                    let (reason, named) = (self.reason, self.ground.root);
                    let _ = self.gather.add(
                        &path,
                        extent,
                        Naming { reason, named, strictness: Strictness::All },
                    )?;
                }
            }
        }
        Ok(())
    }

    fn pattern(&mut self, values: &[Value], hidden: Hidden) -> Result<(), DiscoveryError> {
        for value in values {
            if !is_pattern(&value.text) {
                self.named(value)?;
                continue;
            }
            let text = value.text.as_str();
            let mut found = HashSet::new();
            for base in [self.ground.cwd, self.ground.script_folder] {
                let (rules, root) = (&mut self.gather.rules, self.ground.root);
                let mut enter =
                    |folder: &Path| rules.obstacle_of_entry(folder, true, root, Strictness::All).is_none();
                found.extend(expand(base, text, hidden, &mut enter));
            }
            for path in found {
                if path.is_dir() {
                    self.empty_folder(&path)?;
                } else {
                    self.file(path)?;
                }
            }
        }
        Ok(())
    }
}
