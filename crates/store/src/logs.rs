//! Log bytes of attempts, and how they are appended. Reading is in `log_reading.rs`; older ranges move to objects in
//! `log_ranges.rs`.
//!
//! A stream is addressed by byte offsets that the runner gives, so a repeated push changes nothing. Chunks of both
//! streams share one numbering, the order in which they came. What the log lacks is a gap, and a gap is a chunk.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use rgrid_core::Timestamp;
use rgrid_core::id::ExecutionId;
use rgrid_core::limits;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, Row, Transaction};

use crate::attempts::AttemptAuth;
use crate::notify::Nudge;
use crate::row::{Columns, bigint, integer};
use crate::{Error, Result, Store, guards, secret};

/// Chunks of one push.
pub const PUSH_CHUNKS_MAX: usize = 16_384;
/// Chunks of an attempt that stay in rows, however small they are.
pub(crate) const TAIL_CHUNKS: u64 = 8 * 1024;
/// Bytes of an attempt that are kept. Runners cut their logs far below it; this one is for a runner that does not.
pub const KEPT_BYTES_MAX: u64 = 4 * limits::LOG_BYTES_MAX;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl LogStream {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];

    /// The one spelling: in rows and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl fmt::Display for LogStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for LogStream {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|stream| stream.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not a stream"))
    }
}

/// A run of bytes of one stream, or a gap in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPiece {
    /// Which stream.
    pub stream: LogStream,
    /// Offset of its first byte in what the attempt wrote on that stream.
    pub offset: u64,
    /// The bytes; empty for a gap.
    pub bytes: Vec<u8>,
    /// Bytes that are missing from `offset` on; 0 unless it is a gap.
    pub gap_bytes: u64,
    /// When the runner read it.
    pub at: Timestamp,
}

impl LogPiece {
    /// Offset after its last byte.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes.len() as u64).saturating_add(self.gap_bytes)
    }

    /// What of it lies at `offset` and after; `None` when nothing does.
    pub(crate) fn after(mut self, offset: u64) -> Option<Self> {
        let skipped = offset.saturating_sub(self.offset);
        if self.end() <= offset {
            return None;
        }
        if self.bytes.is_empty() {
            self.gap_bytes -= skipped;
        } else {
            // What is skipped is shorter than the bytes, which are in memory.
            self.bytes.drain(..usize::try_from(skipped).unwrap_or(usize::MAX));
        }
        self.offset += skipped;
        Some(self)
    }

    pub(crate) fn read(row: &PgRow) -> Result<Self> {
        let (start, end) = (row.number64("start_byte")?, row.number64("end_byte")?);
        let bytes: Vec<u8> = row.try_get("bytes")?;
        let gap_bytes = if bytes.is_empty() { end.saturating_sub(start) } else { 0 };
        Ok(Self { stream: row.text("stream")?, offset: start, bytes, gap_bytes, at: row.try_get("at")? })
    }
}

/// How far a reader is: an attempt, and the next byte of each of its streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogCursor {
    /// The attempt; 0 before the first.
    pub attempt: u32,
    /// Next byte of standard output.
    pub stdout: u64,
    /// Next byte of standard error.
    pub stderr: u64,
}

impl LogCursor {
    /// Before the first byte of an attempt.
    pub fn start_of(attempt: u32) -> Self {
        Self { attempt, stdout: 0, stderr: 0 }
    }

    /// Next byte of `stream`.
    pub fn of(&self, stream: LogStream) -> u64 {
        match stream {
            LogStream::Stdout => self.stdout,
            LogStream::Stderr => self.stderr,
        }
    }

    pub(crate) fn set(&mut self, stream: LogStream, offset: u64) {
        match stream {
            LogStream::Stdout => self.stdout = offset,
            LogStream::Stderr => self.stderr = offset,
        }
    }
}

/// A chunk of an attempt's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// Who wrote it.
    pub attempt: u32,
    /// What was written.
    pub piece: LogPiece,
}

/// A page of a log, in the order in which it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// The page; empty when there is nothing new.
    pub chunks: Vec<LogChunk>,
    /// Where to read on.
    pub next: LogCursor,
    /// True when nothing will follow.
    pub complete: bool,
}

/// How many bytes of each stream are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogSizes {
    /// Of standard output.
    pub stdout: u64,
    /// Of standard error.
    pub stderr: u64,
}

/// What a push gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogsAppended {
    /// Where the streams stand now: bytes before need not be pushed again.
    pub sizes: LogSizes,
    /// Somebody follows.
    pub followed: bool,
}

/// Where an attempt's log stands, under lock.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Standing {
    sizes: LogSizes,
    next_seq: u64,
    kept_bytes: u64,
    pub(crate) tail_bytes: u64,
    pub(crate) tail_chunks: u64,
}

impl Standing {
    /// Locks an attempt's log; `None` before its first byte.
    pub(crate) async fn lock(
        transaction: &mut Transaction<'_, Postgres>,
        execution: ExecutionId,
        attempt: u32,
    ) -> Result<Option<Self>> {
        let row = sqlx::query(include_str!("../queries/logs/lock.sql"))
            .bind(execution.to_string())
            .bind(integer(attempt))
            .fetch_optional(&mut **transaction)
            .await?;
        row.map(|row| {
            Ok(Self {
                sizes: sizes(&row)?,
                next_seq: row.number64("next_seq")?,
                kept_bytes: row.number64("kept_bytes")?,
                tail_bytes: row.number64("tail_bytes")?,
                tail_chunks: row.number64("tail_chunks")?,
            })
        })
        .transpose()
    }

    /// Takes what is new of a push, and moves on past it. A hole is refused.
    pub(crate) fn accept(&mut self, pieces: &[LogPiece]) -> Result<Vec<LogPiece>> {
        let mut accepted = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let next = match piece.stream {
                LogStream::Stdout => &mut self.sizes.stdout,
                LogStream::Stderr => &mut self.sizes.stderr,
            };
            if piece.offset > *next && guards::holds(&guards::LOG_WITHOUT_HOLE) {
                let reason = format!(
                    "{} stands at byte {next}, and what came starts at {}",
                    piece.stream, piece.offset
                );
                return Err(Error::Invalid { field: "offset", reason });
            }
            let known = if guards::holds(&guards::LOG_ONCE) { *next } else { piece.offset };
            let Some(mut piece) = piece.clone().after(known) else { continue };
            *next = piece.end();
            if self.kept_bytes + piece.bytes.len() as u64 > KEPT_BYTES_MAX {
                // A log never ends a job: what is too much becomes a gap that every reader sees.
                piece.gap_bytes = std::mem::take(&mut piece.bytes).len() as u64;
            }
            self.kept_bytes += piece.bytes.len() as u64;
            accepted.push(piece);
        }
        Ok(accepted)
    }
}

fn sizes(row: &PgRow) -> Result<LogSizes> {
    Ok(LogSizes { stdout: row.number64("stdout_bytes")?, stderr: row.number64("stderr_bytes")? })
}

pub(crate) fn check_push(pieces: &[LogPiece]) -> Result<()> {
    if pieces.iter().map(|piece| piece.bytes.len()).sum::<usize>() > limits::LOG_PUSH_BYTES {
        return Err(Error::TooLarge { what: "bytes of one push", limit: limits::LOG_PUSH_BYTES as u64 });
    }
    if pieces.len() > PUSH_CHUNKS_MAX {
        return Err(Error::TooLarge { what: "chunks of one push", limit: PUSH_CHUNKS_MAX as u64 });
    }
    for piece in pieces {
        if !piece.bytes.is_empty() && piece.gap_bytes > 0 {
            return Err(Error::Invalid { field: "gap_bytes", reason: "a gap holds no bytes".to_owned() });
        }
        if i64::try_from(piece.end()).is_err() {
            return Err(Error::Invalid {
                field: "offset",
                reason: "is beyond what a log can hold".to_owned(),
            });
        }
    }
    Ok(())
}

/// What an attempt has pushed, as its finish compares it.
pub(crate) async fn log_sizes(
    connection: &mut PgConnection,
    execution: ExecutionId,
    attempt: u32,
) -> Result<LogSizes> {
    let row = sqlx::query(include_str!("../queries/logs/sizes.sql"))
        .bind(execution.to_string())
        .bind(integer(attempt))
        .fetch_optional(connection)
        .await?;
    row.map_or(Ok(LogSizes::default()), |row| sizes(&row))
}

impl Store {
    /// Appends what is new of a push. Repeating a push is harmless; one that leaves a hole is `Error::Invalid`.
    pub async fn append_logs(&self, a: &AttemptAuth, pieces: &[LogPiece]) -> Result<LogsAppended> {
        check_push(pieces)?;
        let mut may_move = true;
        loop {
            let mut transaction = self.begin().await?;
            let followed = fence(&mut transaction, a).await?;
            let mut standing = begin(&mut transaction, a).await?;
            let accepted = standing.accept(pieces)?;
            if accepted.is_empty() {
                return Ok(LogsAppended { sizes: standing.sizes, followed });
            }
            let bytes: u64 = accepted.iter().map(|piece| piece.bytes.len() as u64).sum();
            let is_full = standing.tail_bytes + bytes > limits::LOG_TAIL_BYTES
                || standing.tail_chunks + accepted.len() as u64 > TAIL_CHUNKS + PUSH_CHUNKS_MAX as u64;
            if is_full && may_move {
                transaction.rollback().await?;
                self.make_room(a.execution_id, a.attempt, standing.tail_bytes).await?;
                may_move = false;
                continue;
            }
            write(&mut transaction, a, standing, accepted, bytes).await?;
            transaction.commit().await?;
            self.nudge(Nudge::Logs);
            return Ok(LogsAppended { sizes: standing.sizes, followed });
        }
    }

    /// How far each of these attempts has come; those without a byte are left out. One indexed query for all, for
    /// whoever serves many followers.
    pub async fn log_progress(
        &self,
        attempts: &[(ExecutionId, u32)],
    ) -> Result<HashMap<(ExecutionId, u32), LogSizes>> {
        let rows = sqlx::query(include_str!("../queries/logs/progress.sql"))
            .bind(attempts.iter().map(|(execution, _)| execution.to_string()).collect::<Vec<_>>())
            .bind(attempts.iter().map(|(_, attempt)| integer(*attempt)).collect::<Vec<_>>())
            .fetch_all(self.pool())
            .await?;
        rows.iter()
            .map(|row| Ok(((row.text("execution_id")?, row.number32("attempt")?), sizes(row)?)))
            .collect()
    }
}

async fn fence(transaction: &mut Transaction<'_, Postgres>, a: &AttemptAuth) -> Result<bool> {
    sqlx::query_scalar(guards::sql(
        &[&guards::FENCE_TOKEN, &guards::FENCE_CURRENT],
        include_str!("../queries/logs/fence.sql"),
    ))
    .bind(a.execution_id.to_string())
    .bind(integer(a.attempt))
    .bind(a.worker_id.to_string())
    .bind(secret::hash(&a.token).as_slice())
    .fetch_optional(&mut **transaction)
    .await?
    .ok_or(Error::NotCurrent)
}

async fn begin(transaction: &mut Transaction<'_, Postgres>, a: &AttemptAuth) -> Result<Standing> {
    if let Some(standing) = Standing::lock(transaction, a.execution_id, a.attempt).await? {
        return Ok(standing);
    }
    sqlx::query(include_str!("../queries/logs/begin.sql"))
        .bind(a.execution_id.to_string())
        .bind(integer(a.attempt))
        .execute(&mut **transaction)
        .await?;
    Ok(Standing::lock(transaction, a.execution_id, a.attempt).await?.unwrap_or_default())
}

async fn write(
    transaction: &mut Transaction<'_, Postgres>,
    a: &AttemptAuth,
    after: Standing,
    accepted: Vec<LogPiece>,
    bytes: u64,
) -> Result<()> {
    let first = after.next_seq;
    let count = accepted.len() as u64;
    sqlx::query(include_str!("../queries/logs/append.sql"))
        .bind(a.execution_id.to_string())
        .bind(integer(a.attempt))
        .bind(bigint(after.sizes.stdout))
        .bind(bigint(after.sizes.stderr))
        .bind(bigint(first + count))
        .bind(bigint(bytes))
        .bind(bigint(count))
        .bind(accepted.iter().map(|piece| piece.stream.as_str()).collect::<Vec<_>>())
        .bind(accepted.iter().map(|piece| bigint(piece.offset)).collect::<Vec<_>>())
        .bind(accepted.iter().map(|piece| bigint(piece.end())).collect::<Vec<_>>())
        .bind((first..first + count).map(bigint).collect::<Vec<_>>())
        .bind(accepted.iter().map(|piece| piece.bytes.as_slice()).collect::<Vec<_>>())
        .bind(accepted.iter().map(|piece| piece.at).collect::<Vec<_>>())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(offset: u64, length: usize) -> LogPiece {
        let at = Timestamp::UNIX_EPOCH;
        LogPiece { stream: LogStream::Stdout, offset, bytes: vec![b'x'; length], gap_bytes: 0, at }
    }

    #[test]
    fn what_is_beyond_all_bounds_becomes_a_gap_and_the_log_goes_on() {
        let mut standing = Standing { kept_bytes: KEPT_BYTES_MAX - 10, ..Standing::default() };
        let accepted = standing.accept(&[piece(0, 8), piece(8, 5), piece(13, 2)]).unwrap();
        let kept: Vec<(u64, usize, u64)> =
            accepted.iter().map(|piece| (piece.offset, piece.bytes.len(), piece.gap_bytes)).collect();
        assert_eq!(kept, [(0, 8, 0), (8, 0, 5), (13, 2, 0)]);
        assert_eq!((standing.sizes.stdout, standing.kept_bytes), (15, KEPT_BYTES_MAX));
    }

    #[test]
    fn only_what_is_new_of_a_piece_is_taken() {
        assert_eq!(piece(10, 5).after(15), None);
        assert_eq!(piece(10, 5).after(3), Some(piece(10, 5)));
        assert_eq!(piece(10, 5).after(12), Some(piece(12, 3)));
        let gap = LogPiece { gap_bytes: 5, ..piece(10, 0) };
        assert_eq!(gap.clone().after(12), Some(LogPiece { gap_bytes: 3, ..piece(12, 0) }));
        assert_eq!(gap.after(15), None);
    }
}
