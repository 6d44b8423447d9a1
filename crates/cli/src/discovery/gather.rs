//! Collects what travels: files, folders that must be there, symbolic links with their targets. Every way by which
//! something is named leads here, so that the rules about links, ignored names and special files stand once.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rgrid_core::limits;
use rgrid_core::path::{NAME_BYTES_MAX, PATH_BYTES_MAX};

use super::companions::companions;
use super::hashes::Stamp;
use super::ignored::{Rules, Strictness};
use super::place::{absolute, is_kernels, portable};
use super::{DiscoveryError, NotSent, Obstacle, Reason};

/// Links that lead to links, as Linux counts them.
const LINK_HOPS_MAX: usize = 40;
/// Folders within folders.
const FOLDER_DEPTH_MAX: usize = 128;
/// Lines about what stays here.
const NOT_SENT_MAX: usize = 1_000;

/// A line of the manifest before its hash is known.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    File { stamp: Stamp, mode: u32 },
    Folder,
    Link { target: String },
}

/// What something turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
}

/// How much of a folder travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Nothing but the folder itself.
    Empty,
    /// Its own files; folders in it are empty.
    Listing,
    /// All that is in it.
    Whole,
}

/// How something was named: what it may overrule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Naming<'a> {
    pub(crate) reason: &'a Reason,
    /// Parts of a path at or above this are not judged by the rules.
    pub(crate) named: &'a Path,
    pub(crate) strictness: Strictness,
}

#[derive(Debug)]
pub(crate) struct Gather {
    /// Links that point below one of these travel as links.
    link_roots: Vec<PathBuf>,
    pub(crate) rules: Rules,
    pub(crate) entries: BTreeMap<PathBuf, (Entry, Reason)>,
    pub(crate) not_sent: Vec<NotSent>,
    /// Paths that are known not to be links.
    plain: HashSet<PathBuf>,
    /// Folders that were read for a listing of their own files.
    listed: HashSet<PathBuf>,
    /// Files, and folders that were taken whole.
    pub(crate) taken: HashSet<PathBuf>,
}

/// Where a path leads when its links are followed as far as they travel as links.
struct Settled {
    path: PathBuf,
    links: Vec<(PathBuf, String)>,
}

impl Gather {
    pub(crate) fn new(rules: Rules, link_roots: Vec<PathBuf>) -> Self {
        Self {
            link_roots,
            rules,
            entries: BTreeMap::new(),
            not_sent: Vec::new(),
            plain: HashSet::new(),
            listed: HashSet::new(),
            taken: HashSet::new(),
        }
    }

    /// Links below this folder travel as links from now on.
    pub(crate) fn add_link_root(&mut self, folder: PathBuf) {
        if !self.link_roots.iter().any(|root| folder.starts_with(root)) {
            self.link_roots.push(folder);
        }
    }

    /// The folder from which downwards the rules judge something that nobody named outright.
    pub(crate) fn judged_from(&self, path: &Path) -> PathBuf {
        self.link_roots
            .iter()
            .find(|root| path.starts_with(root))
            .map_or_else(|| path.to_owned(), Clone::clone)
    }

    /// Takes what lies at `path`. An obstacle is written down and answered.
    pub(crate) fn add(
        &mut self,
        path: &Path,
        extent: Extent,
        naming: Naming<'_>,
    ) -> Result<Result<Kind, Obstacle>, DiscoveryError> {
        match self.try_add(path, extent, naming)? {
            Ok(kind) => Ok(Ok(kind)),
            Err(obstacle) => {
                self.leave(path, obstacle.clone(), naming.reason);
                Ok(Err(obstacle))
            }
        }
    }

    /// Writes down that something stays here.
    pub(crate) fn leave(&mut self, path: &Path, obstacle: Obstacle, named_by: &Reason) {
        let known = self.not_sent.iter().any(|left| left.path == path);
        if !known && self.not_sent.len() < NOT_SENT_MAX {
            self.not_sent.push(NotSent { path: path.to_owned(), obstacle, named_by: named_by.clone() });
        }
    }

    /// The same, without a word about an obstacle.
    pub(crate) fn try_add(
        &mut self,
        path: &Path,
        extent: Extent,
        naming: Naming<'_>,
    ) -> Result<Result<Kind, Obstacle>, DiscoveryError> {
        if is_kernels(path) {
            return Ok(Err(Obstacle::Special));
        }
        let settled = match self.settle(path, 0) {
            Ok(settled) => settled,
            Err(obstacle) => return Ok(Err(obstacle)),
        };
        let metadata = match fs::metadata(&settled.path) {
            Ok(metadata) => metadata,
            Err(error) => return Ok(Err(obstacle_of(&error))),
        };
        let is_folder = metadata.is_dir();
        if let Some(obstacle) = self.rules.obstacle(path, is_folder, naming.named, naming.strictness) {
            return Ok(Err(obstacle));
        }
        let reason = match settled.links.last() {
            Some((link, _)) => {
                // What a link leads to must pass by itself, unless the link was named outright.
                let target = &settled.path;
                let named = if naming.named == path {
                    target.clone()
                } else if target.starts_with(naming.named) {
                    naming.named.to_owned()
                } else {
                    self.judged_from(target)
                };
                if let Some(obstacle) = self.rules.obstacle(target, is_folder, &named, naming.strictness) {
                    return Ok(Err(obstacle));
                }
                Reason::LinkTarget { link: portable(link)? }
            }
            None => naming.reason.clone(),
        };
        // A link to a folder that holds it is a link and no reason to send that folder.
        let is_circle = !settled.links.is_empty() && path.starts_with(&settled.path);
        let extent = if is_circle { Extent::Empty } else { extent };
        let taken = if is_folder {
            self.folder(&settled.path, extent, Naming { reason: &reason, ..naming })?
        } else {
            for companion in companions(&settled.path) {
                if let Ok(metadata) = fs::metadata(&companion) {
                    let _ = self.file(&companion, &metadata, &reason)?;
                }
            }
            self.file(&settled.path, &metadata, &reason)?
        };
        if taken.is_ok() {
            for (link, target) in settled.links {
                self.insert(link, Entry::Link { target }, naming.reason)?;
            }
        }
        Ok(taken)
    }

    fn insert(&mut self, path: PathBuf, entry: Entry, reason: &Reason) -> Result<(), DiscoveryError> {
        self.entries.entry(path).or_insert_with(|| (entry, reason.clone()));
        if self.entries.len() > 2 * limits::MANIFEST_FILES_MAX {
            return Err(DiscoveryError::TooManyFiles { files: self.entries.len() });
        }
        Ok(())
    }

    fn file(
        &mut self,
        path: &Path,
        metadata: &fs::Metadata,
        reason: &Reason,
    ) -> Result<Result<Kind, Obstacle>, DiscoveryError> {
        if !metadata.is_file() {
            return Ok(Err(Obstacle::Special));
        }
        if !is_portable(path) {
            return Ok(Err(Obstacle::Name));
        }
        let stamp = Stamp::of(metadata);
        if stamp.size_bytes > limits::BLOB_BYTES_MAX {
            return Ok(Err(Obstacle::TooLarge { size_bytes: stamp.size_bytes }));
        }
        let mode = metadata.permissions().mode() & 0o777;
        self.taken.insert(path.to_owned());
        self.insert(path.to_owned(), Entry::File { stamp, mode }, reason)?;
        Ok(Ok(Kind::File))
    }

    fn folder(
        &mut self,
        path: &Path,
        extent: Extent,
        naming: Naming<'_>,
    ) -> Result<Result<Kind, Obstacle>, DiscoveryError> {
        if !is_portable(path) {
            return Ok(Err(Obstacle::Name));
        }
        match extent {
            Extent::Empty => self.insert(path.to_owned(), Entry::Folder, naming.reason)?,
            Extent::Listing | Extent::Whole => {
                let named = naming.named.to_owned();
                // Obstacles inside a folder that was itself ignored, and named, are judged from it downwards.
                let named = if path.starts_with(&named) { named } else { path.to_owned() };
                let naming = Naming { named: &named, ..naming };
                if let Err(error) = self.walk(path, extent, naming, &mut Vec::new())? {
                    return Ok(Err(obstacle_of(&error)));
                }
            }
        }
        Ok(Ok(Kind::Folder))
    }

    /// Takes what is in a folder. `above` holds the folders in which we are, by device and inode: a link that leads
    /// back to one of them is not followed.
    fn walk(
        &mut self,
        folder: &Path,
        extent: Extent,
        naming: Naming<'_>,
        above: &mut Vec<(u64, u64)>,
    ) -> Result<io::Result<()>, DiscoveryError> {
        let whole = extent == Extent::Whole;
        let read = if whole { &mut self.taken } else { &mut self.listed };
        if !read.insert(folder.to_owned()) {
            return Ok(Ok(()));
        }
        let (metadata, entries) = match fs::metadata(folder).and_then(|m| Ok((m, fs::read_dir(folder)?))) {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        let identity = (metadata.dev(), metadata.ino());
        if above.contains(&identity) || above.len() > FOLDER_DEPTH_MAX {
            self.leave(folder, Obstacle::Dangling, naming.reason);
            return Ok(Ok(()));
        }
        self.insert(folder.to_owned(), Entry::Folder, naming.reason)?;
        above.push(identity);
        for entry in entries {
            let Ok(entry) = entry else { continue };
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            let is_folder = kind.is_dir() || (kind.is_symlink() && path.is_dir());
            let obstacle = self.rules.obstacle_of_entry(&path, is_folder, naming.named, naming.strictness);
            let taken = match obstacle {
                Some(obstacle) => Err(obstacle),
                None if kind.is_symlink() => {
                    // Its target may lie anywhere, and is judged from its own root.
                    let extent = if whole { Extent::Whole } else { Extent::Empty };
                    self.linked(&path, is_folder, extent, naming, above)?
                }
                None if kind.is_dir() && whole => self
                    .walk(&path, extent, naming, above)?
                    .map(|()| Kind::Folder)
                    .map_err(|e| obstacle_of(&e)),
                None if kind.is_dir() => self.folder(&path, Extent::Empty, naming)?,
                None => match entry.metadata() {
                    Ok(metadata) => self.file(&path, &metadata, naming.reason)?,
                    Err(error) => Err(obstacle_of(&error)),
                },
            };
            if let Err(obstacle) = taken
                && path.file_name().is_none_or(|name| name != "__pycache__")
            {
                self.leave(&path, obstacle, naming.reason);
            }
        }
        above.pop();
        Ok(Ok(()))
    }

    /// Takes a link met in a folder: as a link when its target travels too, else what it leads to.
    fn linked(
        &mut self,
        path: &Path,
        is_folder: bool,
        extent: Extent,
        naming: Naming<'_>,
        above: &mut Vec<(u64, u64)>,
    ) -> Result<Result<Kind, Obstacle>, DiscoveryError> {
        let stays_link = match self.settle(path, 0) {
            Ok(settled) => !settled.links.is_empty(),
            Err(obstacle) => return Ok(Err(obstacle)),
        };
        if is_folder && !stays_link && extent == Extent::Whole {
            let walked = self.walk(path, extent, naming, above)?;
            return Ok(walked.map(|()| Kind::Folder).map_err(|error| obstacle_of(&error)));
        }
        self.try_add(path, extent, naming)
    }

    /// Follows the links in a path, as far as their targets lie below the same roots.
    fn settle(&mut self, path: &Path, hops: usize) -> Result<Settled, Obstacle> {
        if hops > LINK_HOPS_MAX {
            return Err(Obstacle::Dangling);
        }
        let within = |path: &Path| self.link_roots.iter().find(|root| path.starts_with(root));
        let Some(root) = within(path).cloned() else {
            return Ok(Settled { path: path.to_owned(), links: Vec::new() });
        };
        let mut at = root.clone();
        let parts: Vec<_> =
            path.strip_prefix(&root).map(|rest| rest.components().collect()).unwrap_or_default();
        for (place, part) in parts.iter().enumerate() {
            at.push(part);
            if self.plain.contains(&at) {
                continue;
            }
            let metadata = at.symlink_metadata().map_err(|error| obstacle_of(&error))?;
            if metadata.is_symlink() {
                let target = fs::read_link(&at).map_err(|error| obstacle_of(&error))?;
                let folder = at.parent().expect("a link lies in a folder");
                let leads_to = absolute(folder, &target);
                if within(&leads_to).is_some() {
                    let Some(target) = target.to_str() else {
                        return Err(Obstacle::Name);
                    };
                    let rest = leads_to.join(parts[place + 1..].iter().collect::<PathBuf>());
                    let mut settled = self.settle(&rest, hops + 1)?;
                    settled.links.insert(0, (at, target.to_owned()));
                    return Ok(settled);
                }
            }
            self.plain.insert(at.clone());
        }
        Ok(Settled { path: at, links: Vec::new() })
    }
}

fn is_portable(path: &Path) -> bool {
    path.to_str().is_some_and(|text| {
        text.len() <= PATH_BYTES_MAX && text.split('/').all(|name| name.len() <= NAME_BYTES_MAX)
    })
}

fn obstacle_of(error: &io::Error) -> Obstacle {
    let is_dangling =
        error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ELOOP);
    if is_dangling { Obstacle::Dangling } else { Obstacle::Unreadable(error.to_string()) }
}
