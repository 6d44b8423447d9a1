//! Older ranges of a log, moved to objects while the attempt runs: PostgreSQL holds at most
//! `limits::LOG_TAIL_BYTES` of each.
//!
//! The object is written first. Then one transaction puts its range in place of the chunks, so a reader's snapshot
//! sees either. Who comes second with the same chunks finds them gone and leaves nothing behind.

use bytes::Bytes;
use chrono::DateTime;
use rgrid_core::Timestamp;
use rgrid_core::id::ExecutionId;
use rgrid_core::limits;
use sha2::{Digest, Sha256};
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::logs::{LogCursor, LogPiece, LogStream, Standing, TAIL_CHUNKS};
use crate::objects::{self, ObjectKey};
use crate::row::{Columns, bigint, integer};
use crate::{Error, Result, Store};

/// What stays in rows after a move: half, so that objects are not small.
const LEFT_BYTES: u64 = limits::LOG_TAIL_BYTES / 2;
const LEFT_CHUNKS: u64 = TAIL_CHUNKS / 2;
/// Beyond this the database may not be used as a store of logs: while objects cannot be written, pushes wait.
const TAIL_BYTES_MAX: u64 = 16 * limits::LOG_TAIL_BYTES;
/// First bytes of such an object: what it is, and the version of its form.
const MAGIC: &[u8; 8] = b"rgridlg1";
const HEADER_BYTES: usize = 1 + 8 + 8 + 8 + 8;
const HASH_BYTES: usize = 32;

/// A range of a log that lies in an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    key: ObjectKey,
    stdout_end: u64,
    stderr_end: u64,
    at: Timestamp,
}

impl Range {
    /// The range of a row that stands for one; `None` for a chunk's row.
    pub(crate) fn read(row: &PgRow) -> Result<Option<Self>> {
        let Some(key) = row.text_or_null("object_key")? else { return Ok(None) };
        let (stdout_end, stderr_end) = (row.number64("stdout_end")?, row.number64("stderr_end")?);
        Ok(Some(Self { key, stdout_end, stderr_end, at: row.try_get("at")? }))
    }

    /// What a reader gets when the object is lost: from where it stands to the range's end, nothing.
    fn gaps(&self, cursor: &LogCursor) -> Vec<LogPiece> {
        let gap = |stream, end: u64| {
            let offset = cursor.of(stream);
            let gap_bytes = end.saturating_sub(offset);
            LogPiece { stream, offset, bytes: Vec::new(), gap_bytes, at: self.at }
        };
        vec![gap(LogStream::Stdout, self.stdout_end), gap(LogStream::Stderr, self.stderr_end)]
    }
}

impl Store {
    /// Writes down the key of an object before it is made, so that no crash leaves one that nobody knows of.
    pub(crate) async fn announce_object(&self, key: &ObjectKey) -> Result<()> {
        sqlx::query(include_str!("../queries/logs/announce_object.sql"))
            .bind(key.to_string())
            .execute(self.pool())
            .await?;
        Ok(())
    }

    /// The pieces of a range, in the order in which they were written.
    pub(crate) async fn read_range(&self, key: ObjectKey) -> Result<Vec<LogPiece>> {
        let bytes = self.objects().get(key, None).await?.read_to_end().await?;
        decode(&bytes).ok_or_else(|| Error::corrupt("log", format!("object {key}")))
    }

    /// The same; gaps where the object is lost or damaged, so that the rest of the log can still be read.
    pub(crate) async fn read_range_or_gap(&self, range: &Range, cursor: &LogCursor) -> Result<Vec<LogPiece>> {
        match self.read_range(range.key).await {
            Err(error @ (Error::Corrupt { .. } | Error::Objects(objects::Error::Missing(_)))) => {
                tracing::error!(object_key = %range.key, %error, "a range of a log is lost");
                Ok(range.gaps(cursor))
            }
            read => read,
        }
    }

    /// Moves the older half of what is in rows to an object. Where that fails the log may grow a while in rows.
    pub(crate) async fn make_room(
        &self,
        execution: ExecutionId,
        attempt: u32,
        tail_bytes: u64,
    ) -> Result<()> {
        match self.move_oldest(execution, attempt).await {
            Err(error) if tail_bytes < TAIL_BYTES_MAX => {
                tracing::warn!(%execution, attempt, %error, "older log bytes could not be moved to an object");
                Ok(())
            }
            moved => moved,
        }
    }

    async fn move_oldest(&self, execution: ExecutionId, attempt: u32) -> Result<()> {
        let rows = sqlx::query(include_str!("../queries/logs/oldest.sql"))
            .bind(execution.to_string())
            .bind(integer(attempt))
            .bind(bigint(LEFT_BYTES))
            .bind(bigint(LEFT_CHUNKS))
            .fetch_all(self.pool())
            .await?;
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
        let (first_seq, end_seq) = (first.number64("seq")?, last.number64("seq")? + 1);
        let pieces = rows.iter().map(LogPiece::read).collect::<Result<Vec<_>>>()?;
        let object = encode(&pieces);
        let size_bytes = object.len() as u64;
        let key = ObjectKey::fresh();
        self.announce_object(&key).await?;
        self.objects().put(key, object).await?;

        let end_of = |stream| {
            let of_stream = pieces.iter().rev().find(|piece| piece.stream == stream);
            bigint(of_stream.map_or(0, LogPiece::end))
        };
        let mut transaction = self.begin().await?;
        Standing::lock(&mut transaction, execution, attempt).await?;
        let moved = sqlx::query(include_str!("../queries/logs/move.sql"))
            .bind(execution.to_string())
            .bind(integer(attempt))
            .bind(bigint(first_seq))
            .bind(bigint(end_seq))
            .bind(bigint(pieces.len() as u64))
            .bind(key.to_string())
            .bind(end_of(LogStream::Stdout))
            .bind(end_of(LogStream::Stderr))
            .bind(last.try_get::<Timestamp, _>("at")?)
            .bind(bigint(size_bytes))
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        if moved == 1 {
            transaction.commit().await?;
        } else {
            // Somebody else moved them meanwhile. Our object is on the list of those to be deleted.
            transaction.rollback().await?;
        }
        Ok(())
    }
}

/// Pieces one after the other, each with a header of fixed size, between a magic and a hash of all before it.
fn encode(pieces: &[LogPiece]) -> Bytes {
    let size: usize = pieces.iter().map(|piece| HEADER_BYTES + piece.bytes.len()).sum();
    let mut object = Vec::with_capacity(MAGIC.len() + size + HASH_BYTES);
    object.extend(MAGIC);
    for piece in pieces {
        object.push(match piece.stream {
            LogStream::Stdout => 1,
            LogStream::Stderr => 2,
        });
        object.extend(piece.at.timestamp_micros().to_be_bytes());
        object.extend(piece.offset.to_be_bytes());
        object.extend(piece.gap_bytes.to_be_bytes());
        object.extend((piece.bytes.len() as u64).to_be_bytes());
        object.extend(&piece.bytes);
    }
    let hash = Sha256::digest(&object);
    object.extend(hash);
    Bytes::from(object)
}

fn decode(object: &[u8]) -> Option<Vec<LogPiece>> {
    let (hashed, hash) = object.split_last_chunk::<HASH_BYTES>()?;
    if Sha256::digest(hashed).as_slice() != hash {
        return None;
    }
    let mut rest = hashed.strip_prefix(MAGIC)?;
    let mut pieces = Vec::new();
    while let Some((stream, after)) = rest.split_first() {
        let stream = match stream {
            1 => LogStream::Stdout,
            2 => LogStream::Stderr,
            _ => return None,
        };
        let (micros, after) = after.split_first_chunk::<8>()?;
        let (offset, after) = after.split_first_chunk::<8>()?;
        let (gap_bytes, after) = after.split_first_chunk::<8>()?;
        let (length, after) = after.split_first_chunk::<8>()?;
        let (bytes, after) = after.split_at_checked(usize::try_from(u64::from_be_bytes(*length)).ok()?)?;
        pieces.push(LogPiece {
            stream,
            offset: u64::from_be_bytes(*offset),
            bytes: bytes.to_vec(),
            gap_bytes: u64::from_be_bytes(*gap_bytes),
            at: DateTime::from_timestamp_micros(i64::from_be_bytes(*micros))?,
        });
        rest = after;
    }
    Some(pieces)
}
