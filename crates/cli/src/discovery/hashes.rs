//! Remembers what was learnt about files, so that a second run reads none of them: hashes by (path, size, time of
//! change, inode), and what sources say by their hash. One small file for each project.
//!
//! It is a cache and no more: a damaged, foreign or vanished file means only that files are read again. Writers
//! replace the file as a whole; of two at once the later one wins and nothing is ever half written.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rgrid_core::limits;
use rgrid_core::submission::Sha256;
use sha2::Digest;

/// The first bytes of a file of ours; another version is not read.
const MAGIC: &[u8] = b"rgrid discovery 1\n";
/// A file changed so shortly before it is read may change again without a change of its time.
const RACY_NS: i64 = 2_000_000_000;
/// Files whose hashes are kept for one project.
const HASHES_MAX: usize = 2 * limits::MANIFEST_FILES_MAX;
/// Scans kept for one project.
const SCANS_MAX: usize = 5_000;
/// Projects that are remembered; the longest unused go first.
const PROJECTS_MAX: usize = 200;
/// A larger file of ours is not read.
const CACHE_BYTES_MAX: u64 = 256 << 20;
/// Threads that hash.
const THREADS_MAX: usize = 4;
/// What one thread holds of a file.
const BUFFER_BYTES: usize = 256 << 10;
/// Fewer bytes than this are hashed without another thread.
const ALONE_BELOW_BYTES: u64 = 1 << 20;

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Bytes.
    pub size_bytes: u64,
    /// Time of the last change, in nanoseconds of Unix time.
    pub modified_ns: i64,
    /// Inode number.
    pub inode: u64,
}

impl Stamp {
    /// The stamp in a file's metadata.
    pub fn of(metadata: &fs::Metadata) -> Self {
        let modified_ns =
            metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Self { size_bytes: metadata.len(), modified_ns, inode: metadata.ino() }
    }
}

/// What is remembered of one project.
#[derive(Debug)]
pub struct Remembered {
    file: Option<PathBuf>,
    hashes: HashMap<PathBuf, (Stamp, Sha256, Used)>,
    scans: HashMap<Sha256, (Vec<u8>, Used)>,
    now_ns: i64,
    changed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Used {
    Now,
    Earlier,
}

impl Remembered {
    /// Reads what is remembered of the project at `root`; nothing when there is no folder for it.
    pub fn load(cache_folder: Option<&Path>, root: &Path, now: SystemTime) -> Self {
        let name = Sha256(sha2::Sha256::digest(root.as_os_str().as_bytes()).into()).to_string();
        let file = cache_folder.map(|folder| folder.join("discovery").join(&name[..32]));
        let now_ns =
            now.duration_since(UNIX_EPOCH).map_or(0, |age| i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
        let empty = Self { file, hashes: HashMap::new(), scans: HashMap::new(), now_ns, changed: false };
        match empty.file.as_deref().and_then(read_checked) {
            Some(body) => match parse(&body) {
                Some((hashes, scans)) => Self { hashes, scans, ..empty },
                None => empty,
            },
            None => empty,
        }
    }

    /// The hash of the file in this state, when it is known.
    pub fn hash(&mut self, path: &Path, stamp: &Stamp) -> Option<Sha256> {
        let (known, hash, used) = self.hashes.get_mut(path)?;
        if known != stamp {
            return None;
        }
        *used = Used::Now;
        Some(*hash)
    }

    /// Keeps a hash, unless the file changed so lately that it may change again unseen.
    pub fn keep_hash(&mut self, path: &Path, stamp: Stamp, hash: Sha256) {
        if stamp.modified_ns.saturating_add(RACY_NS) <= self.now_ns {
            self.hashes.insert(path.to_owned(), (stamp, hash, Used::Now));
            self.changed = true;
        }
    }

    /// What the source with this hash says, as it was kept.
    pub(crate) fn scan(&mut self, hash: &Sha256) -> Option<&[u8]> {
        let (bytes, used) = self.scans.get_mut(hash)?;
        *used = Used::Now;
        Some(bytes)
    }

    pub(crate) fn keep_scan(&mut self, hash: Sha256, bytes: Vec<u8>) {
        self.scans.insert(hash, (bytes, Used::Now));
        self.changed = true;
    }

    /// Writes what is new. A cache that cannot be written costs time and nothing else, so the failure ends here.
    pub fn save(mut self) {
        if let Some(file) = self.file.take().filter(|_| self.changed) {
            let _ = self.write(&file);
        }
    }

    fn write(mut self, file: &Path) -> io::Result<()> {
        if self.hashes.len() > HASHES_MAX {
            self.hashes.retain(|_, (.., used)| *used == Used::Now);
        }
        if self.scans.len() > SCANS_MAX {
            self.scans.retain(|_, (_, used)| *used == Used::Now);
        }
        let mut body = Vec::with_capacity(self.hashes.len() * 160 + 1024);
        put_number(&mut body, self.hashes.len() as u64);
        for (path, (stamp, hash, _)) in &self.hashes {
            put_bytes(&mut body, path.as_os_str().as_bytes());
            put_number(&mut body, stamp.size_bytes);
            put_number(&mut body, stamp.modified_ns.cast_unsigned());
            put_number(&mut body, stamp.inode);
            body.extend_from_slice(&hash.0);
        }
        put_number(&mut body, self.scans.len() as u64);
        for (hash, (bytes, _)) in &self.scans {
            body.extend_from_slice(&hash.0);
            put_bytes(&mut body, bytes);
        }
        let folder = file.parent().expect("the file was joined to a folder");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        if !file.exists() {
            forget_oldest(folder)?;
        }
        let mut aside = tempfile::NamedTempFile::new_in(folder)?;
        aside.write_all(MAGIC)?;
        aside.write_all(&sha2::Sha256::digest(&body))?;
        aside.write_all(&body)?;
        aside.persist(file)?;
        Ok(())
    }
}

/// Removes the longest unwritten files until there is room for one more project.
fn forget_oldest(folder: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files.push((entry.metadata()?.modified()?, entry.path()));
    }
    files.sort();
    let surplus = (files.len() + 1).saturating_sub(PROJECTS_MAX);
    files.iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
}

fn put_number(body: &mut Vec<u8>, number: u64) {
    body.extend_from_slice(&number.to_le_bytes());
}

fn put_bytes(body: &mut Vec<u8>, bytes: &[u8]) {
    put_number(body, bytes.len() as u64);
    body.extend_from_slice(bytes);
}

fn read_checked(file: &Path) -> Option<Vec<u8>> {
    let mut file = File::open(file).ok()?;
    let size = file.metadata().ok()?.len();
    if size > CACHE_BYTES_MAX {
        return None;
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).ok()?);
    file.read_to_end(&mut bytes).ok()?;
    let body_start = MAGIC.len() + 32;
    let (head, body) = bytes.split_at_checked(body_start)?;
    let sound = head.starts_with(MAGIC) && head[MAGIC.len()..] == *sha2::Sha256::digest(body);
    if sound { Some(bytes.split_off(body_start)) } else { None }
}

type Hashes = HashMap<PathBuf, (Stamp, Sha256, Used)>;
type Scans = HashMap<Sha256, (Vec<u8>, Used)>;

fn parse(mut body: &[u8]) -> Option<(Hashes, Scans)> {
    fn take<'a>(body: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = body.split_at_checked(length)?;
        *body = rest;
        Some(taken)
    }
    fn number(body: &mut &[u8]) -> Option<u64> {
        take(body, 8)?.try_into().ok().map(u64::from_le_bytes)
    }
    fn bytes<'a>(body: &mut &'a [u8]) -> Option<&'a [u8]> {
        let length = usize::try_from(number(body)?).ok()?;
        take(body, length)
    }
    fn hash(body: &mut &[u8]) -> Option<Sha256> {
        take(body, 32)?.try_into().ok().map(Sha256)
    }
    let count = usize::try_from(number(&mut body)?).ok()?;
    let mut hashes = HashMap::with_capacity(count.min(HASHES_MAX));
    for _ in 0..count {
        let path = PathBuf::from(OsStr::from_bytes(bytes(&mut body)?));
        let size_bytes = number(&mut body)?;
        let modified_ns = number(&mut body)?.cast_signed();
        let stamp = Stamp { size_bytes, modified_ns, inode: number(&mut body)? };
        hashes.insert(path, (stamp, hash(&mut body)?, Used::Earlier));
    }
    let count = usize::try_from(number(&mut body)?).ok()?;
    let mut scans = HashMap::with_capacity(count.min(SCANS_MAX));
    for _ in 0..count {
        let hash = hash(&mut body)?;
        scans.insert(hash, (bytes(&mut body)?.to_vec(), Used::Earlier));
    }
    Some((hashes, scans))
}

/// Reads a file to its end: its hash, and its state while it was read.
pub fn hash_file(path: &Path) -> io::Result<(Stamp, Sha256)> {
    let mut buffer = Vec::new();
    hash_with(path, &mut buffer)
}

fn hash_with(path: &Path, buffer: &mut Vec<u8>) -> io::Result<(Stamp, Sha256)> {
    let mut file = File::open(path)?;
    let mut stamp = Stamp::of(&file.metadata()?);
    let room = usize::try_from(stamp.size_bytes + 1).unwrap_or(BUFFER_BYTES).clamp(1, BUFFER_BYTES);
    if buffer.len() < room {
        buffer.resize(room, 0);
    }
    let mut hasher = sha2::Sha256::new();
    let mut size_bytes = 0;
    loop {
        match file.read(buffer) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(&buffer[..count]);
                size_bytes += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // A file that grows while it is read is sent as it was read; its stamp then fits no state, and is not kept.
    stamp.size_bytes = size_bytes;
    Ok((stamp, Sha256(hasher.finalize().into())))
}

/// Hashes many files, with a bounded number of threads; the results stand in the order of the paths.
pub fn hash_files(paths: &[(&Path, u64)]) -> Vec<io::Result<(Stamp, Sha256)>> {
    let total: u64 = paths.iter().map(|(_, size)| size).sum();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if total < ALONE_BELOW_BYTES { 1 } else { cores.min(THREADS_MAX).min(paths.len()) };
    let next = AtomicUsize::new(0);
    let work = || {
        let mut buffer = Vec::new();
        let mut done = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some((path, _)) = paths.get(place) else {
                return done;
            };
            done.push((place, hash_with(path, &mut buffer)));
        }
    };
    let mut results: Vec<_> = if threads <= 1 {
        work()
    } else {
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers.into_iter().flat_map(|worker| worker.join().expect("hashing does not panic")).collect()
        })
    };
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}
