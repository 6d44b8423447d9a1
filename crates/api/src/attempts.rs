//! What a runner says of an attempt it holds. Each call carries the attempt's number in its path and its token in
//! a header; a stale one is answered `not_current` and has changed nothing.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::artifacts::Artifact;
use crate::logs::LogChunk;
use crate::outcome::OutcomeBody;

/// The body of `POST /attempts/{execution}/{attempt}/logs`. A chunk whose bytes are known already is skipped, so a
/// repeated push is harmless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PushLogs {
    /// In the order in which they were read; at most 256 KiB of bytes, and offsets without holes.
    pub chunks: Vec<LogChunk>,
}

/// The answer to a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogsPushed {
    /// Bytes of standard output that are kept.
    pub stdout: u64,
    /// Bytes of standard error that are kept.
    pub stderr: u64,
    /// Somebody follows: push at once.
    pub followed: bool,
}

/// The body of `POST /attempts/{execution}/{attempt}/finish`. Idempotent by the attempt and the hash of this body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finish {
    /// How it ended.
    pub outcome: OutcomeBody,
    /// Everything that comes back, as one set. `kind` is `output` and `url` is absent. Every blob it names must be
    /// committed.
    pub outputs: Vec<Artifact>,
    /// Files that it wrote where nothing is brought back from; at most 100 are named.
    #[schema(max_items = 100)]
    pub not_brought_back: Vec<String>,
    /// Bytes of each stream; all of them must have been pushed.
    pub stdout_bytes: u64,
    /// See `stdout_bytes`.
    pub stderr_bytes: u64,
    /// Most memory that was seen, in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// CPU time that was used, in milliseconds.
    pub cpu_ms: Option<u64>,
    /// Hash of what ran it: the exact Python, the system, the C library, the architecture, the image. Absent: nobody may
    /// reuse its outputs.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
}

/// The answer to a finish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finished {
    /// The execution's status now: terminal, or `queued` when it is tried again.
    pub status: String,
}
