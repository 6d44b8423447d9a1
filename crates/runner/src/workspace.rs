//! The folder that becomes `/` inside a sandbox: made ahead, filled with what was sent, compared afterwards.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid};
use rgrid_api::executions::InputBody;
use rgrid_core::limits;

use crate::blob_cache::{BlobCache, BlobKey};
use crate::remove::remove_tree;
use crate::sandbox::{Place, Sandbox};

/// The job's `HOME`: an empty folder that is nobody's.
pub(crate) const HOME: &str = "/rgrid/home";
/// Folders that every script may write.
const OPEN_FOLDERS: [&str; 2] = ["tmp", "var/tmp"];

/// What tells a changed file from an unchanged one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) size_bytes: u64,
    pub(crate) modified_ns: i128,
    pub(crate) status_changed_ns: i128,
    pub(crate) inode: u64,
}

impl From<&fs::Metadata> for Stamp {
    fn from(metadata: &fs::Metadata) -> Self {
        let ns = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            size_bytes: metadata.size(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            status_changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }
}

/// What lay in the workspace just before the start, by the path inside.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) files: HashMap<PathBuf, Stamp>,
    pub(crate) folders: HashSet<PathBuf>,
}

/// One attempt's folder.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// What becomes `/`.
    pub(crate) root: PathBuf,
    folder: PathBuf,
    place: Place,
    owner: Option<(Uid, Gid)>,
    pub(crate) snapshot: Snapshot,
}

/// Makes workspaces, one ahead for each slot.
pub(crate) struct Workspaces {
    sandbox: Sandbox,
    numbers: AtomicU64,
    slots: Vec<Mutex<Ahead>>,
}

/// What is made ahead for a slot.
struct Ahead {
    ready: Option<Workspace>,
    /// Of disk, what the slot's last attempt wanted: the next will want the same.
    bytes: u64,
}

impl Workspaces {
    /// Clears what an earlier runner left.
    pub(crate) fn open(sandbox: Sandbox, slots: u32) -> std::io::Result<Self> {
        for slot in 0..slots {
            let folder = sandbox.workspace_folder(slot);
            fs::create_dir_all(&folder)?;
            for left in fs::read_dir(&folder)?.flatten() {
                // Only what `make` named: the folder of a mounted file system holds entries of its own.
                if left.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
                    remove_tree(&left.path());
                }
            }
        }
        let ahead = || Mutex::new(Ahead { ready: None, bytes: limits::DISK_BYTES });
        let slots = (0..slots).map(|_| ahead()).collect();
        Ok(Self { sandbox, numbers: AtomicU64::new(0), slots })
    }

    /// A workspace for an attempt in `slot` that may use `bytes` of disk. One that is being made is waited for.
    pub(crate) fn take(&self, slot: u32, bytes: u64) -> std::io::Result<Workspace> {
        let ready = {
            let mut ahead = self.ahead(slot)?;
            ahead.bytes = bytes;
            ahead.ready.take()
        };
        if let Some(mut ready) = ready {
            if ready.place.bound(bytes)? {
                return Ok(ready);
            }
            ready.remove();
        }
        self.make(slot, bytes)
    }

    /// Makes the next one of `slot` ahead, if there is none.
    pub(crate) fn prepare(&self, slot: u32) -> std::io::Result<()> {
        let mut ahead = self.ahead(slot)?;
        if ahead.ready.is_none() {
            ahead.ready = Some(self.make(slot, ahead.bytes)?);
        }
        Ok(())
    }

    /// Removes those that were made ahead.
    pub(crate) fn close(&self) {
        for slot in &self.slots {
            let ready = slot.lock().unwrap_or_else(PoisonError::into_inner).ready.take();
            if let Some(ready) = ready {
                ready.remove();
            }
        }
    }

    fn ahead(&self, slot: u32) -> std::io::Result<MutexGuard<'_, Ahead>> {
        let ahead = self.slots.get(slot as usize);
        let ahead = ahead.ok_or_else(|| std::io::Error::other(format!("there is no slot {slot}")))?;
        Ok(ahead.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn make(&self, slot: u32, bytes: u64) -> std::io::Result<Workspace> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let place = self.sandbox.place(slot, bytes)?;
        let owner = self.sandbox.job_uid(slot).map(|(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid)));
        let workspace = Workspace::make(place, &format!("{PREFIX}{slot}-{number}"), owner)?;
        // What the sandbox would else make while the script waits.
        self.sandbox.prepare_root(&workspace.root)?;
        Ok(workspace)
    }
}

/// How folders of workspaces begin.
const PREFIX: &str = "attempt-";

impl Workspace {
    /// Makes an empty workspace of this name whose files belong to `owner`.
    pub(crate) fn make(place: Place, name: &str, owner: Option<(Uid, Gid)>) -> std::io::Result<Self> {
        let folder = place.folder().join(name);
        // Others may pass, for the job's user must; they see nothing, for the runner's folder above is closed.
        fs::DirBuilder::new().mode(0o711).create(&folder)?;
        let root = folder.join("root");
        let mut workspace = Self { root, folder, place, owner, snapshot: Snapshot::default() };
        fs::DirBuilder::new().mode(0o755).create(&workspace.root)?;
        workspace.own(&workspace.root)?;
        workspace.snapshot.folders.insert(PathBuf::from("/"));
        for open in OPEN_FOLDERS {
            let path = Path::new("/").join(open);
            workspace.make_folder(&path)?;
            fs::set_permissions(workspace.host(&path), Permissions::from_mode(0o1777))?;
        }
        workspace.make_folder(Path::new(HOME))?;
        Ok(workspace)
    }

    /// Where a path of the inside lies on the machine.
    pub(crate) fn host(&self, inside: &Path) -> PathBuf {
        self.root.join(inside.strip_prefix("/").unwrap_or(inside))
    }

    fn own(&self, path: &Path) -> std::io::Result<()> {
        match self.owner {
            Some((uid, gid)) => Ok(nix::unistd::fchownat(
                nix::fcntl::AT_FDCWD,
                path,
                Some(uid),
                Some(gid),
                nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW,
            )?),
            None => Ok(()),
        }
    }

    /// Makes a folder and those above it.
    pub(crate) fn make_folder(&mut self, inside: &Path) -> std::io::Result<()> {
        if self.snapshot.folders.contains(inside) {
            return Ok(());
        }
        // Paths come parsed, but this is the place where a `..` would do harm.
        if !inside.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_))) {
            return Err(std::io::Error::other(format!("{inside:?} is not an absolute, normal path")));
        }
        if let Some(above) = inside.parent() {
            self.make_folder(above)?;
        }
        let host = self.host(inside);
        fs::DirBuilder::new().mode(0o755).create(&host)?;
        self.own(&host)?;
        self.snapshot.folders.insert(inside.to_owned());
        Ok(())
    }

    /// Puts everything that was sent in its place. Nothing of the job runs yet, so paths may be trusted.
    pub(crate) fn place<'a>(
        &mut self,
        account: &str,
        inputs: impl Iterator<Item = &'a InputBody>,
        cache: &BlobCache,
    ) -> std::io::Result<()> {
        let account = account.parse().map_err(std::io::Error::other)?;
        let mut links = Vec::new();
        for input in inputs {
            match input {
                InputBody::File { path, sha256, mode, modified_ns, .. } => {
                    let sha256 = sha256.parse().map_err(std::io::Error::other)?;
                    let from = cache.path(BlobKey { account, sha256 });
                    self.place_file(Path::new(path), &from, *mode, *modified_ns)?;
                }
                InputBody::Folder { path } => self.make_folder(Path::new(path))?,
                InputBody::Symlink { path, target } => links.push((Path::new(path), target)),
            }
        }
        // Links come last, so that nothing is ever placed through one.
        for (path, target) in links {
            self.make_parent(path)?;
            let host = self.host(path);
            std::os::unix::fs::symlink(target, &host)?;
            self.own(&host)?;
            self.snapshot.files.insert(path.to_owned(), Stamp::from(&fs::symlink_metadata(&host)?));
        }
        Ok(())
    }

    fn make_parent(&mut self, inside: &Path) -> std::io::Result<()> {
        self.make_folder(inside.parent().unwrap_or(Path::new("/")))
    }

    /// Copies a blob to its place: the file system clones it where it can, and a job that writes in place writes
    /// its own copy.
    pub(crate) fn place_file(
        &mut self,
        inside: &Path,
        from: &Path,
        mode: u32,
        modified_ns: i64,
    ) -> std::io::Result<()> {
        self.make_parent(inside)?;
        let host = self.host(inside);
        let mut source = File::open(from)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&host)?;
        std::io::copy(&mut source, &mut file)?;
        if let Some((uid, gid)) = self.owner {
            nix::unistd::fchown(&file, Some(uid), Some(gid))?;
        }
        file.set_permissions(Permissions::from_mode(mode & 0o777))?;
        let modified =
            TimeSpec::new(modified_ns.div_euclid(1_000_000_000), modified_ns.rem_euclid(1_000_000_000));
        futimens(&file, &modified, &modified)?;
        self.snapshot.files.insert(inside.to_owned(), Stamp::from(&file.metadata()?));
        Ok(())
    }

    /// Makes what a bind of `host` at `inside` is mounted on, so that the sandbox need not and the comparison does
    /// not take it for the job's work.
    pub(crate) fn make_mount_point(&mut self, host: &Path, inside: &Path) -> std::io::Result<()> {
        if host.is_dir() {
            return self.make_folder(inside);
        }
        self.make_parent(inside)?;
        let point = self.host(inside);
        if !self.snapshot.files.contains_key(inside) {
            let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&point)?;
            self.snapshot.files.insert(inside.to_owned(), Stamp::from(&file.metadata()?));
        }
        Ok(())
    }

    /// Removes it, whatever the job left in it.
    pub(crate) fn remove(self) {
        remove_tree(&self.folder);
        self.place.vacate();
    }
}
