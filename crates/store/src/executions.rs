//! Executions: finding and reading them. How one comes to be is in `admission.rs`, what is asked of one in `steering.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use rgrid_core::execution::Status;
use rgrid_core::id::{AccountId, BatchId, ExecutionId, WorkerId};
use rgrid_core::outcome::{CancelledBy, Outcome};
use rgrid_core::path::AbsolutePath;
use rgrid_core::runtime::Runtime;
use rgrid_core::submission::{Program, Sha256, Submission, Wanted};
use rgrid_core::{Timestamp, limits};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use crate::row::{self, Columns};
use crate::submissions;
use crate::{Error, Result, Store, guards, outcome};

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
    /// What its newest attempt does before the script starts.
    pub preparing: Option<String>,
    /// Exactly which container image its newest attempt runs in.
    pub image: Option<String>,
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
        /// True when it runs in a container image, and no active worker can.
        lacks_docker: bool,
        /// The batch's limit, when its running executions have reached it.
        batch_limit: Option<u32>,
        /// What the newest worker said when it ended before it joined.
        last_failure: Option<String>,
    },
}

impl ExecutionRow {
    fn read(row: &PgRow) -> Result<Self> {
        let cancelled_by: Option<&str> = row.try_get("cancel_requested_by")?;
        Ok(Self {
            id: row.text("id")?,
            account_id: row.text("account_id")?,
            batch_id: row.text_or_null("batch_id")?,
            name: row.try_get("name")?,
            status: row.text("status")?,
            program: submissions::program(row)?,
            args: row.try_get("args")?,
            cwd: row.text("cwd")?,
            project_root: row.text("project_root")?,
            runtime: row.text("runtime")?,
            environment: row.try_get("environment_names")?,
            stdin: row.try_get("stdin")?,
            wanted: submissions::wanted(row)?,
            grace: row.duration("grace_ms")?,
            retries: row.number32("retries")?,
            metadata: submissions::metadata(row)?,
            priority: row.try_get("priority")?,
            attempt: row.number32("attempt")?,
            worker: row.text_or_null("worker_id")?,
            created_at: row.try_get("created_at")?,
            started_at: row.try_get("claimed_at")?,
            preparing: row.try_get("preparing")?,
            image: row.try_get("image")?,
            finished_at: row.try_get("finished_at")?,
            timeout: row.duration("timeout_ms")?,
            cancel_requested_by: cancelled_by.map(outcome::cancelled_by).transpose()?,
            inputs_missing: row.number64("inputs_missing")?,
            outcome: outcome::read(row)?,
            output_files: row.number64("output_files")?,
            output_bytes: row.number64("output_bytes")?,
            not_brought_back: row.try_get("not_brought_back")?,
        })
    }
}

/// Things that a shortened id may fit before it is called ambiguous without naming all.
const CANDIDATES_MAX: i64 = 5;

impl Store {
    /// Reads a full id, an unambiguous prefix of one (with or without `exec_`), or `last`.
    pub async fn resolve_execution(&self, account: AccountId, text: &str) -> Result<ExecutionId> {
        let not_found = || Error::not_found("execution", text);
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        if text == "last" {
            let newest: Option<String> = sqlx::query_scalar(include_str!("../queries/executions/newest.sql"))
                .bind(account.to_string())
                .fetch_optional(self.pool())
                .await?;
            return row::parsed("execution id", &newest.ok_or_else(not_found)?);
        }
        let body = text.strip_prefix("exec_").unwrap_or(text).to_ascii_uppercase();
        if body.is_empty() || !body.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(not_found());
        }
        let from = format!("{}_{body}", ExecutionId::PREFIX);
        // The tilde sorts after every character of an id.
        let to = format!("{from}~");
        let found: Vec<String> = sqlx::query_scalar(include_str!("../queries/executions/by_prefix.sql"))
            .bind(account.to_string())
            .bind(from)
            .bind(to)
            .bind(CANDIDATES_MAX)
            .fetch_all(self.pool())
            .await?;
        match found.as_slice() {
            [] => Err(not_found()),
            [id] => row::parsed("execution id", id),
            [..] => Err(Error::Ambiguous { what: "execution", text: text.to_owned(), candidates: found }),
        }
    }

    /// One execution.
    pub async fn execution(&self, account: AccountId, id: ExecutionId) -> Result<ExecutionRow> {
        read(&mut *self.pool().acquire().await?, account, id).await
    }

    /// A page of executions, newest first; `cursor` is where the page before said to go on.
    pub async fn executions(
        &self,
        account: AccountId,
        filter: &Filter,
        cursor: Option<ExecutionId>,
        limit: u32,
    ) -> Result<ExecutionPage> {
        let limit = limit.clamp(1, limits::PAGE_ITEMS_MAX);
        let statuses: Vec<&str> = filter.statuses.iter().map(|status| status.as_str()).collect();
        let label = filter.metadata.as_ref().map(|(key, value)| Json(BTreeMap::from([(key, value)])));
        let mut ids: Vec<String> = sqlx::query_scalar(include_str!("../queries/executions/list.sql"))
            .bind(account.to_string())
            .bind(cursor.map(|id| id.to_string()))
            .bind((!statuses.is_empty()).then_some(statuses))
            .bind(&filter.name)
            .bind(label)
            .bind(i64::from(limit) + 1)
            .fetch_all(self.pool())
            .await?;
        let more = ids.len() > limit as usize;
        ids.truncate(limit as usize);
        let executions = read_all(&mut *self.pool().acquire().await?, account, &ids).await?;
        let next = executions.last().filter(|_| more).map(|execution| execution.id);
        Ok(ExecutionPage { executions, next })
    }

    /// What was submitted, with the values of its variables.
    pub async fn submission(&self, account: AccountId, id: ExecutionId) -> Result<Submission> {
        let mut found = self.submissions(&mut *self.pool().acquire().await?, &[id]).await?;
        match found.remove(&id) {
            Some((owner, submission)) if owner == account => Ok(submission),
            Some(_) | None => Err(Error::not_found("execution", id)),
        }
    }

    /// Why it waits; `None` when it does not.
    pub async fn waiting(&self, account: AccountId, id: ExecutionId) -> Result<Option<Waiting>> {
        let execution = self.execution(account, id).await?;
        if execution.status == Status::Pending {
            return Ok(Some(Waiting::Inputs { missing: execution.inputs_missing }));
        }
        let row = sqlx::query(include_str!("../queries/executions/waiting.sql"))
            .bind(account.to_string())
            .bind(id.to_string())
            .fetch_optional(self.pool())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let count = |column| -> Result<u32> { Ok(u32::try_from(row.number64(column)?).unwrap_or(u32::MAX)) };
        let batch_limit: Option<i32> = row.try_get("batch_limit")?;
        Ok(Some(Waiting::Worker {
            ahead: row.number64("ahead")?,
            workers_active: count("workers_active")?,
            workers_provisioning: count("workers_provisioning")?,
            slots_free: count("slots_free")?,
            fits_a_worker: row.try_get("fits_a_worker")?,
            lacks_docker: row.try_get("lacks_docker")?,
            batch_limit: batch_limit.and_then(|limit| u32::try_from(limit).ok()),
            last_failure: row.try_get("last_failure")?,
        }))
    }
}

pub(crate) async fn read(
    connection: &mut PgConnection,
    account: AccountId,
    id: ExecutionId,
) -> Result<ExecutionRow> {
    let rows = read_all(connection, account, &[id.to_string()]).await?;
    rows.into_iter().next().ok_or_else(|| Error::not_found("execution", id))
}

async fn read_all(
    connection: &mut PgConnection,
    account: AccountId,
    ids: &[String],
) -> Result<Vec<ExecutionRow>> {
    let rows = sqlx::query(guards::sql(
        &[&guards::ACCOUNT_EXECUTIONS],
        include_str!("../queries/executions/read.sql"),
    ))
    .bind(account.to_string())
    .bind(ids)
    .fetch_all(connection)
    .await?;
    rows.iter().map(ExecutionRow::read).collect()
}
