//! Objects in a folder: `objects/ab/abcd...` once complete, `incoming/abcd...` while they arrive.
//!
//! Parts are written in place, each at its offset, so that completing is a rename. Who writes a part holds a lock on
//! its range of the file, and who completes holds it on all: the locks belong to the open file, so they work between
//! processes too and end with their holder.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use super::folder_part::PartClaim;
use super::hashing::Hashing;
use super::{Announced, Completed, Error, LIST_PAGE, Listed, ObjectKey, Part};
use crate::guards;

/// What others on the same disk (the database's log above all) must always find free.
const FREE_RESERVE_BYTES: u64 = 256 << 20;
/// Bytes of one piece of a read.
const READ_BYTES: u64 = 512 << 10;
/// Who wants what another is writing waits at most this long.
const CLAIM_WAIT: Duration = Duration::from_secs(60);
/// And looks this often.
const CLAIM_POLL: Duration = Duration::from_millis(20);

/// A folder of objects. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Folder {
    root: Arc<PathBuf>,
    pub(super) hashing: Arc<Hashing>,
    reserve_bytes: u64,
}

/// Runs `work` where it may block. An abort is impossible: nobody has the handle.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    finished(tokio::task::spawn_blocking(work)).await
}

pub(super) async fn finished<T>(work: JoinHandle<Result<T, Error>>) -> Result<T, Error> {
    work.await.unwrap_or_else(|stopped| {
        Err(Error::Broken { action: "go on", source: io::Error::other(stopped.to_string()) })
    })
}

/// Names what failed; a full disk gets a name of its own, whichever call met it.
pub(super) fn failed(action: &'static str, wanted_bytes: u64) -> impl FnOnce(io::Error) -> Error {
    move |source| {
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            Error::Full { wanted_bytes, free_bytes: 0 }
        } else {
            Error::Broken { action, source }
        }
    }
}

fn make_folder(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make a folder", 0))
}

fn sync_folder(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(failed("write a folder", 0))
}

impl Folder {
    pub(super) fn open(root: PathBuf) -> Result<Self, Error> {
        make_folder(&root.join("incoming"))?;
        make_folder(&root.join("objects"))?;
        sync_folder(&root)?;
        Ok(Self { root: Arc::new(root), hashing: Arc::default(), reserve_bytes: FREE_RESERVE_BYTES })
    }

    /// The same folder, which counts as full when less than this is free.
    #[must_use]
    pub fn with_reserve(self, reserve_bytes: u64) -> Self {
        Self { reserve_bytes, ..self }
    }

    fn incoming(&self, key: ObjectKey) -> PathBuf {
        self.root.join("incoming").join(key.to_string())
    }

    fn shard(&self, key: ObjectKey) -> PathBuf {
        self.root.join("objects").join(&key.to_string()[..2])
    }

    fn object(&self, key: ObjectKey) -> PathBuf {
        self.shard(key).join(key.to_string())
    }

    pub(super) async fn check(&self) -> Result<(), Error> {
        let folder = self.clone();
        blocking(move || {
            std::fs::read_dir(folder.root.join("objects")).map_err(failed("read its folder", 0))?;
            folder.ensure_free(0)
        })
        .await
    }

    pub(super) async fn free_bytes(&self) -> Result<u64, Error> {
        let folder = self.clone();
        blocking(move || folder.free()).await
    }

    fn free(&self) -> Result<u64, Error> {
        let disk = nix::sys::statvfs::statvfs(self.root.as_path())
            .map_err(|errno| failed("measure its disk", 0)(errno.into()))?;
        Ok((disk.blocks_available() * disk.fragment_size()).saturating_sub(self.reserve_bytes))
    }

    /// Refuses before the disk is full: who writes on a full disk takes the database with it.
    fn ensure_free(&self, wanted_bytes: u64) -> Result<(), Error> {
        let free_bytes = self.free()?;
        if free_bytes <= wanted_bytes { Err(Error::Full { wanted_bytes, free_bytes }) } else { Ok(()) }
    }

    pub(super) async fn put(&self, key: ObjectKey, bytes: Bytes) -> Result<(), Error> {
        let folder = self.clone();
        blocking(move || {
            let size = bytes.len() as u64;
            folder.ensure_free(size)?;
            let file = folder.open_incoming(key)?;
            file.write_all_at(&bytes, 0).map_err(failed("write an object", size))?;
            folder.keep(key, &file)
        })
        .await
    }

    fn open_incoming(&self, key: ObjectKey) -> Result<File, Error> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(self.incoming(key)).map_err(failed("make an object", 0))
    }

    /// Makes an incoming file an object that survives a power cut.
    fn keep(&self, key: ObjectKey, file: &File) -> Result<(), Error> {
        file.sync_data().map_err(failed("write an object", 0))?;
        let shard = self.shard(key);
        if !shard.exists() {
            make_folder(&shard)?;
            sync_folder(&self.root.join("objects"))?;
        }
        std::fs::rename(self.incoming(key), self.object(key)).map_err(failed("name an object", 0))?;
        sync_folder(&shard)
    }

    pub(super) async fn claim_part(&self, key: ObjectKey, part: Part) -> Result<PartClaim, Error> {
        let folder = self.clone();
        let length = part.range.end - part.range.start;
        let file = blocking(move || {
            folder.ensure_free(length)?;
            folder.open_incoming(key)
        })
        .await?;
        lock(&file, part.range.start, length).await?;
        let folder = self.clone();
        let file = blocking(move || folder.refuse_late(key, file)).await?;
        Ok(PartClaim::new(self.clone(), key, part, file))
    }

    /// Refuses who comes after the object was completed: its file has moved on, and what was opened is not it.
    fn refuse_late(&self, key: ObjectKey, file: File) -> Result<File, Error> {
        let object = self.object(key);
        if !object.exists() {
            return Ok(file);
        }
        if !is_file(&object, &file)? {
            std::fs::remove_file(self.incoming(key)).map_err(failed("delete an object", 0))?;
        }
        Err(Error::Busy)
    }

    pub(super) async fn complete(&self, key: ObjectKey, announced: &Announced) -> Result<Completed, Error> {
        let (folder, announced) = (self.clone(), *announced);
        let file = blocking(move || folder.open_to_complete(key, &announced)).await?;
        lock(&file, 0, 0).await?;
        let folder = self.clone();
        blocking(move || folder.verify(key, &file, &announced)).await
    }

    fn open_to_complete(&self, key: ObjectKey, announced: &Announced) -> Result<File, Error> {
        // It may have been completed before, by a call whose end nobody learned of.
        match OpenOptions::new().read(true).write(true).open(self.object(key)) {
            Ok(file) => return Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("read an object", 0)(error)),
        }
        // An empty object has no part that would have made its file.
        if announced.size_bytes == 0 {
            return self.open_incoming(key);
        }
        match OpenOptions::new().read(true).write(true).open(self.incoming(key)) {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::Missing(key)),
            Err(error) => Err(failed("read an object", 0)(error)),
        }
    }

    fn verify(&self, key: ObjectKey, file: &File, announced: &Announced) -> Result<Completed, Error> {
        let length = file.metadata().map_err(failed("read an object", 0))?.len();
        if length != announced.size_bytes {
            return Ok(Completed::Damaged);
        }
        let (parts, mut state) = self.hashing.so_far(key);
        let hashed = (u64::from(parts) * announced.part_bytes).min(length);
        hash(file, hashed..length, &mut state).map_err(failed("read an object", 0))?;
        if state.finalize().as_slice() != announced.sha256.0 && guards::holds(&guards::BLOB_HASH) {
            return Ok(Completed::Damaged);
        }
        // Not if it has its name, from a twin of this call: then what may lie there is a late sender's.
        if is_file(&self.incoming(key), file)? {
            self.keep(key, file)?;
        }
        self.hashing.forget(key);
        Ok(Completed::Whole)
    }

    /// Hashes recorded parts that follow those already hashed.
    pub(super) fn hash_on(&self, key: ObjectKey, part_bytes: u64) {
        let Ok(file) = File::open(self.incoming(key)) else {
            // Completed or deleted meanwhile.
            return self.hashing.forget(key);
        };
        while let Some((number, mut state)) = self.hashing.next(key) {
            let start = u64::from(number - 1) * part_bytes;
            // The last part is shorter, and ends the file.
            let hashed = file
                .metadata()
                .and_then(|found| hash(&file, start..found.len().min(start + part_bytes), &mut state));
            if hashed.is_err() {
                return self.hashing.forget(key);
            }
            self.hashing.hashed(key, number, state);
        }
    }

    pub(super) async fn get(&self, key: ObjectKey, range: Option<Range<u64>>) -> Result<Reader, Error> {
        let path = self.object(key);
        blocking(move || {
            let file = match File::open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::Missing(key)),
                opened => opened.map_err(failed("read an object", 0))?,
            };
            let object_bytes = file.metadata().map_err(failed("read an object", 0))?.len();
            let range = range.unwrap_or(0..object_bytes);
            let left = range.start.min(object_bytes)..range.end.min(object_bytes);
            Ok(Reader { file: Arc::new(file), object_bytes, left })
        })
        .await
    }

    pub(super) async fn delete(&self, key: ObjectKey) -> Result<(), Error> {
        let folder = self.clone();
        blocking(move || {
            folder.hashing.forget(key);
            for path in [folder.incoming(key), folder.object(key)] {
                match std::fs::remove_file(path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    removed => removed.map_err(failed("delete an object", 0))?,
                }
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn list(&self, after: Option<ObjectKey>) -> Result<Vec<Listed>, Error> {
        let folder = self.clone();
        blocking(move || {
            let mut arriving = Vec::new();
            list_folder(&folder.root.join("incoming"), after, &mut arriving)?;
            let first = after.map(|key| key.to_string()[..2].to_owned()).unwrap_or_default();
            let mut page = Vec::new();
            for shard in 0..=255_u8 {
                let name = format!("{shard:02x}");
                if name < first || page.len() >= LIST_PAGE {
                    continue;
                }
                list_folder(&folder.root.join("objects").join(&name), after, &mut page)?;
                page.extend(arriving.extract_if(.., |listed| listed.key.to_string()[..2] == name));
            }
            page.sort_unstable_by_key(|listed| listed.key);
            page.dedup_by_key(|listed| listed.key);
            page.truncate(LIST_PAGE);
            Ok(page)
        })
        .await
    }
}

fn list_folder(path: &Path, after: Option<ObjectKey>, page: &mut Vec<Listed>) -> Result<(), Error> {
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed("list its folder", 0))?,
    };
    for entry in entries {
        let entry = entry.map_err(failed("list its folder", 0))?;
        // A name of another form is not ours.
        let Some(key) = entry.file_name().to_str().and_then(|name| name.parse::<ObjectKey>().ok()) else {
            continue;
        };
        if after.is_some_and(|after| key <= after) {
            continue;
        }
        match entry.metadata().and_then(|found| Ok((found.len(), found.modified()?))) {
            Ok((size_bytes, modified)) => page.push(Listed { key, size_bytes, modified }),
            // Deleted while the list was made.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("list its folder", 0)(error)),
        }
    }
    Ok(())
}

/// True when `path` still names this open file.
fn is_file(path: &Path, file: &File) -> Result<bool, Error> {
    let opened = file.metadata().map_err(failed("read an object", 0))?;
    match std::fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("read an object", 0)(error)),
    }
}

/// Waits until this open file has `length` bytes from `start` for itself; 0 means up to the end and beyond.
async fn lock(file: &File, start: u64, length: u64) -> Result<(), Error> {
    let wanted = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start.cast_signed(),
        l_len: length.cast_signed(),
        l_pid: 0,
    };
    let deadline = tokio::time::Instant::now() + CLAIM_WAIT;
    loop {
        match fcntl(file, FcntlArg::F_OFD_SETLK(&wanted)) {
            Ok(_) => return Ok(()),
            Err(nix::Error::EAGAIN | nix::Error::EACCES) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(CLAIM_POLL).await;
            }
            Err(nix::Error::EAGAIN | nix::Error::EACCES) => return Err(Error::Busy),
            Err(errno) => return Err(failed("lock an object", 0)(errno.into())),
        }
    }
}

fn hash(file: &File, range: Range<u64>, state: &mut Sha256) -> io::Result<()> {
    let mut buffer =
        vec![0; usize::try_from((range.end - range.start).min(READ_BYTES)).unwrap_or(usize::MAX)];
    let mut at = range.start;
    while at < range.end {
        let piece = buffer.len().min(usize::try_from(range.end - at).unwrap_or(usize::MAX));
        file.read_exact_at(&mut buffer[..piece], at)?;
        state.update(&buffer[..piece]);
        at += piece as u64;
    }
    Ok(())
}

/// Reads one range of a file.
#[derive(Debug)]
pub struct Reader {
    file: Arc<File>,
    object_bytes: u64,
    left: Range<u64>,
}

impl Reader {
    pub(super) fn object_bytes(&self) -> u64 {
        self.object_bytes
    }

    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let (file, at) = (Arc::clone(&self.file), self.left.start);
        let length = (self.left.end - at).min(READ_BYTES);
        let piece = blocking(move || {
            let mut piece = BytesMut::zeroed(usize::try_from(length).unwrap_or(usize::MAX));
            file.read_exact_at(&mut piece, at).map_err(failed("read an object", 0))?;
            Ok(piece.freeze())
        })
        .await?;
        self.left.start += length;
        Ok(Some(piece))
    }
}
