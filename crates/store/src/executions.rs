//! Executions: making, finding, reading, ending and extending them.

use std::collections::BTreeMap;
use std::time::Duration;

use rgrid_core::Timestamp;
use rgrid_core::execution::Status;
use rgrid_core::id::{AccountId, BatchId, ExecutionId, WorkerId};
use rgrid_core::outcome::{CancelledBy, Outcome};
use rgrid_core::path::AbsolutePath;
use rgrid_core::runtime::Runtime;
use rgrid_core::submission::{Program, Sha256, Submission, Wanted};

use crate::idempotency::Idempotency;
use crate::{Result, Store};

/// A follower counts for this long; it is renewed while it follows.
pub const FOLLOWED_FOR: Duration = Duration::from_secs(30);

/// A blob by its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobName {
    /// Hash of its bytes.
    pub sha256: Sha256,
    /// Its size.
    pub size_bytes: u64,
}

/// An execution, as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionRow {
    /// Its id.
    pub id: ExecutionId,
    /// Its owner.
    pub account_id: AccountId,
    /// The batch it belongs to.
    pub batch_id: Option<BatchId>,
    /// The user's name for it.
    pub name: Option<String>,
    /// Where it stands.
    pub status: Status,
    /// What it runs.
    pub program: Program,
    /// The script's arguments.
    pub args: Vec<String>,
    /// Where the user ran it.
    pub cwd: AbsolutePath,
    /// Where outputs are looked for.
    pub project_root: AbsolutePath,
    /// What it is run by.
    pub runtime: Runtime,
    /// Names of the variables it was given.
    pub environment: Vec<String>,
    /// True when stdin is streamed.
    pub stdin: bool,
    /// What it asks of a worker.
    pub wanted: Wanted,
    /// From SIGINT to SIGKILL when it is ended.
    pub grace: Duration,
    /// Lost attempts it survives.
    pub retries: u32,
    /// The user's labels.
    pub metadata: BTreeMap<String, String>,
    /// Higher goes first.
    pub priority: i16,
    /// The number of the newest attempt; 0 before the first.
    pub attempt: u32,
    /// Who runs, or ran, the newest attempt.
    pub worker: Option<WorkerId>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its newest attempt was claimed.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How long it may run, extensions included.
    pub timeout: Duration,
    /// Who asked to end it.
    pub cancel_requested_by: Option<CancelledBy>,
    /// Inputs that are not on the grid yet; 0 unless it is pending.
    pub inputs_missing: u64,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Files that came back.
    pub output_files: u64,
    /// Bytes that came back.
    pub output_bytes: u64,
    /// Files that it wrote where nothing is brought back from.
    pub not_brought_back: Vec<String>,
}

/// What a creation gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedRow {
    /// The execution as it stands.
    pub execution: ExecutionRow,
    /// Blobs that must be uploaded before it is queued.
    pub missing: Vec<BlobName>,
    /// True when the same idempotency key had made it before.
    pub replayed: bool,
}

/// Which executions a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only these; empty: all.
    pub statuses: Vec<Status>,
    /// Only those with this name.
    pub name: Option<String>,
    /// Only those with this label.
    pub metadata: Option<(String, String)>,
}

/// One page of a list, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionPage {
    /// The page.
    pub executions: Vec<ExecutionRow>,
    /// Where the next page starts; `None` on the last.
    pub next: Option<ExecutionId>,
}

/// Why an execution waits: the facts of which a sentence is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// Inputs are not all here.
    Inputs {
        /// How many blobs.
        missing: u64,
    },
    /// It is in the queue.
    Worker {
        /// Executions of the same account that go first.
        ahead: u64,
        /// Workers that take work.
        workers_active: u32,
        /// Workers that were asked for and have not joined.
        workers_provisioning: u32,
        /// Attempts that the active workers can still start.
        slots_free: u32,
        /// True when some active worker's recorded capacity could hold it.
        fits_a_worker: bool,
        /// The batch's limit, when its running executions have reached it.
        batch_limit: Option<u32>,
    },
}

impl Store {
    /// Accepts a submission in one transaction: it is `queued` when every blob it names is here, else `pending`.
    pub async fn create_execution(
        &self,
        account: AccountId,
        submission: &Submission,
        follow: bool,
        idempotency: Option<Idempotency>,
    ) -> Result<CreatedRow> {
        let _ = (account, submission, follow, idempotency);
        todo!()
    }

    /// Reads a full id, an unambiguous prefix of one (with or without `exec_`), or `last`.
    pub async fn resolve_execution(&self, account: AccountId, text: &str) -> Result<ExecutionId> {
        let _ = (account, text);
        todo!()
    }

    /// One execution.
    pub async fn execution(&self, account: AccountId, id: ExecutionId) -> Result<ExecutionRow> {
        let _ = (account, id);
        todo!()
    }

    /// A page of executions, newest first; `cursor` is where the page before said to go on.
    pub async fn executions(
        &self,
        account: AccountId,
        filter: &Filter,
        cursor: Option<ExecutionId>,
        limit: u32,
    ) -> Result<ExecutionPage> {
        let _ = (account, filter, cursor, limit);
        todo!()
    }

    /// What was submitted, with the values of its variables.
    pub async fn submission(&self, account: AccountId, id: ExecutionId) -> Result<Submission> {
        let _ = (account, id);
        todo!()
    }

    /// Submits the same again, as a new execution. Only for one that has ended.
    pub async fn retry_execution(
        &self,
        account: AccountId,
        id: ExecutionId,
        idempotency: Option<Idempotency>,
    ) -> Result<CreatedRow> {
        let _ = (account, id, idempotency);
        todo!()
    }

    /// Ends an execution: at once when nothing runs, else by telling its attempt. Repeating it is harmless; one that
    /// has ended is a conflict.
    pub async fn cancel(&self, account: AccountId, id: ExecutionId, by: CancelledBy) -> Result<ExecutionRow> {
        let _ = (account, id, by);
        todo!()
    }

    /// Lets an execution run longer; its attempt is told.
    pub async fn extend(&self, account: AccountId, id: ExecutionId, by: Duration) -> Result<ExecutionRow> {
        let _ = (account, id, by);
        todo!()
    }

    /// Says that somebody follows its log for the next [`FOLLOWED_FOR`]; its attempt is told when nobody did before.
    pub async fn follow_execution(&self, id: ExecutionId) -> Result<()> {
        let _ = id;
        todo!()
    }

    /// Why it waits; `None` when it does not.
    pub async fn waiting(&self, account: AccountId, id: ExecutionId) -> Result<Option<Waiting>> {
        let _ = (account, id);
        todo!()
    }
}
