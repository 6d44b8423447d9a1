//! The queue and its lanes: how an execution gets into them. The claim takes it out again.

use rgrid_core::execution::{Status, Step, sources};
use rgrid_core::id::{AccountId, ExecutionId};
use rgrid_core::runtime::Runtime;
use rgrid_core::submission::{Sha256, Submission};
use sqlx::{PgConnection, Postgres, Transaction};

use crate::Result;

/// First half of the advisory locks' keys: which kind of lock.
pub(crate) mod lock {
    /// The claim, and every change of a worker that must not race with it.
    pub(crate) const CLAIM: i32 = 0x7267_0001;
    /// Arrival of an account's inputs; the second half is the account's hash.
    pub(crate) const INPUTS: i32 = 0x7267_0002;
    /// Shared by whoever makes a lane wait, alone for who begins the next generation of waiting lanes. Migration 21 takes it
    /// too, by this number.
    pub(crate) const WAITING: i32 = 0x7267_0003;
}

/// The class of what any worker can run.
const ANY: &str = "process";
/// The class of what needs the docker sandbox.
pub(crate) const DOCKER: &str = "docker";

/// Which class of sandbox a submission needs.
fn class(submission: &Submission) -> &'static str {
    match submission.runtime {
        Runtime::Python(_) => ANY,
        Runtime::Image(_) => DOCKER,
    }
}

/// Statuses as the SQL guards take them.
pub(crate) fn statuses(step: Step) -> Vec<&'static str> {
    sources(step).into_iter().map(Status::as_str).collect()
}

/// The lane of a submission; made when it is the first of its class.
pub(crate) async fn lane(
    connection: &mut PgConnection,
    account: AccountId,
    batch: Option<&str>,
    submission: &Submission,
) -> Result<i64> {
    let wanted = submission.wanted;
    let found = sqlx::query_scalar(include_str!("../queries/queue/lane.sql"))
        .bind(account.to_string())
        .bind(batch)
        .bind(submission.priority)
        .bind(crate::row::integer(wanted.cpu_millis.unwrap_or(0)))
        .bind(crate::row::bigint(wanted.memory_bytes.unwrap_or(0)))
        .bind(crate::row::bigint(wanted.disk_bytes.unwrap_or(0)))
        .bind(class(submission))
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(id) = found {
        return Ok(id);
    }
    Ok(sqlx::query_scalar(include_str!("../queries/queue/make_lane.sql"))
        .bind(account.to_string())
        .bind(batch)
        .bind(submission.priority)
        .bind(crate::row::integer(wanted.cpu_millis.unwrap_or(0)))
        .bind(crate::row::bigint(wanted.memory_bytes.unwrap_or(0)))
        .bind(crate::row::bigint(wanted.disk_bytes.unwrap_or(0)))
        .bind(class(submission))
        .fetch_one(&mut *connection)
        .await?)
}

/// Puts executions whose status has become `queued` into the queue, in the same transaction.
///
/// The foreign key locks the lanes for key share, and only who has locked one for update calls it empty or moves its head
/// up: so the last statement, with a snapshot newer than that lock, sees whether that was done, and undoes it.
pub(crate) async fn push(connection: &mut PgConnection, ids: &[String]) -> Result<()> {
    sqlx::query(include_str!("../queries/queue/wait.sql"))
        .bind(lock::WAITING)
        .execute(&mut *connection)
        .await?;
    sqlx::query(include_str!("../queries/queue/push.sql")).bind(ids).execute(&mut *connection).await?;
    sqlx::query(include_str!("../queries/queue/lower_heads.sql")).bind(ids).execute(&mut *connection).await?;
    Ok(())
}

/// Holds off the arrival of the account's inputs until the transaction ends: what is missing now is missing at its end,
/// or whoever brings it waits and then sees what this transaction wrote.
pub(crate) async fn hold_inputs(connection: &mut PgConnection, account: AccountId) -> Result<()> {
    sqlx::query(include_str!("../queries/queue/hold_inputs.sql"))
        .bind(lock::INPUTS)
        .bind(account.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

/// Queues every pending execution of the account that names one of these blobs and now has all its inputs. Call it
/// after the blobs' rows were inserted, in the same transaction. Answers how many were queued; nudge `Queue` and
/// `Executions` after the commit when it is not 0.
///
/// Each statement sees what the locks of the one before waited for. Without the first, a submission that does not see
/// the blob yet would not be seen either; without the second, two commits would each miss the other's blob.
pub(crate) async fn queue_ready_executions(
    transaction: &mut Transaction<'_, Postgres>,
    account: AccountId,
    blobs: &[Sha256],
) -> Result<u64> {
    sqlx::query(include_str!("../queries/queue/bring_input.sql"))
        .bind(lock::INPUTS)
        .bind(account.to_string())
        .execute(&mut **transaction)
        .await?;
    let waiting: Vec<String> = sqlx::query_scalar(include_str!("../queries/queue/lock_pending.sql"))
        .bind(account.to_string())
        .bind(blobs.iter().map(|sha256| sha256.0.to_vec()).collect::<Vec<_>>())
        .fetch_all(&mut **transaction)
        .await?;
    if waiting.is_empty() {
        return Ok(0);
    }
    let ready: Vec<String> = sqlx::query_scalar(include_str!("../queries/queue/inputs_arrived.sql"))
        .bind(&waiting)
        .bind(statuses(Step::InputsArrived))
        .fetch_all(&mut **transaction)
        .await?;
    if !ready.is_empty() {
        push(transaction, &ready).await?;
    }
    Ok(ready.len() as u64)
}

/// Puts an execution that an attempt has left back into the queue. The caller holds its row.
pub(crate) async fn requeue(connection: &mut PgConnection, id: ExecutionId) -> Result<()> {
    let id = id.to_string();
    sqlx::query(include_str!("../queries/queue/requeue.sql"))
        .bind(&id)
        .bind(statuses(Step::Requeue))
        .execute(&mut *connection)
        .await?;
    push(connection, &[id]).await
}
