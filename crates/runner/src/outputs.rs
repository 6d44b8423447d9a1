//! What a job left behind: files that are new or changed since the start, told apart by where they lie.
//!
//! The folder was a hostile job's, so no path of it is ever trusted: every step down is an `openat` that follows no
//! link. Nothing of the job runs any more, so nothing moves meanwhile.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstatat};
use rgrid_api::artifacts::{Artifact, ArtifactKind};
use rgrid_core::limits;
use rgrid_core::path::PATH_BYTES_MAX;
use sha2::Digest;

use crate::workspace::{Snapshot, Stamp};

/// Files that are named although they are not brought back.
const NOT_BROUGHT_BACK_MAX: usize = 100;
/// Folders deeper than this are not looked into: no sane path is.
const DEPTH_MAX: usize = 256;
/// Files and folders that are looked at: a disk full of empty files must not fill the memory.
const ENTRIES_MAX: usize = 20 * limits::OUTPUT_FILES_MAX;
/// Piece in which a file is hashed.
const HASH_BYTES: usize = 256 << 10;
/// Folders that are the sandbox's own.
const SANDBOX_FOLDERS: [&str; 4] = ["/proc", "/dev", "/sys", "/run/rgrid"];

/// What a job left behind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outputs {
    /// What comes back, by path.
    pub(crate) artifacts: Vec<Artifact>,
    /// What does not, escaped for a terminal.
    pub(crate) not_brought_back: Vec<String>,
}

/// Why there is no set of outputs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// More than may be brought back.
    #[error("{size_bytes} bytes in {files} files are more than may be brought back")]
    TooLarge { size_bytes: u64, files: usize },
    /// The folder cannot be read.
    #[error("the workspace cannot be read")]
    Io(#[from] io::Error),
}

/// What is looked for.
pub(crate) struct Wanted<'a> {
    /// Folders below which everything comes back, and further files or folders that do.
    pub(crate) roots: Vec<&'a Path>,
    /// All files together may have this many bytes.
    pub(crate) bytes_max: u64,
}

struct Scan<'a> {
    wanted: &'a Wanted<'a>,
    snapshot: &'a Snapshot,
    found: Outputs,
    size_bytes: u64,
    files: usize,
    entries: usize,
}

/// Compares `root` with what lay there at the start. Hashes what comes back.
pub(crate) fn scan(root: &Path, snapshot: &Snapshot, wanted: &Wanted<'_>) -> Result<Outputs, OutputError> {
    let mut scan = Scan { wanted, snapshot, found: Outputs::default(), size_bytes: 0, files: 0, entries: 0 };
    let top = nix::fcntl::open(root, FOLDER, Mode::empty()).map_err(io::Error::from)?;
    scan.folder(top, Path::new("/"), 0)?;
    let bytes_max = wanted.bytes_max.min(limits::OUTPUT_BYTES_MAX);
    if scan.size_bytes > bytes_max || scan.files > limits::OUTPUT_FILES_MAX {
        return Err(OutputError::TooLarge { size_bytes: scan.size_bytes, files: scan.files });
    }
    let mut outputs = scan.found;
    outputs.artifacts.sort_by(|a, b| a.path.cmp(&b.path));
    for artifact in outputs.artifacts.iter_mut().filter(|artifact| !artifact.folder) {
        let mut file = open_beneath(root, Path::new(&artifact.path))?;
        let (sha256, size_bytes) = hash(&mut file)?;
        artifact.sha256 = Some(sha256);
        artifact.size_bytes = size_bytes;
    }
    Ok(outputs)
}

const FOLDER: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
const FILE: OFlag = OFlag::O_RDONLY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC).union(OFlag::O_NONBLOCK);

/// What a folder held, as far as its own return is concerned.
#[derive(PartialEq, Eq)]
enum Content {
    Nothing,
    Something,
}

impl Scan<'_> {
    fn folder(&mut self, folder: OwnedFd, path: &Path, depth: usize) -> io::Result<Content> {
        let mut dir = Dir::from_fd(folder)?;
        let mut names: Vec<std::ffi::CString> = Vec::new();
        for entry in dir.iter() {
            let entry = entry?;
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(io::Error::other("the job left more files than can be looked at"));
            }
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        names.sort();
        let mut content = Content::Nothing;
        for name in names {
            if name.to_bytes() == b"__pycache__" || name.to_bytes().ends_with(b".pyc") {
                continue;
            }
            content = Content::Something;
            let inside = path.join(OsStr::from_bytes(name.to_bytes()));
            let stat = fstatat(&dir, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
            match kind {
                SFlag::S_IFDIR => self.subfolder(&dir, &name, &inside, &stat, depth)?,
                SFlag::S_IFREG => self.file(&dir, &name, &inside, &stat)?,
                SFlag::S_IFLNK if self.is_wanted(&inside) && self.is_changed(&inside, &stat) => {
                    self.leave(&inside)
                }
                // A link elsewhere, a pipe, a socket or a device is no output.
                _ => {}
            }
        }
        Ok(content)
    }

    fn subfolder(
        &mut self,
        dir: &Dir,
        name: &CStr,
        inside: &Path,
        stat: &FileStat,
        depth: usize,
    ) -> io::Result<()> {
        if SANDBOX_FOLDERS.iter().any(|folder| inside == Path::new(folder)) {
            return Ok(());
        }
        if depth >= DEPTH_MAX || inside.as_os_str().len() > PATH_BYTES_MAX {
            self.leave(inside);
            return Ok(());
        }
        let opened = match openat(dir, name, FOLDER, Mode::empty()) {
            // Its owner closed it to himself.
            Err(Errno::EACCES) => {
                fchmodat(dir, name, Mode::S_IRWXU, FchmodatFlags::FollowSymlink)?;
                openat(dir, name, FOLDER, Mode::empty())?
            }
            other => other?,
        };
        let content = self.folder(opened, inside, depth + 1)?;
        if content == Content::Nothing && !self.snapshot.folders.contains(inside) && self.is_wanted(inside) {
            self.bring(inside, stat, true);
        }
        Ok(())
    }

    fn file(&mut self, dir: &Dir, name: &CStr, inside: &Path, stat: &FileStat) -> io::Result<()> {
        if !self.is_changed(inside, stat) {
            return Ok(());
        }
        if !self.is_wanted(inside) {
            self.leave(inside);
            return Ok(());
        }
        match openat(dir, name, FILE, Mode::empty()) {
            Err(Errno::EACCES) => {
                fchmodat(dir, name, Mode::S_IRUSR | Mode::S_IWUSR, FchmodatFlags::FollowSymlink)?
            }
            other => drop(other?),
        }
        self.bring(inside, stat, false);
        Ok(())
    }

    fn is_wanted(&self, inside: &Path) -> bool {
        self.wanted.roots.iter().any(|root| inside.starts_with(root))
    }

    fn is_changed(&self, inside: &Path, stat: &FileStat) -> bool {
        self.snapshot.files.get(inside) != Some(&stamp(stat))
    }

    fn bring(&mut self, inside: &Path, stat: &FileStat, folder: bool) {
        // A name that is no text cannot travel, and one with a line end is somebody's trap.
        let Some(path) = inside.to_str().filter(|path| !path.contains('\n') && path.len() <= PATH_BYTES_MAX)
        else {
            self.leave(inside);
            return;
        };
        self.files += 1;
        let size_bytes = if folder { 0 } else { stat.st_size.unsigned_abs() };
        self.size_bytes = self.size_bytes.saturating_add(size_bytes);
        if self.files > limits::OUTPUT_FILES_MAX {
            // Counted on, so that the message can say how many; kept no more.
            return;
        }
        self.found.artifacts.push(Artifact {
            kind: ArtifactKind::Output,
            path: path.to_owned(),
            sha256: None,
            size_bytes,
            mode: stat.st_mode & 0o777,
            modified_ns: stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec),
            folder,
            url: None,
        });
    }

    fn leave(&mut self, inside: &Path) {
        if self.found.not_brought_back.len() < NOT_BROUGHT_BACK_MAX {
            self.found.not_brought_back.push(escaped(inside));
        }
    }
}

fn stamp(stat: &FileStat) -> Stamp {
    let ns = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    Stamp {
        size_bytes: stat.st_size.unsigned_abs(),
        modified_ns: ns(stat.st_mtime, stat.st_mtime_nsec),
        status_changed_ns: ns(stat.st_ctime, stat.st_ctime_nsec),
        inode: stat.st_ino,
    }
}

/// A path with everything escaped that a terminal would obey.
pub(crate) fn escaped(path: &Path) -> String {
    let mut text = String::new();
    for part in path.as_os_str().as_bytes().utf8_chunks() {
        for c in part.valid().chars() {
            if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
        }
        for byte in part.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Opens a regular file of the inside, following no link on the whole way.
pub(crate) fn open_beneath(root: &Path, inside: &Path) -> io::Result<File> {
    let mut folder = nix::fcntl::open(root, FOLDER, Mode::empty())?;
    let relative = inside.strip_prefix("/").map_err(io::Error::other)?;
    let names: Vec<&OsStr> = relative.iter().collect();
    let Some((name, above)) = names.split_last() else {
        return Err(io::Error::other("the root is no file"));
    };
    for part in above {
        folder = openat(folder.as_fd(), *part, FOLDER, Mode::empty())?;
    }
    let file = File::from(openat(folder.as_fd(), *name, FILE, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok(file)
}

fn hash(file: &mut File) -> io::Result<(String, u64)> {
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; HASH_BYTES.min(file.metadata()?.len() as usize + 1)];
    let mut size_bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => {
                hasher.update(&buffer[..count]);
                size_bytes += count as u64;
            }
        }
    }
    Ok((rgrid_core::submission::Sha256(hasher.finalize().into()).to_string(), size_bytes))
}

/// What the lease wants back, as paths.
pub(crate) fn wanted(lease: &rgrid_api::workers::Lease) -> Wanted<'_> {
    let roots = lease.output_roots.iter().chain(&lease.outputs).map(Path::new);
    Wanted {
        roots: roots.chain([Path::new(&lease.project_root)]).collect(),
        bytes_max: lease.output_bytes_max,
    }
}

/// The same, as owned paths of folders that must be there and writable.
pub(crate) fn output_roots(lease: &rgrid_api::workers::Lease) -> Vec<PathBuf> {
    lease.output_roots.iter().chain([&lease.project_root]).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::sandbox::Place;
    use crate::workspace::Workspace;

    struct Case {
        _folder: tempfile::TempDir,
        workspace: Workspace,
    }

    impl Case {
        /// A project at `/p` with `/p/in.txt` that was sent.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let mut workspace = Workspace::make(Place::watched(folder.path().to_owned()), "a", None).unwrap();
            workspace.make_folder(Path::new("/p/sub")).unwrap();
            let blob = folder.path().join("blob");
            fs::write(&blob, "sent").unwrap();
            workspace.place_file(Path::new("/p/in.txt"), &blob, 0o644, 1_700_000_000_123_456_789).unwrap();
            Self { _folder: folder, workspace }
        }

        fn at(&self, inside: &str) -> PathBuf {
            self.workspace.host(Path::new(inside))
        }

        fn scan(&self) -> Result<Outputs, OutputError> {
            let wanted = Wanted { roots: vec![Path::new("/p"), Path::new("/tmp/asked")], bytes_max: 1000 };
            scan(&self.workspace.root, &self.workspace.snapshot, &wanted)
        }

        fn paths(&self) -> Vec<String> {
            self.scan().unwrap().artifacts.into_iter().map(|artifact| artifact.path).collect()
        }
    }

    #[test]
    fn what_was_sent_and_not_touched_does_not_come_back() {
        let case = Case::new();
        assert_eq!(case.scan().unwrap(), Outputs::default());
        let metadata = fs::metadata(case.at("/p/in.txt")).unwrap();
        assert_eq!(Stamp::from(&metadata).modified_ns, 1_700_000_000_123_456_789);
    }

    #[test]
    fn new_changed_and_renamed_files_come_back_with_hash_mode_and_time() {
        let case = Case::new();
        fs::write(case.at("/p/in.txt"), "SENT").unwrap();
        fs::write(case.at("/p/sub/new"), "new").unwrap();
        fs::set_permissions(case.at("/p/sub/new"), fs::Permissions::from_mode(0o750)).unwrap();
        let outputs = case.scan().unwrap();
        let [changed, new] = outputs.artifacts.as_slice() else { panic!("{outputs:?}") };
        assert_eq!((changed.path.as_str(), changed.size_bytes), ("/p/in.txt", 4));
        assert_eq!((new.path.as_str(), new.mode, new.size_bytes), ("/p/sub/new", 0o750, 3));
        let sha = "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437";
        assert_eq!(new.sha256.as_deref(), Some(sha));
        fs::rename(case.at("/p/in.txt"), case.at("/p/renamed")).unwrap();
        assert_eq!(case.paths(), ["/p/renamed", "/p/sub/new"]);
    }

    #[test]
    fn a_change_that_keeps_size_and_time_is_seen() {
        let case = Case::new();
        let path = case.at("/p/in.txt");
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "tens").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
        assert_eq!(case.paths(), ["/p/in.txt"]);
    }

    #[test]
    fn files_elsewhere_are_named_and_those_asked_for_come_back() {
        let case = Case::new();
        fs::write(case.at("/tmp/asked"), "x").unwrap();
        fs::write(case.at("/tmp/other"), "x").unwrap();
        fs::create_dir(case.at("/tmp/folder")).unwrap();
        let outputs = case.scan().unwrap();
        assert_eq!(outputs.artifacts[0].path, "/tmp/asked");
        assert_eq!(outputs.not_brought_back, ["/tmp/other"]);
    }

    #[test]
    fn bytecode_is_nobodys_output_and_empty_folders_come_back() {
        let case = Case::new();
        fs::create_dir_all(case.at("/p/pkg/__pycache__")).unwrap();
        fs::write(case.at("/p/pkg/__pycache__/m.cpython-312.pyc"), "x").unwrap();
        fs::write(case.at("/p/sub/old.pyc"), "x").unwrap();
        let outputs = case.scan().unwrap();
        assert_eq!(outputs.not_brought_back, Vec::<String>::new());
        let [folder] = outputs.artifacts.as_slice() else { panic!("{outputs:?}") };
        assert!(folder.folder && folder.path == "/p/pkg" && folder.sha256.is_none());
    }

    #[test]
    fn links_pipes_and_sockets_lead_nowhere() {
        let case = Case::new();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "secret").unwrap();
        symlink(outside.path().join("secret"), case.at("/p/link")).unwrap();
        symlink(outside.path(), case.at("/p/folder")).unwrap();
        fs::remove_dir(case.at("/p/sub")).unwrap();
        symlink(outside.path(), case.at("/p/sub")).unwrap();
        nix::unistd::mkfifo(&case.at("/p/pipe"), Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(case.at("/p/socket")).unwrap();
        let outputs = case.scan().unwrap();
        assert_eq!(outputs.artifacts, []);
        assert_eq!(outputs.not_brought_back, ["/p/folder", "/p/link", "/p/sub"]);
        assert!(open_beneath(&case.workspace.root, Path::new("/p/sub/secret")).is_err());
        assert!(open_beneath(&case.workspace.root, Path::new("/p/link")).is_err());
        assert!(open_beneath(&case.workspace.root, Path::new("/p/pipe")).is_err());
    }

    #[test]
    fn names_that_a_terminal_would_obey_are_escaped() {
        let case = Case::new();
        fs::write(case.at("/p").join(OsStr::from_bytes(b"bad\xff")), "x").unwrap();
        fs::write(case.at("/p/two\nlines"), "x").unwrap();
        fs::write(case.at("/tmp/red\x1b[31m"), "x").unwrap();
        fs::write(case.at("/p/gr\u{fc}n"), "x").unwrap();
        let outputs = case.scan().unwrap();
        assert_eq!(outputs.artifacts[0].path, "/p/gr\u{fc}n");
        assert_eq!(outputs.not_brought_back, ["/p/bad\\xff", "/p/two\\nlines", "/tmp/red\\u{1b}[31m"]);
    }

    #[test]
    fn closed_folders_and_files_are_opened_and_too_much_is_refused() {
        let case = Case::new();
        fs::create_dir(case.at("/p/closed")).unwrap();
        fs::write(case.at("/p/closed/file"), "x").unwrap();
        fs::set_permissions(case.at("/p/closed/file"), fs::Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(case.at("/p/closed"), fs::Permissions::from_mode(0o000)).unwrap();
        let outputs = case.scan().unwrap();
        assert_eq!((outputs.artifacts[0].path.as_str(), outputs.artifacts[0].mode), ("/p/closed/file", 0));
        fs::write(case.at("/p/large"), vec![0; 1000]).unwrap();
        let error = case.scan().unwrap_err();
        assert!(matches!(error, OutputError::TooLarge { size_bytes: 1001, files: 2 }), "{error}");
    }
}
