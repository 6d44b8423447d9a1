//! The logs of environments: where an attempt's came from, and what was said while it was built. Each belongs to its
//! attempt and goes with it; the environments themselves are in `dependency_cache.rs`.

use rgrid_core::environment::{EnvironmentOrigin, HasLog, Known};
use rgrid_core::id::{AccountId, ExecutionId};
use rgrid_core::limits::ENVIRONMENT_LOG_BYTES_MAX;
use sha2::{Digest as _, Sha256};
use sqlx::Row;

use crate::attempts::AttemptAuth;
use crate::row::{self, Columns};
use crate::{Error, Result, Store, guards};

impl Store {
    /// The attempt tells where its environment came from, with the log of the build where that is kept. Repeating it is
    /// harmless; of two that differ the last one stands.
    pub async fn tell_environment_log(
        &self,
        a: &AttemptAuth,
        origin: EnvironmentOrigin,
        log: Option<&[u8]>,
    ) -> Result<()> {
        if log.is_some_and(|log| log.len() > ENVIRONMENT_LOG_BYTES_MAX) {
            return Err(Error::TooLarge {
                what: "the log of an environment",
                limit: ENVIRONMENT_LOG_BYTES_MAX as u64,
            });
        }
        let written = sqlx::query(guards::sql(
            &[&guards::FENCE_TOKEN, &guards::FENCE_WORKER],
            include_str!("../queries/environment_logs/write.sql"),
        ))
        .bind(a.execution_id.to_string())
        .bind(row::integer(a.attempt))
        .bind(crate::secret::hash(&a.token).as_slice())
        .bind(a.worker_id.to_string())
        .bind(origin.as_str())
        .bind(log)
        .bind(log.map(|log| Sha256::digest(log).to_vec()))
        .execute(self.pool())
        .await?
        .rows_affected();
        if written == 1 { Ok(()) } else { Err(Error::NotCurrent) }
    }

    /// What is known of the packages of an execution's newest attempt, and the log of the build if that is there.
    pub async fn environment_log(
        &self,
        account: AccountId,
        execution: ExecutionId,
    ) -> Result<(Known, Option<Vec<u8>>)> {
        let row = sqlx::query(guards::sql(
            &[&guards::ACCOUNT_LOGS],
            include_str!("../queries/environment_logs/read.sql"),
        ))
        .bind(execution.to_string())
        .bind(account.to_string())
        .fetch_optional(self.pool())
        .await?
        .ok_or_else(|| Error::not_found("execution", execution))?;
        let log: Option<Vec<u8>> = row.try_get("log")?;
        let origin: Option<EnvironmentOrigin> = row.text_or_null("origin")?;
        let known = Known {
            has_packages: row.try_get("has_packages")?,
            status: row.text("status")?,
            is_installing: row.try_get("is_installing")?,
            told: origin.map(|origin| (origin, HasLog::of(log.as_ref()))),
        };
        Ok((known, log))
    }
}
