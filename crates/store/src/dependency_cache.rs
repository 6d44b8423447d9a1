//! Environments that were built once for an account: who builds one, and the blob that it is packed in.
//!
//! The right to build belongs to an attempt and ends with it: what keeps a lease alive keeps this alive, and a worker that
//! dies blocks nobody longer than its lease.

use std::time::Duration;

use rgrid_core::id::AccountId;
use rgrid_core::limits;
use rgrid_core::submission::Sha256;
use sqlx::Row;

use crate::attempts::AttemptAuth;
use crate::blobs::{TOUCH_PERIOD, interval};
use crate::executions::BlobName;
use crate::named_blobs::blobs_here;
use crate::row::{self, Columns};
use crate::{Error, Result, Store, guards};

/// Rows of one transaction.
const BATCH_ROWS: i64 = 500;

/// Where an environment is to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvironmentRow {
    /// Packed in this blob of the account.
    Ready {
        /// Its hash.
        sha256: Sha256,
        /// Its size.
        size_bytes: u64,
    },
    /// Nowhere: the attempt that asked is the one to build it.
    Build,
    /// Another attempt builds it.
    Wait,
}

impl Store {
    /// Where the environment of this key is to be had, for the account that the attempt works for. `damaged` is a blob
    /// of it that turned out not to be what its hash says: it is not named again.
    pub async fn environment(
        &self,
        a: &AttemptAuth,
        key: Sha256,
        damaged: Option<Sha256>,
    ) -> Result<(AccountId, EnvironmentRow)> {
        let account = self.check_attempt(a).await?;
        let (account_text, key) = (account.to_string(), key.0.as_slice());
        // Three statements: each is younger than the lock that the one before it took.
        let mut transaction = self.begin().await?;
        sqlx::query(include_str!("../queries/dependency_cache/make.sql"))
            .bind(&account_text)
            .bind(key)
            .execute(&mut *transaction)
            .await?;
        let locked = sqlx::query(include_str!("../queries/dependency_cache/lock.sql"))
            .bind(&account_text)
            .bind(key)
            .bind(damaged.map(|sha256| sha256.0.to_vec()))
            .fetch_one(&mut *transaction)
            .await?;
        let found = match locked.try_get::<Option<Vec<u8>>, _>("sha256")? {
            Some(bytes) => EnvironmentRow::Ready {
                sha256: row::sha256(&bytes)?,
                size_bytes: locked.number64("size_bytes")?,
            },
            None => {
                let taken = sqlx::query(guards::sql(
                    &[&guards::ONE_BUILDER],
                    include_str!("../queries/dependency_cache/take.sql"),
                ))
                .bind(&account_text)
                .bind(key)
                .bind(a.execution_id.to_string())
                .bind(row::integer(a.attempt))
                .bind(interval(limits::ENVIRONMENT_BUILD))
                .execute(&mut *transaction)
                .await?
                .rows_affected();
                if taken == 1 { EnvironmentRow::Build } else { EnvironmentRow::Wait }
            }
        };
        let mut named = None;
        if let EnvironmentRow::Ready { sha256, size_bytes } = found {
            sqlx::query(include_str!("../queries/dependency_cache/touch.sql"))
                .bind(&account_text)
                .bind(key)
                .bind(interval(TOUCH_PERIOD))
                .execute(&mut *transaction)
                .await?;
            named = Some(blobs_here(&mut transaction, account, &[BlobName { sha256, size_bytes }]).await?);
        }
        transaction.commit().await?;
        if let Some(named) = named {
            self.touch_blobs(account, &named).await;
        }
        Ok((account, found))
    }

    /// The attempt has built the environment of this key; the blob is committed. Repeating it is harmless.
    pub async fn environment_built(&self, a: &AttemptAuth, key: Sha256, packed: BlobName) -> Result<()> {
        let account = self.check_attempt(a).await?;
        let mut transaction = self.begin().await?;
        let here = blobs_here(&mut transaction, account, &[packed]).await?;
        if !here.missing(&[packed])?.is_empty() {
            return Err(Error::NotFound { what: "blob", name: packed.sha256.to_string() });
        }
        sqlx::query(include_str!("../queries/dependency_cache/built.sql"))
            .bind(account.to_string())
            .bind(key.0.as_slice())
            .bind(packed.sha256.0.as_slice())
            .bind(row::bigint(packed.size_bytes))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// What an attempt does before its script starts, in one sentence for people; `None` once that is over. And in which
    /// image; `None` when that was said before, or there is none.
    pub async fn attempt_prepares(
        &self,
        a: &AttemptAuth,
        sentence: Option<&str>,
        image: Option<&str>,
    ) -> Result<()> {
        let updated = sqlx::query(guards::sql(
            &[&guards::FENCE_TOKEN, &guards::FENCE_WORKER],
            include_str!("../queries/attempts/prepare.sql"),
        ))
        .bind(a.execution_id.to_string())
        .bind(row::integer(a.attempt))
        .bind(crate::secret::hash(&a.token).as_slice())
        .bind(a.worker_id.to_string())
        .bind(sentence)
        .bind(image)
        .execute(self.pool())
        .await?
        .rows_affected();
        if updated == 1 { Ok(()) } else { Err(Error::NotCurrent) }
    }

    /// Forgets environments that nobody has used for `unused`.
    pub(crate) async fn expire_environments(&self, unused: Duration) -> Result<u64> {
        let deleted = sqlx::query(include_str!("../queries/dependency_cache/expire.sql"))
            .bind(interval(unused))
            .bind(BATCH_ROWS)
            .execute(self.pool())
            .await?;
        Ok(deleted.rows_affected())
    }
}
