//! Objects: bytes under a key that was never used before, written once, read often.
//!
//! One interface for every place they may lie in: a folder, or a bucket of an S3 server. An enum and not a trait: which
//! one it is, is configuration, and every caller treats them alike. A key says nothing of what lies under it: rows
//! do, so no caller builds on conditional writes, which not every store has.
//!
//! An object comes about in two ways: `put` for small ones, whole; or part by part, as a blob arrives: `begin`, then
//! for each part either `claim_part`, `write`, `recorded`, or a PUT by the sender to its `part_address`; then
//! `complete`, which verifies it before it counts: a folder its size and hash, S3 its size (and the hash of one that
//! came in one part). Whoever reads hashes.

mod folder;
mod folder_part;
mod hashing;
pub mod s3;
pub(crate) mod s3_answer;
mod s3_arrival;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::Stream;
use rgrid_core::submission::Sha256;

use self::folder::Folder;
use self::s3::{S3, S3Config};
use crate::secret::random;

/// Objects of one page of a list.
pub const LIST_PAGE: usize = 1000;

/// A sender that is silent for this long is cut.
pub const SENDER_SILENCE: Duration = Duration::from_secs(60);

/// An address that needs no key is good for this long. A runner may queue inputs behind other work, and a laptop may
/// sleep, but whoever comes later asks again.
pub const SIGNED_ADDRESS_LIFE: Duration = Duration::from_secs(3600);

/// Where objects lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectsConfig {
    /// In a folder of this machine; made when it is not there.
    Folder(PathBuf),
    /// In a bucket of an S3 server; made when it is not there.
    S3(S3Config),
}

/// Why an object could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk is full, or would be: nobody can write until something is deleted.
    #[error("the object store is full: {wanted_bytes} bytes wanted, {free_bytes} free beyond its reserve")]
    Full {
        /// What was to be written.
        wanted_bytes: u64,
        /// What may still be written.
        free_bytes: u64,
    },
    /// Nothing lies under this key.
    #[error("object {0} is not there")]
    Missing(ObjectKey),
    /// Somebody else is sending the same part, or the object was just completed.
    #[error("the same bytes are being sent by somebody else")]
    Busy,
    /// The sender's bytes broke off.
    #[error("the bytes broke off")]
    Interrupted(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// More or fewer bytes than were announced.
    #[error("{received} bytes came and {expected} were announced")]
    WrongLength {
        /// Announced.
        expected: u64,
        /// Came; the first byte too many ends the count.
        received: u64,
    },
    /// Other bytes came than were announced.
    #[error("the bytes are not what their hash says")]
    WrongBytes,
    /// Something answers there, and not as S3 does.
    #[error(
        "{endpoint} answers like a web console and not like an S3 server; MINIO_ENDPOINT must name the server's S3 port"
    )]
    NotS3 {
        /// The address, with its port.
        endpoint: String,
    },
    /// The place where objects lie does not work.
    #[error("the object store failed to {action}")]
    Broken {
        /// What was tried.
        action: &'static str,
        /// The system's own words.
        source: io::Error,
    },
}

impl Error {
    /// True when the same call may succeed later, unchanged.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Full { .. }
            | Self::Busy
            | Self::Interrupted(_)
            | Self::NotS3 { .. }
            | Self::Broken { .. } => true,
            Self::Missing(_) | Self::WrongLength { .. } | Self::WrongBytes => false,
        }
    }
}

/// The name of an object: 128 random bits, fresh for each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(u128);

impl ObjectKey {
    /// A key that nobody has used.
    pub fn fresh() -> Self {
        Self(u128::from_be_bytes(random()))
    }
}

/// A text that names no object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an object's key is 32 lower-case hexadecimal digits")]
pub struct ParseKeyError;

impl FromStr for ObjectKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        let digits = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !digits {
            return Err(ParseKeyError);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| ParseKeyError)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One part of an object that arrives in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// 1, 2, ...
    pub number: u32,
    /// The bytes of the whole that it holds; never empty.
    pub range: Range<u64>,
}

/// What an object must be when it is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// Its size.
    pub size_bytes: u64,
    /// Size of every part but the last.
    pub part_bytes: u64,
    /// Hash of the whole.
    pub sha256: Sha256,
}

impl Announced {
    /// How many parts it has; none when it is empty.
    pub fn parts(&self) -> u32 {
        // A blob has 10,000 parts at most.
        u32::try_from(self.size_bytes.div_ceil(self.part_bytes)).unwrap_or(u32::MAX)
    }

    /// Part `number`, or `None` when it has no such part.
    pub fn part(&self, number: u32) -> Option<Part> {
        let start = u64::from(number.checked_sub(1)?).checked_mul(self.part_bytes)?;
        let end = start.saturating_add(self.part_bytes).min(self.size_bytes);
        (start < end).then_some(Part { number, range: start..end })
    }
}

/// An object on its way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arriving {
    /// Its name.
    pub key: ObjectKey,
    /// What it must be.
    pub announced: Announced,
    /// The store's own id of an upload in parts, where it has such.
    pub multipart: Option<String>,
}

/// Where whoever reaches the store can PUT one part, and what the request must carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartAddress {
    /// Absolute.
    pub url: String,
    /// Headers that are signed too.
    pub headers: BTreeMap<String, String>,
}

/// What came of completing an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completed {
    /// It is what was announced, and survives a power cut.
    Whole,
    /// Its size or hash is not what was announced.
    Damaged,
    /// Not all of it has arrived; what has need not be sent again.
    Unfinished,
}

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub key: ObjectKey,
    /// Bytes that it takes; of an object that is still arriving, so far.
    pub size_bytes: u64,
    /// When it was last written.
    pub modified: SystemTime,
}

/// The place where objects lie.
#[derive(Debug, Clone)]
pub enum Objects {
    /// A folder of this machine.
    Folder(Folder),
    /// A bucket.
    S3(S3),
}

impl Objects {
    /// Opens the place, and makes it when it can be made.
    pub fn open(config: &ObjectsConfig) -> Result<Self, Error> {
        match config {
            ObjectsConfig::Folder(path) => Ok(Self::Folder(Folder::open(path.clone())?)),
            ObjectsConfig::S3(config) => Ok(Self::S3(S3::open(config)?)),
        }
    }

    /// True when it can be read and written; an error that says why not.
    pub async fn check(&self) -> Result<(), Error> {
        match self {
            Self::Folder(folder) => folder.check().await,
            Self::S3(s3) => s3.check().await,
        }
    }

    /// Fails when the place does not work, as far as that can be known at little cost: for whoever is about to be told
    /// to send bytes there.
    pub async fn ensure_answers(&self) -> Result<(), Error> {
        match self {
            Self::Folder(_) => Ok(()),
            Self::S3(s3) => s3.ensure_answers().await,
        }
    }

    /// True when rows alone know which parts have arrived. S3 knows it itself: senders put them there past us.
    pub fn rows_know_parts(&self) -> bool {
        match self {
            Self::Folder(_) => true,
            Self::S3(_) => false,
        }
    }

    /// True when clients and runners reach the place themselves.
    pub fn is_public(&self) -> bool {
        match self {
            Self::Folder(_) => false,
            Self::S3(s3) => s3.is_public(),
        }
    }

    /// Writes a small object whole.
    pub async fn put(&self, key: ObjectKey, bytes: Bytes) -> Result<(), Error> {
        match self {
            Self::Folder(folder) => folder.put(key, bytes).await,
            Self::S3(s3) => s3.put(key, bytes).await,
        }
    }

    /// Begins an object that comes in parts. Answers the store's own id of that, where it has such.
    pub async fn begin(&self, key: ObjectKey, announced: &Announced) -> Result<Option<String>, Error> {
        match self {
            Self::Folder(_) => Ok(None),
            Self::S3(s3) => s3.begin(key, announced.parts()).await,
        }
    }

    /// Ends what `begin` began and nobody will complete.
    pub async fn abort(&self, key: ObjectKey, multipart: &str) -> Result<(), Error> {
        match self {
            Self::Folder(_) => Ok(()),
            Self::S3(s3) => s3.abort(key, multipart).await,
        }
    }

    /// The parts that the place itself knows to have arrived.
    pub async fn arrived(&self, arriving: &Arriving) -> Result<BTreeSet<u32>, Error> {
        match self {
            Self::Folder(_) => Ok(BTreeSet::new()),
            Self::S3(s3) => s3.arrived(arriving).await,
        }
    }

    /// Where part `number` can be PUT by whoever has the address; `None` when it must pass through the API.
    pub async fn part_address(&self, arriving: &Arriving, number: u32) -> Result<Option<PartAddress>, Error> {
        match self {
            Self::Folder(_) => Ok(None),
            Self::S3(s3) => s3.part_address(arriving, number).await,
        }
    }

    /// Where an object can be fetched by whoever has the address; `None` when it must pass through the API.
    pub async fn get_address(&self, key: ObjectKey) -> Result<Option<String>, Error> {
        match self {
            Self::Folder(_) => Ok(None),
            Self::S3(s3) => s3.get_address(key).await,
        }
    }

    /// The right to write one part. In a folder nobody else has it until it is dropped; waits a while for who has it.
    ///
    /// What was recorded as arrived must not be written again: ask the rows between `claim_part` and `write`.
    pub async fn claim_part(&self, arriving: &Arriving, part: Part) -> Result<PartClaim, Error> {
        match self {
            Self::Folder(folder) => Ok(PartClaim::Folder(folder.claim_part(arriving.key, part).await?)),
            Self::S3(s3) => Ok(PartClaim::S3(s3.claim_part(arriving, part).await?)),
        }
    }

    /// Verifies that the object is what was announced, and makes it one. May be repeated.
    pub async fn complete(&self, arriving: &Arriving) -> Result<Completed, Error> {
        match self {
            Self::Folder(folder) => folder.complete(arriving.key, &arriving.announced).await,
            Self::S3(s3) => s3.complete(arriving).await,
        }
    }

    /// Reads `range`, or everything. The range is cut to what is there.
    pub async fn get(&self, key: ObjectKey, range: Option<Range<u64>>) -> Result<ObjectReader, Error> {
        match self {
            Self::Folder(folder) => Ok(ObjectReader::Folder(folder.get(key, range).await?)),
            Self::S3(s3) => Ok(ObjectReader::S3(s3.get(key, range).await?)),
        }
    }

    /// Deletes an object, complete or not. One that is not there is deleted.
    pub async fn delete(&self, key: ObjectKey) -> Result<(), Error> {
        match self {
            Self::Folder(folder) => folder.delete(key).await,
            Self::S3(s3) => s3.delete(key).await,
        }
    }

    /// Objects in the order of their keys, those that are still arriving in a folder among them; at most [`LIST_PAGE`], and
    /// only those after `after`.
    pub async fn list(&self, after: Option<ObjectKey>) -> Result<Vec<Listed>, Error> {
        match self {
            Self::Folder(folder) => folder.list(after).await,
            Self::S3(s3) => s3.list(after).await,
        }
    }

    /// Refuses with [`Error::Full`] what there is no room for now. It reserves nothing: a write may still be refused.
    pub async fn ensure_room(&self, wanted_bytes: u64) -> Result<(), Error> {
        match self.free_bytes().await? {
            Some(free_bytes) if wanted_bytes > 0 && free_bytes <= wanted_bytes => {
                Err(Error::Full { wanted_bytes, free_bytes })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Bytes that may still be written; `None` when the place has no end.
    pub async fn free_bytes(&self) -> Result<Option<u64>, Error> {
        match self {
            Self::Folder(folder) => folder.free_bytes().await.map(Some),
            Self::S3(_) => Ok(None),
        }
    }
}

/// The right to write one part.
#[derive(Debug)]
pub enum PartClaim {
    /// Of an object in a folder.
    Folder(folder_part::PartClaim),
    /// Of an object in a bucket.
    S3(s3_arrival::PartClaim),
}

impl PartClaim {
    /// Writes the part's bytes, exactly as many as it has.
    pub async fn write<E>(
        self,
        bytes: impl Stream<Item = Result<Bytes, E>> + Send,
    ) -> Result<PartWritten, Error>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        match self {
            Self::Folder(claim) => Ok(PartWritten::Folder(claim.write(bytes).await?)),
            Self::S3(claim) => claim.write(bytes).await.map(|()| PartWritten::S3),
        }
    }
}

/// A part that was written and still belongs to its writer.
#[derive(Debug)]
pub enum PartWritten {
    /// In a folder.
    Folder(folder_part::PartWritten),
    /// In a bucket.
    S3,
}

impl PartWritten {
    /// Its row says now that it arrived: nobody will write it again, and it may be hashed ahead of `complete`.
    pub fn recorded(self) {
        match self {
            Self::Folder(written) => written.recorded(),
            Self::S3 => {}
        }
    }
}

/// Reads one range of one object, piece by piece.
#[derive(Debug)]
pub enum ObjectReader {
    /// Of a folder.
    Folder(folder::Reader),
    /// Of a bucket.
    S3(s3::Reader),
}

impl ObjectReader {
    /// Size of the whole object.
    pub fn object_bytes(&self) -> u64 {
        match self {
            Self::Folder(reader) => reader.object_bytes(),
            Self::S3(reader) => reader.object_bytes(),
        }
    }

    /// The next piece; `None` at the end of the range.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Folder(reader) => reader.next().await,
            Self::S3(reader) => reader.next().await,
        }
    }

    /// All that is left, in memory: for objects whose size has a bound.
    pub async fn read_to_end(mut self) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        while let Some(piece) = self.next().await? {
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    /// The pieces as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
        futures_util::stream::try_unfold(self, async |mut reader| {
            Ok(reader.next().await?.map(|piece| (piece, reader)))
        })
    }
}
