//! One part of an object on its way into a folder: written while it is received, hashed as it passes when all before
//! it is hashed too.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use super::folder::{Folder, failed, finished};
use super::{Error, ObjectKey, Part, SENDER_SILENCE};

/// Bytes that are collected before they are written.
const WRITE_BYTES: usize = 1 << 20;

/// The right to write one part: a lock on its range of the file.
#[derive(Debug)]
pub struct PartClaim {
    folder: Folder,
    key: ObjectKey,
    part: Part,
    /// Shared with the write that is under way, which may outlive a caller that went away: so does the lock.
    file: Arc<File>,
}

/// Bytes on their way to the file, and the hash of all before them when it is known.
struct Batch {
    file: Arc<File>,
    at: u64,
    pieces: Vec<Bytes>,
    state: Option<Sha256>,
}

impl Batch {
    fn write(mut self) -> Result<Option<Sha256>, Error> {
        let wanted = self.pieces.iter().map(Bytes::len).sum::<usize>() as u64;
        for piece in self.pieces {
            self.file.write_all_at(&piece, self.at).map_err(failed("write an object", wanted))?;
            self.at += piece.len() as u64;
            if let Some(state) = &mut self.state {
                state.update(&piece);
            }
        }
        Ok(self.state)
    }
}

/// The hash of all bytes handed over so far, when it is known: at once, or when the write under way has ended.
enum Writing {
    Idle(Option<Sha256>),
    Busy(JoinHandle<Result<Option<Sha256>, Error>>),
}

impl Writing {
    async fn end(self) -> Result<Option<Sha256>, Error> {
        match self {
            Self::Idle(state) => Ok(state),
            Self::Busy(work) => finished(work).await,
        }
    }
}

impl PartClaim {
    pub(super) fn new(folder: Folder, key: ObjectKey, part: Part, file: File) -> Self {
        Self { folder, key, part, file: Arc::new(file) }
    }

    pub(super) async fn write<E>(
        self,
        bytes: impl Stream<Item = Result<Bytes, E>> + Send,
    ) -> Result<PartWritten, Error>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let expected = self.part.range.end - self.part.range.start;
        let mut bytes = std::pin::pin!(bytes);
        let mut writing = Writing::Idle(self.folder.hashing.before(self.key, self.part.number));
        let (mut received, mut pieces, mut collected) = (0, Vec::new(), 0);
        loop {
            let piece = tokio::time::timeout(SENDER_SILENCE, bytes.next())
                .await
                .map_err(|silence| Error::Interrupted(silence.into()))?
                .transpose()
                .map_err(|broken| Error::Interrupted(broken.into()))?;
            if let Some(piece) = &piece {
                received += piece.len() as u64;
                if received > expected {
                    return Err(Error::WrongLength { expected, received });
                }
                collected += piece.len();
            }
            let ended = piece.is_none();
            pieces.extend(piece);
            if collected >= WRITE_BYTES || (ended && collected > 0) {
                let state = writing.end().await?;
                let at = self.part.range.start + received - collected as u64;
                let batch =
                    Batch { file: Arc::clone(&self.file), at, pieces: std::mem::take(&mut pieces), state };
                // The next bytes are received while these are written.
                writing = Writing::Busy(tokio::task::spawn_blocking(move || batch.write()));
                collected = 0;
            }
            if ended {
                break;
            }
        }
        let state = writing.end().await?;
        if received != expected {
            return Err(Error::WrongLength { expected, received });
        }
        Ok(PartWritten { claim: self, state })
    }
}

/// A part that was written; its range is locked still.
#[derive(Debug)]
pub struct PartWritten {
    claim: PartClaim,
    /// The hash of the object up to the end of this part, when all before it was hashed too.
    state: Option<Sha256>,
}

impl PartWritten {
    pub(super) fn recorded(self) {
        let PartClaim { folder, key, part, .. } = self.claim;
        if folder.hashing.recorded(key, part.number, self.state) {
            // Only the last part may be shorter, and it starts where the others end.
            let part_bytes =
                if part.number > 1 { part.range.start / u64::from(part.number - 1) } else { part.range.end };
            tokio::task::spawn_blocking(move || folder.hash_on(key, part_bytes));
        }
    }
}
