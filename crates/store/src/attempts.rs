//! Attempts: what a runner says of one it holds. Every call is fenced by number and token: a stale one changes
//! nothing and is answered `Error::NotCurrent`.

use std::fmt;
use std::str::FromStr;

use rgrid_core::Timestamp;
use rgrid_core::execution::Status;
use rgrid_core::id::{AccountId, ExecutionId, WorkerId};
use rgrid_core::outcome::Outcome;
use rgrid_core::path::AbsolutePath;
use rgrid_core::submission::Sha256;

use crate::{Result, Store};

/// Where an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttemptState {
    /// A worker holds it.
    Running,
    /// Its worker said how it ended.
    Ended,
    /// Its worker fell silent.
    Lost,
    /// Its worker gave it back, or never named it.
    HandedBack,
}

impl AttemptState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Running, Self::Ended, Self::Lost, Self::HandedBack];

    /// The one spelling: in rows and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ended => "ended",
            Self::Lost => "lost",
            Self::HandedBack => "handed_back",
        }
    }
}

impl fmt::Display for AttemptState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AttemptState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not the state of an attempt"))
    }
}

/// One try at an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// The execution.
    pub execution_id: ExecutionId,
    /// 1, 2, ...
    pub number: u32,
    /// Who runs it.
    pub worker_id: WorkerId,
    /// Who placed it: `pool` or `ray`.
    pub placed_by: String,
    /// When it was handed out.
    pub claimed_at: Timestamp,
    /// When the runner began with it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Where it stands.
    pub state: AttemptState,
    /// How it ended.
    pub outcome: Option<Outcome>,
}

/// What a call of an attempt proves itself with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptAuth {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The attempt's number.
    pub attempt: u32,
    /// The attempt's token, as the claim gave it.
    pub token: String,
    /// The worker whose credential made the call.
    pub worker_id: WorkerId,
}

/// One file or folder that came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputRow {
    /// Where it lies on the user's machine.
    pub path: AbsolutePath,
    /// Hash of its bytes; `None` for an empty folder.
    pub sha256: Option<Sha256>,
    /// Its size.
    pub size_bytes: u64,
    /// Its permission bits.
    pub mode: u32,
    /// When it was last changed, in nanoseconds of Unix time.
    pub modified_ns: i64,
}

/// How an attempt ended, as its runner says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishRow {
    /// How.
    pub outcome: Outcome,
    /// Everything that comes back, as one set. Every blob it names must be committed.
    pub outputs: Vec<OutputRow>,
    /// Files that it wrote where nothing is brought back from.
    pub not_brought_back: Vec<String>,
    /// Bytes of standard output.
    pub stdout_bytes: u64,
    /// Bytes of standard error.
    pub stderr_bytes: u64,
    /// Most memory that was seen.
    pub peak_memory_bytes: Option<u64>,
    /// CPU time that was used, in milliseconds.
    pub cpu_ms: Option<u64>,
}

/// What an artifact is to its execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArtifactKind {
    /// It was sent.
    Input,
    /// The script wrote it.
    Output,
    /// A part of its log that moved to the object store.
    Log,
}

impl ArtifactKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Input, Self::Output, Self::Log];

    /// The one spelling: in rows and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::Log => "log",
        }
    }
}

/// One named file of an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRow {
    /// What it is to its execution.
    pub kind: ArtifactKind,
    /// Where it lies on the user's machine.
    pub path: AbsolutePath,
    /// Hash of its bytes; `None` for a folder or a link.
    pub sha256: Option<Sha256>,
    /// Its size.
    pub size_bytes: u64,
    /// Its permission bits.
    pub mode: u32,
    /// When it was last changed, in nanoseconds of Unix time.
    pub modified_ns: i64,
    /// True for a folder.
    pub folder: bool,
    /// What a symbolic link says.
    pub target: Option<String>,
}

impl Store {
    /// The attempt this proves to be, or `Error::NotCurrent`; with the account it works for.
    pub async fn check_attempt(&self, a: &AttemptAuth) -> Result<AccountId> {
        let _ = a;
        todo!()
    }

    /// The runner began with it. Repeating it is harmless.
    pub async fn attempt_started(&self, a: &AttemptAuth) -> Result<()> {
        let _ = a;
        todo!()
    }

    /// The runner says how it ended. Idempotent by the attempt and `manifest_sha256`, the hash of the request's body.
    /// Answers the execution's status: terminal, or `queued` when it is tried again.
    pub async fn finish(&self, a: &AttemptAuth, finish: &FinishRow, manifest_sha256: [u8; 32]) -> Result<Status> {
        let _ = (a, finish, manifest_sha256);
        todo!()
    }

    /// The runner gives it back unharmed: it is queued again and no retry is used up. One that is to be cancelled ends.
    pub async fn hand_back(&self, a: &AttemptAuth) -> Result<Status> {
        let _ = a;
        todo!()
    }

    /// All attempts, oldest first.
    pub async fn attempts(&self, account: AccountId, id: ExecutionId) -> Result<Vec<AttemptRow>> {
        let _ = (account, id);
        todo!()
    }

    /// Named files ordered by kind and path, after the cursor (kind and path of the last one seen).
    pub async fn artifacts(
        &self,
        account: AccountId,
        id: ExecutionId,
        kind: Option<ArtifactKind>,
        cursor: Option<(ArtifactKind, AbsolutePath)>,
        limit: u32,
    ) -> Result<Vec<ArtifactRow>> {
        let _ = (account, id, kind, cursor, limit);
        todo!()
    }
}
