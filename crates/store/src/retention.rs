//! What is no longer needed goes: executions after their retention, then blobs that nothing names, then objects.
//!
//! A blob is deleted in two statements: the first locks it, the second looks again whether anybody names it. A
//! submission that held the blob is over by then and visible to the second; one that comes later waits for us and
//! learns that the blob is missing. (One statement looks with a snapshot older than its locks.)

use std::time::Duration;

use rgrid_core::id::AccountId;
use rgrid_core::limits;
use sqlx::postgres::PgRow;
use sqlx::{Postgres, Row, Transaction};

use crate::blobs::{TOUCH_PERIOD, interval};
use crate::objects::ObjectKey;
use crate::row::{Columns, parsed};
use crate::{Result, Store, guards};

/// Uploads that nobody touched for this long go.
pub const UPLOAD_KEPT: Duration = Duration::from_secs(24 * 3600);
/// What was said during a build stays so long without an attempt that has it: the next one may come soon.
const ENVIRONMENT_LOG_KEPT: Duration = Duration::from_secs(24 * 3600);
/// What a note of use may be behind, and time for who was told that a blob is there to name it.
const RECENTLY_USED: Duration = Duration::from_secs(TOUCH_PERIOD.as_secs() * 2);
/// Rows of one transaction: none of them takes long.
const BATCH_ROWS: u32 = 500;
/// Batches of one kind in one round; the next round goes on.
const ROUND_BATCHES: usize = 100;

/// What a round of garbage collection removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Executions with their logs, inputs and outputs.
    pub executions: u64,
    /// Uploads that were never committed, or long ago.
    pub uploads: u64,
    /// Blobs that nothing named.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Objects.
    pub objects: u64,
}

/// What `prune` removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PrunedRow {
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Executions beyond their retention.
    pub executions: u64,
}

/// Which blobs may go.
#[derive(Debug, Clone, Copy)]
enum Unused {
    /// Those that no execution names.
    ByAnybody(Duration, Option<AccountId>),
    /// Those that no execution names which may still run.
    ByWhatRuns,
}

impl Store {
    /// One round of garbage collection; safe at any time, in any number of processes. An object is deleted a day
    /// after its row.
    pub async fn collect_garbage(&self, retention: Duration) -> Result<Collected> {
        let executions = self.delete_expired_executions(retention, None).await?;
        sqlx::query(include_str!("../queries/retention/stdin.sql")).execute(self.pool()).await?;
        self.expire_environments(retention).await?;
        sqlx::query(include_str!("../queries/retention/environment_logs.sql"))
            .bind(interval(ENVIRONMENT_LOG_KEPT))
            .execute(self.pool())
            .await?;
        let (blobs, blob_bytes, _) = self.delete_unused(Unused::ByAnybody(retention, None), u64::MAX).await?;
        let mut uploads = 0;
        for _ in 0..ROUND_BATCHES {
            let deleted = sqlx::query(include_str!("../queries/retention/uploads.sql"))
                .bind(interval(UPLOAD_KEPT))
                .bind(i64::from(BATCH_ROWS))
                .execute(self.pool())
                .await?
                .rows_affected();
            uploads += deleted;
            if deleted == 0 {
                break;
            }
        }
        sqlx::query(include_str!("../queries/retention/idempotency.sql"))
            .bind(interval(limits::IDEMPOTENCY_KEPT))
            .execute(self.pool())
            .await?;
        let objects = self.delete_due_objects().await?;
        Ok(Collected { executions, uploads, blobs, blob_bytes, objects })
    }

    /// Removes at once what the account does not need: executions beyond their retention, and blobs that no execution
    /// names.
    pub async fn prune(&self, account: AccountId) -> Result<PrunedRow> {
        let executions = self.delete_expired_executions(limits::RETENTION, Some(account)).await?;
        let unused = Unused::ByAnybody(RECENTLY_USED, Some(account));
        let (blobs, bytes, keys) = self.delete_unused(unused, u64::MAX).await?;
        self.delete_now(&keys).await?;
        Ok(PrunedRow { blobs, bytes, executions })
    }

    /// Brings all blobs together under `cap_bytes`, least recently used first, as far as nothing that may still run
    /// needs them: for a grid on somebody's own disk. Outputs that go were downloaded, or are older than others.
    pub async fn shrink_blobs(&self, cap_bytes: u64) -> Result<PrunedRow> {
        let total: i64 = sqlx::query_scalar(include_str!("../queries/retention/blob_bytes.sql"))
            .fetch_one(self.pool())
            .await?;
        let excess = u64::try_from(total).unwrap_or(0).saturating_sub(cap_bytes);
        if excess == 0 {
            return Ok(PrunedRow::default());
        }
        let (blobs, bytes, keys) = self.delete_unused(Unused::ByWhatRuns, excess).await?;
        self.delete_now(&keys).await?;
        Ok(PrunedRow { blobs, bytes, executions: 0 })
    }

    /// Deletes objects that no row names and that nobody has written for `age`. Nothing of ours makes such objects; a
    /// database that was restored from a backup has forgotten those that are younger. Answers how many.
    pub async fn sweep_objects(&self, age: Duration) -> Result<u64> {
        let (mut swept, mut after) = (0, None);
        loop {
            let page = self.objects().list(after).await?;
            let Some(last) = page.last() else { return Ok(swept) };
            after = Some(last.key);
            let old = page.iter().filter(|listed| listed.modified.elapsed().is_ok_and(|idle| idle >= age));
            let unknown: Vec<String> = sqlx::query_scalar(include_str!("../queries/retention/unknown.sql"))
                .bind(old.map(|listed| listed.key.to_string()).collect::<Vec<_>>())
                .fetch_all(self.pool())
                .await?;
            let keys =
                unknown.iter().map(|key| parsed("object key", key)).collect::<Result<Vec<ObjectKey>>>()?;
            swept += self.delete_discarded(&keys).await?;
        }
    }

    async fn delete_expired_executions(
        &self,
        retention: Duration,
        account: Option<AccountId>,
    ) -> Result<u64> {
        let mut expired = 0;
        for _ in 0..ROUND_BATCHES {
            let deleted = sqlx::query(include_str!("../queries/retention/executions.sql"))
                .bind(interval(retention))
                .bind(account.map(|account| account.to_string()))
                .bind(i64::from(BATCH_ROWS))
                .execute(self.pool())
                .await?
                .rows_affected();
            expired += deleted;
            if deleted == 0 {
                break;
            }
        }
        Ok(expired)
    }

    /// Deletes rows of blobs until `bytes` of them are gone. Answers how many, their bytes, and their objects.
    async fn delete_unused(&self, which: Unused, bytes: u64) -> Result<(u64, u64, Vec<ObjectKey>)> {
        let (mut gone_bytes, mut keys) = (0_u64, Vec::new());
        for _ in 0..ROUND_BATCHES {
            let mut transaction = self.begin().await?;
            let mut locked = lock_unused(&mut transaction, which).await?;
            if locked.is_empty() {
                break;
            }
            let mut planned = gone_bytes;
            let mut enough = 0;
            for row in &locked {
                if planned >= bytes {
                    break;
                }
                planned += row.number64("size_bytes")?;
                enough += 1;
            }
            locked.truncate(enough);
            for row in delete_locked(&mut transaction, which, &locked).await? {
                gone_bytes += row.number64("size_bytes")?;
                keys.push(row.text("object_key")?);
            }
            transaction.commit().await?;
            if gone_bytes >= bytes {
                break;
            }
        }
        Ok((keys.len() as u64, gone_bytes, keys))
    }

    async fn delete_now(&self, keys: &[ObjectKey]) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        sqlx::query(include_str!("../queries/retention/due_now.sql"))
            .bind(keys.iter().map(ObjectKey::to_string).collect::<Vec<_>>())
            .execute(self.pool())
            .await?;
        self.delete_discarded(keys).await?;
        Ok(())
    }

    async fn delete_due_objects(&self) -> Result<u64> {
        sqlx::query(include_str!("../queries/retention/rescue.sql")).execute(self.pool()).await?;
        let mut deleted = 0;
        for _ in 0..ROUND_BATCHES {
            let due: Vec<String> = sqlx::query_scalar(include_str!("../queries/retention/due.sql"))
                .bind(i64::from(BATCH_ROWS))
                .fetch_all(self.pool())
                .await?;
            let keys = due.iter().map(|key| parsed("object key", key)).collect::<Result<Vec<ObjectKey>>>()?;
            let gone = self.delete_discarded(&keys).await?;
            deleted += gone;
            if gone == 0 {
                break;
            }
        }
        Ok(deleted)
    }
}

async fn lock_unused(transaction: &mut Transaction<'_, Postgres>, which: Unused) -> Result<Vec<PgRow>> {
    let query = match which {
        Unused::ByAnybody(since, account) => {
            sqlx::query(include_str!("../queries/retention/lock_unused.sql"))
                .bind(interval(since.max(RECENTLY_USED)))
                .bind(account.map(|account| account.to_string()))
        }
        Unused::ByWhatRuns => sqlx::query(include_str!("../queries/retention/lock_least_used.sql"))
            .bind(interval(RECENTLY_USED)),
    };
    Ok(query.bind(i64::from(BATCH_ROWS)).fetch_all(&mut **transaction).await?)
}

async fn delete_locked(
    transaction: &mut Transaction<'_, Postgres>,
    which: Unused,
    locked: &[PgRow],
) -> Result<Vec<PgRow>> {
    let (mut accounts, mut hashes) = (Vec::<String>::new(), Vec::<Vec<u8>>::new());
    for row in locked {
        accounts.push(row.try_get("account_id")?);
        hashes.push(row.try_get("sha256")?);
    }
    let any_execution = match which {
        Unused::ByAnybody(..) => true,
        Unused::ByWhatRuns => false,
    };
    let deleted = sqlx::query(guards::sql(
        &[&guards::BLOB_RECHECK],
        include_str!("../queries/retention/delete_unused.sql"),
    ))
    .bind(accounts)
    .bind(hashes)
    .bind(any_execution)
    .fetch_all(&mut **transaction)
    .await?;
    Ok(deleted)
}
