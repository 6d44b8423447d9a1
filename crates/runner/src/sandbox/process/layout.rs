//! What a job sees as its file system: the lists as data, and the arguments they become for bubblewrap.
//!
//! Mount points are made here, on the host's side and without following a link: bubblewrap would follow one that a
//! hostile workspace brings, as root.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use super::super::{JobSpec, SandboxError};
use super::etc::{self, SlotEtc};
use super::graft::{self, Graft, Grafts};

/// Folders of the host that every job sees read-only; a link (as `/bin` on a merged system) becomes the same link.
const SYSTEM_FOLDERS: &[&str] =
    &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store"];

/// Folders every root has, with their modes; jobs write to temporary ones.
const FOLDERS: &[(&str, u32)] = &[
    ("proc", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("run", 0o755),
    ("run/rgrid", 0o755),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("var/tmp", 0o1777),
];

/// Where the launcher lies inside.
pub(super) const LAUNCHER: &str = "/run/rgrid/launch";

/// Mounts of one job; bubblewrap takes 9,000 arguments, three each.
const MOUNTS_MAX: usize = 2_500;

/// The host's part of every root, looked up once.
#[derive(Debug)]
pub(super) struct Layout {
    /// Bound read-only.
    folders: Vec<PathBuf>,
    /// Bound read-only on the slot's `/etc`.
    folders_of_etc: Vec<PathBuf>,
    /// Links in the root, with their targets.
    links: Vec<(PathBuf, PathBuf)>,
}

impl Layout {
    pub(super) fn of_this_host() -> Self {
        let of_etc =
            etc::BOUND.iter().map(|name| Path::new("/etc").join(name)).filter(|folder| folder.is_dir());
        let mut layout = Self { folders: Vec::new(), folders_of_etc: of_etc.collect(), links: Vec::new() };
        for folder in SYSTEM_FOLDERS.iter().map(PathBuf::from) {
            match fs::symlink_metadata(&folder) {
                Ok(found) if found.is_symlink() => {
                    if let Ok(target) = fs::read_link(&folder) {
                        layout.links.push((folder, target));
                    }
                }
                Ok(found) if found.is_dir() => layout.folders.push(folder),
                Ok(_) | Err(_) => {}
            }
        }
        layout
    }

    /// The folders of `/` that stay read-only inside, for the second layer.
    pub(super) fn read_only(&self) -> Vec<PathBuf> {
        let top = |path: &PathBuf| path.components().take(2).collect::<PathBuf>();
        self.folders.iter().map(top).chain([PathBuf::from("/etc"), PathBuf::from("/run")]).collect()
    }

    /// Makes the root ready and returns the arguments that mount everything.
    pub(super) fn mount(
        &self,
        job: &JobSpec,
        etc: &mut SlotEtc,
        launcher: &Path,
    ) -> Result<Vec<OsString>, SandboxError> {
        let mounts = self.folders.len() + job.read_only_binds.len() + job.file_binds.len();
        if mounts > MOUNTS_MAX {
            return Err(SandboxError::Refused(format!("{mounts} mounts are more than {MOUNTS_MAX}")));
        }
        self.make_root(&job.root).map_err(|source| {
            let step = format!("prepare the root {}", job.root.display());
            SandboxError::System { step, source }
        })?;
        let mut arguments = Arguments::default();
        arguments.bind("--bind", &job.root, Path::new("/"));
        for folder in &self.folders {
            arguments.bind("--ro-bind", folder, folder);
        }
        arguments.bind("--ro-bind", etc.folder(), Path::new("/etc"));
        for folder in &self.folders_of_etc {
            arguments.bind("--ro-bind", folder, folder);
        }
        arguments.words(["--proc", "/proc", "--dev", "/dev"]);
        let shared = job.limits.memory_bytes.max(1).to_string();
        arguments.words(["--perms", "1777", "--size", &shared, "--tmpfs", "/dev/shm"]);
        // Only what lies there already is used: a file beside the devices would be memory that nobody counts.
        arguments.words(["--remount-ro", "/dev"]);
        let binds = job.read_only_binds.iter().map(|(host, inside)| (host, inside, false));
        let files = job.file_binds.iter().map(|(host, inside, writable)| (host, inside, *writable));
        let mut binds_inside = Vec::new();
        let mut grafts = Grafts::new();
        for (host, inside, writable) in binds.chain(files) {
            job.refuse_link(host, inside)?;
            let inside = self.resolve(inside)?;
            if let Some(graft) = self.make_mount_point(job, etc, host, &inside)? {
                grafts.entry(graft).or_default().push(inside.clone());
            }
            binds_inside.push((host, inside, writable));
        }
        graft::build(&grafts, &mut arguments)?;
        for (host, inside, writable) in binds_inside {
            arguments.bind(if writable { "--bind" } else { "--ro-bind" }, host, &inside);
        }
        graft::close(&grafts, &mut arguments);
        arguments.bind("--ro-bind", launcher, Path::new(LAUNCHER));
        Ok(arguments.0)
    }

    /// Makes every mount point that is the same for all jobs.
    pub(super) fn make_root(&self, root: &Path) -> io::Result<()> {
        let own = fs::symlink_metadata(root)?;
        if !own.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory));
        }
        if own.permissions().mode() & 0o055 != 0o055 {
            fs::set_permissions(root, fs::Permissions::from_mode(own.permissions().mode() | 0o055))?;
        }
        for (folder, mode) in FOLDERS {
            let path = root.join(folder);
            if make_folder(&path)? {
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
            }
        }
        for folder in &self.folders {
            make_folders(root, folder)?;
        }
        for (link, target) in &self.links {
            let path = root.join(inner(link));
            match symlink(target, &path) {
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists && fs::read_link(&path)? == *target => {}
                made => made?,
            }
        }
        make_file(root, Path::new(LAUNCHER))
    }

    /// A path inside, with a link of the root itself (`/bin`) followed.
    fn resolve(&self, inside: &Path) -> Result<PathBuf, SandboxError> {
        let plain = inside.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if !inside.is_absolute() || !plain || inside == Path::new("/") {
            return Err(SandboxError::Refused(format!("{} is no place for a mount", inside.display())));
        }
        let linked = self.links.iter().find_map(|(link, target)| {
            let rest = inside.strip_prefix(link).ok()?;
            Some(Path::new("/").join(target).join(rest))
        });
        Ok(linked.unwrap_or_else(|| inside.to_owned()))
    }

    /// Makes what a bind is mounted on; where nothing can be made, says what must be built again.
    fn make_mount_point(
        &self,
        job: &JobSpec,
        etc: &mut SlotEtc,
        host: &Path,
        inside: &Path,
    ) -> Result<Option<Graft>, SandboxError> {
        let is_folder = fs::metadata(host).map_err(|source| {
            let step = format!("find {}, which the job shall see", host.display());
            SandboxError::System { step, source }
        })?;
        let is_folder = is_folder.is_dir();
        let below_bound = |bound: &Path| inside != bound && inside.starts_with(bound);
        let covering = self
            .folders
            .iter()
            .chain(&self.folders_of_etc)
            .map(|folder| (folder.as_path(), folder.as_path()))
            .chain(job.read_only_binds.iter().map(|(host, inside)| (host.as_path(), inside.as_path())))
            .filter(|(_, bound)| below_bound(bound))
            .max_by_key(|(_, bound)| bound.components().count());
        if let Some((bound_host, bound)) = covering {
            let there = bound_host.join(inside.strip_prefix(bound).unwrap_or(Path::new("")));
            let is_there = fs::metadata(&there).is_ok_and(|found| found.is_dir() == is_folder);
            return Ok((!is_there).then(|| Graft::above(inside, bound, bound_host)));
        }
        let (root, path) = match inside.strip_prefix("/etc") {
            Ok(below) => (etc.changed_folder(), Path::new("/").join(below)),
            Err(_) => (job.root.as_path(), inside.to_owned()),
        };
        let made = if is_folder { make_folders(root, &path) } else { make_file(root, &path) };
        made.map_err(SandboxError::system(format!("make the mount point {}", inside.display())))?;
        Ok(None)
    }
}

/// A path inside, relative to the root.
fn inner(inside: &Path) -> &Path {
    inside.strip_prefix("/").unwrap_or(inside)
}

/// Makes one folder; true when it was not there. What is there must be a folder, not a link to one.
fn make_folder(path: &Path) -> io::Result<bool> {
    match fs::DirBuilder::new().mode(0o755).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(path)?.is_dir() {
                Ok(false)
            } else {
                Err(io::Error::from(io::ErrorKind::NotADirectory))
            }
        }
        Err(error) => Err(error),
    }
}

fn make_folders(root: &Path, inside: &Path) -> io::Result<()> {
    let mut path = root.to_owned();
    for part in inner(inside).components() {
        path.push(part);
        if make_folder(&path)? {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

fn make_file(root: &Path, inside: &Path) -> io::Result<()> {
    if let Some(parent) = inside.parent() {
        make_folders(root, parent)?;
    }
    let path = root.join(inner(inside));
    match fs::File::create_new(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(&path)?.is_file() {
                Ok(())
            } else {
                Err(io::Error::from(io::ErrorKind::InvalidInput))
            }
        }
        made => made.map(drop),
    }
}

/// Arguments of bubblewrap.
#[derive(Debug, Default)]
pub(super) struct Arguments(pub(super) Vec<OsString>);

impl Arguments {
    /// Adds words as they are.
    pub(super) fn words<W: AsRef<OsStr>>(&mut self, words: impl IntoIterator<Item = W>) {
        self.0.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
    }

    /// Adds a mount of the host's first path at the second inside.
    pub(super) fn bind(&mut self, kind: &str, host: &Path, inside: &Path) {
        self.words([OsStr::new(kind), host.as_os_str(), inside.as_os_str()]);
    }
}
