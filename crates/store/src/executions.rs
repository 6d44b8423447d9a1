//! Executions: making, finding, reading, ending and extending them.

use std::collections::BTreeMap;
use std::time::Duration;

use rgrid_core::execution::{Status, Step, sources};
use rgrid_core::id::{AccountId, BatchId, ExecutionId, WorkerId};
use rgrid_core::outcome::{CancelledBy, Outcome};
use rgrid_core::path::AbsolutePath;
use rgrid_core::runtime::Runtime;
use rgrid_core::submission::{Program, Sha256, Submission, Wanted};
use rgrid_core::{Timestamp, limits};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use crate::idempotency::{self, Idempotency};
use crate::notify::Nudge;
use crate::row::{self, Columns};
use crate::submissions::{self, NewExecution};
use crate::{Error, Result, Store, outcome, queue, secret};

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

/// Statuses of executions that no attempt holds, from which `step` is legal.
fn waiting(step: Step) -> Vec<&'static str> {
    sources(step).into_iter().filter(|status| *status != Status::Running).map(Status::as_str).collect()
}

/// Statuses that are not terminal.
pub(crate) fn open_statuses() -> Vec<&'static str> {
    Status::ALL.into_iter().filter(|status| !status.is_terminal()).map(Status::as_str).collect()
}

/// Things that a shortened id may fit before it is called ambiguous without naming all.
const CANDIDATES_MAX: i64 = 5;

impl Store {
    /// Accepts a submission in one transaction: it is `queued` when every blob it names is here, else `pending`.
    pub async fn create_execution(
        &self,
        account: AccountId,
        submission: &Submission,
        follow: bool,
        idempotency: Option<Idempotency>,
    ) -> Result<CreatedRow> {
        let id = ExecutionId::new(secret::unix_ms(), secret::random());
        let mut transaction = self.pool().begin().await?;
        if let Some(key) = &idempotency
            && let Some(made) = idempotency::remember(&mut transaction, account, key, &id.to_string()).await?
        {
            transaction.rollback().await?;
            return self.replay(account, row::parsed("idempotency key", &made)?).await;
        }
        let named = submissions::blobs_of(submission);
        let mut here = blobs_here(&mut transaction, account, &named).await?;
        if !here.missing(&named)?.is_empty() {
            queue::hold_inputs(&mut transaction, account).await?;
            here = blobs_here(&mut transaction, account, &named).await?;
        }
        let missing = here.missing(&named)?;
        let status = if missing.is_empty() { Status::Queued } else { Status::Pending };
        let lane_id = queue::lane(&mut transaction, account, None, submission).await?;
        let follow_ms = follow.then(|| row::millis(FOLLOWED_FOR));
        let new = NewExecution { id, account, lane_id, submission, status, follow_ms };
        self.insert_execution(&mut transaction, &new).await?;
        submissions::insert_inputs(&mut transaction, id, &submission.inputs).await?;
        if missing.is_empty() {
            queue::push(&mut transaction, &[id.to_string()]).await?;
        }
        let execution = read(&mut transaction, account, id).await?;
        transaction.commit().await?;
        if missing.is_empty() {
            self.nudge(Nudge::Queue);
            self.nudge(Nudge::Fleet);
        }
        self.touch_blobs(account, &here).await;
        Ok(CreatedRow { execution, missing, replayed: false })
    }

    /// What the first request with the same idempotency key made, as it stands now.
    async fn replay(&self, account: AccountId, id: ExecutionId) -> Result<CreatedRow> {
        let execution = self.execution(account, id).await?;
        let rows = sqlx::query(include_str!("../queries/executions/missing.sql"))
            .bind(id.to_string())
            .fetch_all(self.pool())
            .await?;
        let missing = rows.iter().map(read_blob).collect::<Result<_>>()?;
        Ok(CreatedRow { execution, missing, replayed: true })
    }

    /// Remembers the use of blobs. A use that is not remembered makes nothing wrong: what is referenced is kept.
    pub(crate) async fn touch_blobs(&self, account: AccountId, here: &BlobsHere) {
        if here.stale.is_empty() {
            return;
        }
        let touched = sqlx::query(include_str!("../queries/executions/touch_blobs.sql"))
            .bind(account.to_string())
            .bind(&here.stale)
            .execute(self.pool())
            .await;
        if let Err(error) = touched {
            tracing::warn!(%error, "the use of blobs could not be remembered");
        }
    }

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
        let rows = sqlx::query(include_str!("../queries/executions/read.sql"))
            .bind(account.to_string())
            .bind(&ids)
            .fetch_all(self.pool())
            .await?;
        let executions: Vec<ExecutionRow> = rows.iter().map(ExecutionRow::read).collect::<Result<_>>()?;
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

    /// Submits the same again, as a new execution. Only for one that has ended.
    pub async fn retry_execution(
        &self,
        account: AccountId,
        id: ExecutionId,
        idempotency: Option<Idempotency>,
    ) -> Result<CreatedRow> {
        // A repetition is answered first: what it made may be what `last` names by now, and is not to be retried.
        if let Some(key) = &idempotency {
            let mut connection = self.pool().acquire().await?;
            let made = idempotency::remembered(&mut connection, account, key).await?;
            drop(connection);
            if let Some(made) = made {
                return self.replay(account, row::parsed("idempotency key", &made)?).await;
            }
        }
        let execution = self.execution(account, id).await?;
        if !execution.status.is_terminal() {
            return Err(Error::conflict(id, execution.status));
        }
        let submission = self.submission(account, id).await?;
        self.create_execution(account, &submission, false, idempotency).await
    }

    /// Ends an execution: at once when nothing runs, else by telling its attempt. Repeating it is harmless; one that
    /// has ended is a conflict.
    pub async fn cancel(&self, account: AccountId, id: ExecutionId, by: CancelledBy) -> Result<ExecutionRow> {
        let outcome = Outcome::Cancelled { by };
        let mut transaction = self.pool().begin().await?;
        sqlx::query(include_str!("../queries/executions/leave_queue.sql"))
            .bind(account.to_string())
            .bind(id.to_string())
            .execute(&mut *transaction)
            .await?;
        let ended = sqlx::query(include_str!("../queries/executions/end_waiting.sql"))
            .bind(account.to_string())
            .bind(id.to_string())
            .bind(Status::Cancelled.as_str())
            .bind(outcome.kind())
            .bind(Json(outcome::to_json(&outcome)))
            .bind(by.as_str())
            .bind(waiting(Step::Cancel))
            .execute(&mut *transaction)
            .await?
            .rows_affected()
            > 0;
        if !ended {
            sqlx::query(include_str!("../queries/executions/request_cancel.sql"))
                .bind(account.to_string())
                .bind(id.to_string())
                .bind(by.as_str())
                .bind([Status::Running.as_str()])
                .execute(&mut *transaction)
                .await?;
        }
        let execution = read(&mut transaction, account, id).await?;
        transaction.commit().await?;
        if !ended && execution.status.is_terminal() {
            return Err(Error::conflict(id, execution.status));
        }
        self.nudge(if ended { Nudge::Executions } else { Nudge::Directives });
        Ok(execution)
    }

    /// Lets an execution run longer; its attempt is told.
    pub async fn extend(&self, account: AccountId, id: ExecutionId, by: Duration) -> Result<ExecutionRow> {
        let extended = sqlx::query(include_str!("../queries/executions/extend.sql"))
            .bind(account.to_string())
            .bind(id.to_string())
            .bind(row::millis(by))
            .bind(open_statuses())
            .bind(row::millis(limits::TIMEOUT_MAX))
            .fetch_optional(self.pool())
            .await?
            .is_some();
        let execution = self.execution(account, id).await?;
        if extended {
            self.nudge(Nudge::Directives);
            return Ok(execution);
        }
        if execution.status.is_terminal() {
            return Err(Error::conflict(id, execution.status));
        }
        Err(Error::Invalid { field: "by_ms", reason: "would let it run longer than 30 days".to_owned() })
    }

    /// Says that somebody follows its log for the next [`FOLLOWED_FOR`]; its attempt is told when nobody did before.
    pub async fn follow_execution(&self, id: ExecutionId) -> Result<()> {
        let told: bool = sqlx::query_scalar(include_str!("../queries/executions/follow.sql"))
            .bind(id.to_string())
            .bind(row::millis(FOLLOWED_FOR))
            .fetch_one(self.pool())
            .await?;
        if told {
            self.nudge(Nudge::Directives);
        }
        Ok(())
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
            batch_limit: batch_limit.and_then(|limit| u32::try_from(limit).ok()),
        }))
    }
}

async fn read(connection: &mut PgConnection, account: AccountId, id: ExecutionId) -> Result<ExecutionRow> {
    let row = sqlx::query(include_str!("../queries/executions/read.sql"))
        .bind(account.to_string())
        .bind([id.to_string()])
        .fetch_optional(connection)
        .await?;
    ExecutionRow::read(&row.ok_or_else(|| Error::not_found("execution", id))?)
}

fn read_blob(row: &PgRow) -> Result<BlobName> {
    Ok(BlobName { sha256: row::sha256(row.try_get("sha256")?)?, size_bytes: row.number64("size_bytes")? })
}

/// Which of some named blobs are here, locked against garbage collection until the transaction ends.
pub(crate) struct BlobsHere {
    sizes: BTreeMap<Sha256, u64>,
    /// Those whose last use is not remembered well enough.
    stale: Vec<Vec<u8>>,
}

impl BlobsHere {
    /// Those of `named` that are not here. One that is here with another size was announced wrongly.
    pub(crate) fn missing(&self, named: &[BlobName]) -> Result<Vec<BlobName>> {
        let mut missing = Vec::new();
        for blob in named {
            match self.sizes.get(&blob.sha256) {
                None => missing.push(*blob),
                Some(size_bytes) if *size_bytes == blob.size_bytes => {}
                Some(size_bytes) => {
                    let reason = format!("{} has {size_bytes} bytes, not {}", blob.sha256, blob.size_bytes);
                    return Err(Error::Invalid { field: "size_bytes", reason });
                }
            }
        }
        Ok(missing)
    }
}

/// Reads and locks those of `named` that are here.
pub(crate) async fn blobs_here(
    connection: &mut PgConnection,
    account: AccountId,
    named: &[BlobName],
) -> Result<BlobsHere> {
    let mut here = BlobsHere { sizes: BTreeMap::new(), stale: Vec::new() };
    if named.is_empty() {
        return Ok(here);
    }
    let rows = sqlx::query(include_str!("../queries/executions/blobs_here.sql"))
        .bind(account.to_string())
        .bind(named.iter().map(|blob| blob.sha256.0.to_vec()).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    for row in &rows {
        let blob = read_blob(row)?;
        here.sizes.insert(blob.sha256, blob.size_bytes);
        if row.try_get("stale")? {
            here.stale.push(blob.sha256.0.to_vec());
        }
    }
    Ok(here)
}
