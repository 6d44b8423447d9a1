//! Stdin on its way to a running attempt, addressed by byte offset in both directions: whoever is cut sends or reads
//! again from where it knows.
//!
//! The writer's side is bounded by what the newest attempt has not read. What was read moves to objects and stays
//! until the execution has ended, because a later attempt reads all of it again.

use bytes::Bytes;
use rgrid_core::id::{AccountId, ExecutionId};
use rgrid_core::limits;
use rgrid_core::submission::Sha256;
use sqlx::{PgConnection, Postgres, Row, Transaction};

use crate::attempts::AttemptAuth;
use crate::notify::Nudge;
use crate::objects::ObjectKey;
use crate::row::{Columns, bigint, integer};
use crate::{Error, Result, Store, secret};

/// Bytes that may wait for their reader.
pub const UNREAD_BYTES_MAX: u64 = 8 << 20;
/// Bytes of one chunk in a row.
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes that were read move to an object once there are this many.
const MOVED_BYTES: u64 = 4 << 20;

/// What a write gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StdinWritten {
    /// The next byte that is wanted; bytes before need not be sent again.
    pub next: u64,
    /// False when the execution reads no more.
    pub wanted: bool,
}

/// Whether bytes are the last ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StdinEnd {
    /// More may follow.
    Open,
    /// Nothing follows; with the hash of all there was, as far as the sender says it.
    Here(Option<Sha256>),
}

impl From<bool> for StdinEnd {
    fn from(eof: bool) -> Self {
        if eof { Self::Here(None) } else { Self::Open }
    }
}

/// What a read gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StdinRead {
    /// From the offset that was asked for; empty when nothing is there yet.
    pub bytes: Vec<u8>,
    /// Nothing follows these.
    pub eof: bool,
}

/// Drops what an execution that has ended would have read.
pub(crate) async fn clear_stdin(connection: &mut PgConnection, execution: ExecutionId) -> Result<()> {
    sqlx::query(include_str!("../queries/stdin/clear.sql"))
        .bind(execution.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

impl Store {
    /// Takes bytes of stdin that start at `offset`: as many as there is room for, none of them twice. `end` says
    /// whether something follows them.
    pub async fn write_stdin(
        &self,
        account: AccountId,
        execution: ExecutionId,
        offset: u64,
        bytes: &[u8],
        end: impl Into<StdinEnd>,
    ) -> Result<StdinWritten> {
        let (eof, sha256) = match end.into() {
            StdinEnd::Open => (false, None),
            StdinEnd::Here(sha256) => (true, sha256),
        };
        let mut transaction = self.begin().await?;
        let Some(standing) = lock(&mut transaction, account, execution).await? else {
            return self.unwanted(account, execution).await;
        };
        let end = offset.saturating_add(bytes.len() as u64);
        if offset > standing.received {
            let reason =
                format!("stdin stands at byte {}, and what came starts at {offset}", standing.received);
            return Err(Error::Invalid { field: "offset", reason });
        }
        if standing.eof && end > standing.received {
            let reason = format!("stdin ended at byte {}", standing.received);
            return Err(Error::Invalid { field: "offset", reason });
        }
        if end > limits::STDIN_BYTES_MAX {
            return Err(Error::TooLarge { what: "stdin", limit: limits::STDIN_BYTES_MAX });
        }
        // Both ends lie within the bytes at hand, by the checks above.
        let known = usize::try_from(standing.received - offset).unwrap_or(usize::MAX).min(bytes.len());
        let room = UNREAD_BYTES_MAX.saturating_sub(standing.received.saturating_sub(standing.read));
        let fresh = &bytes[known..];
        let taken = &fresh[..fresh.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        let next = standing.received + taken.len() as u64;
        let ends = standing.eof || (eof && taken.len() == fresh.len());
        if !taken.is_empty() || ends != standing.eof {
            let end = if ends { StdinEnd::Here(sha256) } else { StdinEnd::Open };
            append(&mut transaction, execution, standing.received, taken, end).await?;
            transaction.commit().await?;
            self.nudge(Nudge::Logs);
        }
        Ok(StdinWritten { next, wanted: true })
    }

    /// Why no stdin is written: the execution has ended, or takes none.
    async fn unwanted(&self, account: AccountId, execution: ExecutionId) -> Result<StdinWritten> {
        let row = sqlx::query(include_str!("../queries/stdin/taken.sql"))
            .bind(execution.to_string())
            .bind(account.to_string())
            .fetch_optional(self.pool())
            .await?
            .ok_or_else(|| Error::not_found("execution", execution))?;
        if !row.try_get::<bool, _>("stdin")? {
            let reason = "the execution was submitted without stdin".to_owned();
            return Err(Error::Invalid { field: "stdin", reason });
        }
        let received: Option<i64> = row.try_get("received_bytes")?;
        let next = received.and_then(|received| u64::try_from(received).ok()).unwrap_or(0);
        Ok(StdinWritten { next, wanted: false })
    }

    /// Reads stdin from `offset` on, at most `max_bytes`. What lies before `offset` counts as read: it makes room for
    /// the writer. Answers at once, with no bytes when none are there.
    pub async fn read_stdin(&self, a: &AttemptAuth, offset: u64, max_bytes: usize) -> Result<StdinRead> {
        let row = sqlx::query(include_str!("../queries/stdin/standing.sql"))
            .bind(a.execution_id.to_string())
            .bind(integer(a.attempt))
            .bind(a.worker_id.to_string())
            .bind(secret::hash(&a.token).as_slice())
            .fetch_optional(self.pool())
            .await?
            .ok_or(Error::NotCurrent)?;
        if !row.try_get::<bool, _>("stdin")? {
            return Ok(StdinRead { bytes: Vec::new(), eof: true });
        }
        let received = row.number64("received_bytes")?;
        if offset > received {
            let reason = format!("only {received} bytes of stdin have come");
            return Err(Error::Invalid { field: "offset", reason });
        }
        let acknowledged = sqlx::query(include_str!("../queries/stdin/acknowledge.sql"))
            .bind(a.execution_id.to_string())
            .bind(integer(a.attempt))
            .bind(bigint(offset))
            .execute(self.pool())
            .await?;
        if acknowledged.rows_affected() > 0 {
            // The writer may be waiting for room.
            self.nudge(Nudge::Logs);
        }
        let in_rows_from = received.saturating_sub(row.number64("tail_bytes")?);
        if offset >= in_rows_from + MOVED_BYTES {
            self.move_read_stdin(a.execution_id, in_rows_from, offset).await?;
        }
        let bytes = self.stdin_bytes(a.execution_id, offset, max_bytes.max(1)).await?;
        let eof = row.try_get::<bool, _>("eof")? && offset + bytes.len() as u64 >= received;
        Ok(StdinRead { bytes, eof })
    }

    async fn stdin_bytes(&self, execution: ExecutionId, offset: u64, max_bytes: usize) -> Result<Vec<u8>> {
        let range = sqlx::query(include_str!("../queries/stdin/range.sql"))
            .bind(execution.to_string())
            .bind(bigint(offset))
            .fetch_optional(self.pool())
            .await?;
        if let Some(range) = range {
            let start = offset - range.number64("start_byte")?;
            let wanted = start..start.saturating_add(max_bytes as u64);
            let key = range.text("object_key")?;
            return Ok(self.objects().get(key, Some(wanted)).await?.read_to_end().await?);
        }
        let rows = sqlx::query(include_str!("../queries/stdin/chunks.sql"))
            .bind(execution.to_string())
            .bind(bigint(offset))
            // The first chunk may start before the offset.
            .bind(bigint((max_bytes + CHUNK_BYTES) as u64))
            .fetch_all(self.pool())
            .await?;
        let mut bytes = Vec::new();
        for row in rows {
            let chunk: &[u8] = row.try_get("bytes")?;
            let Some(known) = (offset + bytes.len() as u64).checked_sub(row.number64("start_byte")?) else {
                // Moved to an object between the two queries: the next read finds it there.
                break;
            };
            let fresh = chunk.get(usize::try_from(known).unwrap_or(usize::MAX)..).unwrap_or_default();
            bytes.extend_from_slice(&fresh[..fresh.len().min(max_bytes - bytes.len())]);
        }
        Ok(bytes)
    }

    /// Moves what was read to an object. The object first, then its row in place of the chunks: a reader between the
    /// two looks for the object's row first and finds the chunks.
    async fn move_read_stdin(&self, execution: ExecutionId, start: u64, read: u64) -> Result<()> {
        let rows = sqlx::query(include_str!("../queries/stdin/read_chunks.sql"))
            .bind(execution.to_string())
            .bind(bigint(read))
            .fetch_all(self.pool())
            .await?;
        let Some(end) = rows.last().map(|row| row.number64("end_byte")).transpose()? else { return Ok(()) };
        let mut object = Vec::new();
        for row in &rows {
            object.extend_from_slice(row.try_get("bytes")?);
        }
        if object.len() as u64 != end.saturating_sub(start) {
            // A twin of this call has moved some of them.
            return Ok(());
        }
        let key = ObjectKey::fresh();
        self.announce_object(&key).await?;
        self.objects().put(key, Bytes::from(object)).await?;
        let mut transaction = self.begin().await?;
        let moved = sqlx::query(include_str!("../queries/stdin/move.sql"))
            .bind(execution.to_string())
            .bind(bigint(start))
            .bind(bigint(end))
            .bind(key.to_string())
            .execute(&mut *transaction)
            .await?;
        if moved.rows_affected() == 1 {
            transaction.commit().await?
        } else {
            transaction.rollback().await?
        }
        Ok(())
    }
}

struct Standing {
    received: u64,
    read: u64,
    eof: bool,
}

async fn lock(
    transaction: &mut Transaction<'_, Postgres>,
    account: AccountId,
    execution: ExecutionId,
) -> Result<Option<Standing>> {
    if let Some(standing) = try_lock(transaction, account, execution).await? {
        return Ok(Some(standing));
    }
    sqlx::query(include_str!("../queries/stdin/begin.sql"))
        .bind(execution.to_string())
        .bind(account.to_string())
        .execute(&mut **transaction)
        .await?;
    try_lock(transaction, account, execution).await
}

async fn try_lock(
    transaction: &mut Transaction<'_, Postgres>,
    account: AccountId,
    execution: ExecutionId,
) -> Result<Option<Standing>> {
    let row = sqlx::query(include_str!("../queries/stdin/lock.sql"))
        .bind(execution.to_string())
        .bind(account.to_string())
        .fetch_optional(&mut **transaction)
        .await?;
    row.map(|row| {
        Ok(Standing {
            received: row.number64("received_bytes")?,
            read: row.number64("read_bytes")?,
            eof: row.try_get("eof")?,
        })
    })
    .transpose()
}

async fn append(
    transaction: &mut Transaction<'_, Postgres>,
    execution: ExecutionId,
    start: u64,
    bytes: &[u8],
    end: StdinEnd,
) -> Result<()> {
    let (eof, sha256) = match end {
        StdinEnd::Open => (false, None),
        StdinEnd::Here(sha256) => (true, sha256),
    };
    let (mut starts, mut ends, mut chunks) = (Vec::new(), Vec::new(), Vec::new());
    let mut at = start;
    for chunk in bytes.chunks(CHUNK_BYTES) {
        starts.push(bigint(at));
        at += chunk.len() as u64;
        ends.push(bigint(at));
        chunks.push(chunk);
    }
    sqlx::query(include_str!("../queries/stdin/append.sql"))
        .bind(execution.to_string())
        .bind(bigint(at))
        .bind(eof)
        .bind(bigint(bytes.len() as u64))
        .bind(starts)
        .bind(ends)
        .bind(chunks)
        .bind(sha256.map(|sha256| sha256.0.to_vec()))
        .execute(&mut **transaction)
        .await?;
    Ok(())
}
