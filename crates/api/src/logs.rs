//! Log bytes, read by cursor, and stdin on its way in. A follow by SSE is in `events.rs`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::bytes64::Bytes64;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The one spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A run of bytes of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogChunk {
    /// Which attempt wrote it.
    pub attempt: u32,
    /// Which stream.
    pub stream: Stream,
    /// Offset of its first byte in what the attempt wrote on that stream.
    pub offset: u64,
    /// The bytes; empty for a gap.
    pub bytes: Bytes64,
    /// Bytes that are missing from `offset` on: the middle of a log above its limit, or a range that was lost.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gap_bytes: u64,
    /// When the runner read it.
    pub at: DateTime<Utc>,
}

impl LogChunk {
    /// Offset after its last byte or its gap. A peer's numbers may be any: a sum beyond them is the largest.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes.0.len() as u64).saturating_add(self.gap_bytes)
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How far a reader is: an attempt and the next byte of each of its streams. Written `attempt:stdout:stderr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// The attempt; 0 before the first.
    pub attempt: u32,
    /// Next byte of standard output.
    pub stdout: u64,
    /// Next byte of standard error.
    pub stderr: u64,
}

impl Cursor {
    /// This cursor after `chunk` was read.
    #[must_use]
    pub fn after(mut self, chunk: &LogChunk) -> Self {
        if chunk.attempt > self.attempt {
            self = Self { attempt: chunk.attempt, stdout: 0, stderr: 0 };
        }
        let end = chunk.end();
        match chunk.stream {
            Stream::Stdout => self.stdout = end,
            Stream::Stderr => self.stderr = end,
        }
        self
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.attempt, self.stdout, self.stderr)
    }
}

impl std::str::FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("{text:?} is not a log cursor of the form attempt:stdout:stderr");
        let mut parts = text.split(':');
        let mut next = || parts.next().and_then(|part| part.parse::<u64>().ok()).ok_or_else(error);
        let (attempt, stdout, stderr) = (next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(error());
        }
        Ok(Self { attempt: u32::try_from(attempt).map_err(|_| error())?, stdout, stderr })
    }
}

/// The query of `GET /executions/{id}/logs` and `/logs/stream`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReadLogs {
    /// `attempt:stdout:stderr`; absent: from the first byte of the newest attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Start this many lines before the end instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tail: Option<u32>,
}

/// One page of a log, in the order in which it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogPage {
    /// At most about 1 MiB of bytes.
    pub chunks: Vec<LogChunk>,
    /// Pass it to read on.
    pub next: String,
    /// True when nothing will follow.
    pub complete: bool,
}

/// The query of `POST /executions/{id}/stdin`; the body is the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WriteStdin {
    /// Offset of the first byte of the body.
    pub offset: u64,
    /// True when nothing follows the body.
    #[serde(default)]
    pub eof: bool,
    /// With `eof`: hash of all bytes, by which the same input is known again.
    #[param(pattern = "^[0-9a-f]{64}$")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// The answer: bytes before `next` need not be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StdinWritten {
    /// Offset of the next byte that is wanted. Unchanged when the buffer is full: send the same bytes again.
    pub next: u64,
    /// False when the execution reads no more: stop sending.
    pub wanted: bool,
}
