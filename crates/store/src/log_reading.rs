//! Reading logs by cursor, whether their bytes lie in rows or in objects, and finding where the last lines start.

use rgrid_core::execution::Status;
use rgrid_core::id::{AccountId, ExecutionId};
use sqlx::Row;

use crate::log_ranges::Range;
use crate::logs::{LogChunk, LogCursor, LogPage, LogPiece};
use crate::row::{Columns, bigint, integer};
use crate::{Error, Result, Store, guards};

impl Store {
    /// Before the first byte of the newest attempt.
    pub async fn log_start_cursor(&self, account: AccountId, execution: ExecutionId) -> Result<LogCursor> {
        Ok(LogCursor::start_of(self.log_standing(account, execution, 0).await?.newest))
    }

    /// Where to start reading to get the last `lines` lines of the newest attempt, both streams counted together in
    /// the order in which they were written.
    pub async fn log_tail_cursor(
        &self,
        account: AccountId,
        execution: ExecutionId,
        lines: u32,
    ) -> Result<LogCursor> {
        let newest = self.log_standing(account, execution, 0).await?.newest;
        let mut cursor = LogCursor::start_of(newest);
        // Asked before the chunks: what comes meanwhile is read twice rather than not at all.
        if let Some(sizes) = self.log_progress(&[(execution, newest)]).await?.get(&(execution, newest)) {
            cursor = LogCursor { attempt: newest, stdout: sizes.stdout, stderr: sizes.stderr };
        }
        let rows = sqlx::query(include_str!("../queries/logs/tail.sql"))
            .bind(execution.to_string())
            .bind(integer(newest))
            .fetch_all(self.pool())
            .await?;
        let mut lines = LinesBack { left: lines, at_end: true };
        for row in &rows {
            let pieces = match row.text_or_null("object_key")? {
                None => vec![LogPiece::read(row)?],
                Some(key) => self.read_range(key).await?,
            };
            for piece in pieces.iter().rev() {
                if lines.left == 0 {
                    return Ok(cursor);
                }
                cursor.set(piece.stream, lines.start_in(piece));
            }
        }
        Ok(cursor)
    }

    /// What follows `cursor`, at most `max_bytes` of it and at least one byte when there is any. Moves on to the next
    /// attempt when the cursor's has ended and was read to its end.
    pub async fn read_logs(
        &self,
        account: AccountId,
        execution: ExecutionId,
        cursor: LogCursor,
        max_bytes: usize,
    ) -> Result<LogPage> {
        let mut page = LogPage { chunks: Vec::new(), next: cursor, complete: false };
        let mut room = max_bytes.max(1);
        loop {
            // Asked before the bytes are read: an attempt that has ended writes no more.
            let standing = self.log_standing(account, execution, page.next.attempt).await?;
            if page.next.attempt > standing.newest {
                let reason = format!("there is no attempt {}", page.next.attempt);
                return Err(Error::Invalid { field: "cursor", reason });
            }
            let is_read =
                page.next.attempt == 0 || self.read_attempt(execution, &mut page, &mut room).await?;
            if !is_read || standing.writing {
                return Ok(page);
            }
            if page.next.attempt == standing.newest {
                page.complete = standing.status.is_terminal();
                return Ok(page);
            }
            page.next = LogCursor::start_of(page.next.attempt + 1);
        }
    }

    async fn log_standing(
        &self,
        account: AccountId,
        execution: ExecutionId,
        attempt: u32,
    ) -> Result<Attempts> {
        let row =
            sqlx::query(guards::sql(&[&guards::ACCOUNT_LOGS], include_str!("../queries/logs/standing.sql")))
                .bind(execution.to_string())
                .bind(account.to_string())
                .bind(integer(attempt))
                .fetch_optional(self.pool())
                .await?
                .ok_or_else(|| Error::not_found("execution", execution))?;
        Ok(Attempts {
            newest: row.number32("newest")?,
            status: row.text("status")?,
            writing: row.try_get("writing")?,
        })
    }

    /// Fills the page from the attempt of its cursor; true when all was read that was there.
    async fn read_attempt(
        &self,
        execution: ExecutionId,
        page: &mut LogPage,
        room: &mut usize,
    ) -> Result<bool> {
        loop {
            let rows = sqlx::query(include_str!("../queries/logs/read.sql"))
                .bind(execution.to_string())
                .bind(integer(page.next.attempt))
                .bind(bigint(page.next.stdout))
                .bind(bigint(page.next.stderr))
                .fetch_all(self.pool())
                .await?;
            let range = rows.first().map(Range::read).transpose()?.flatten();
            let is_last = range.is_none();
            let pieces = match range {
                Some(range) => self.read_range_or_gap(&range, &page.next).await?,
                None => rows.iter().map(LogPiece::read).collect::<Result<_>>()?,
            };
            for piece in pieces {
                let read_to = page.next.of(piece.stream);
                let Some(mut piece) = piece.after(read_to) else { continue };
                let is_cut = piece.bytes.len() > *room;
                piece.bytes.truncate(*room);
                if !piece.bytes.is_empty() || piece.gap_bytes > 0 {
                    *room -= piece.bytes.len();
                    page.next.set(piece.stream, piece.end());
                    page.chunks.push(LogChunk { attempt: page.next.attempt, piece });
                }
                if is_cut {
                    return Ok(false);
                }
            }
            if is_last {
                return Ok(true);
            }
            if *room == 0 {
                return Ok(false);
            }
        }
    }
}

/// Counts lines from the end of a log.
struct LinesBack {
    left: u32,
    /// The newline that ends the log starts no line.
    at_end: bool,
}

impl LinesBack {
    /// Where the last lines that are still wanted start in `piece`, or the start of it when they start before.
    fn start_in(&mut self, piece: &LogPiece) -> u64 {
        for (at, byte) in piece.bytes.iter().enumerate().rev() {
            let starts_line = *byte == b'\n' && !std::mem::take(&mut self.at_end);
            self.at_end = false;
            if starts_line {
                self.left -= 1;
                if self.left == 0 {
                    return piece.offset + at as u64 + 1;
                }
            }
        }
        piece.offset
    }
}

struct Attempts {
    newest: u32,
    status: Status,
    /// The attempt that was asked about may still write.
    writing: bool,
}
