//! Executions that answer a submission which is the same: what is remembered of one that has completed, and which one is
//! found. What counts as the same is `core::reuse`'s to say.
//!
//! What was asked stands here as hashes under a key of the vault: no value of a variable can be guessed from a row.

use std::time::Duration;

use rgrid_core::execution::Status;
use rgrid_core::id::{AccountId, ExecutionId};
use rgrid_core::reuse::{self, CANDIDATES_MAX};
use rgrid_core::submission::{Input, Sha256, Submission};
use sha2::Digest as _;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, Row, Transaction};

use crate::artifacts::ArtifactKind;
use crate::blobs::interval;
use crate::endings::LockedExecution;
use crate::executions::{self, BlobName, ExecutionRow};
use crate::named_blobs::{BlobsHere, blobs_here};
use crate::row::{self, Columns};
use crate::submissions::read_input;
use crate::{Result, Store, guards};

/// What the vault's key is derived for.
const PURPOSE: &str = "combined cache";
/// An execution whose outputs are taken is not deleted for this long.
const HELD_FOR: Duration = Duration::from_secs(3600);

/// What was asked, as its row has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Which Python.
    pub(crate) place: Sha256,
    /// All but the inputs.
    pub(crate) question: Sha256,
    /// All.
    pub(crate) key: Sha256,
}

impl Asked {
    /// Reads the columns of an execution.
    pub(crate) fn read(row: &PgRow) -> Result<Option<Self>> {
        let hash = |column: &'static str| -> Result<Option<Sha256>> {
            row.try_get::<Option<&[u8]>, _>(column)?.map(row::sha256).transpose()
        };
        let (place, question, key) = (hash("reuse_place")?, hash("reuse_question")?, hash("reuse_key")?);
        Ok(place.zip(question).zip(key).map(|((place, question), key)| Self { place, question, key }))
    }

    /// The same with what is streamed to standard input.
    fn with_stdin(self, stdin: Sha256) -> Self {
        let with = |hash: Sha256| {
            Sha256(sha2::Sha256::new().chain_update(hash.0).chain_update(stdin.0).finalize().into())
        };
        Self { question: with(self.question), key: with(self.key), ..self }
    }
}

/// What was streamed to an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Streamed {
    /// It takes no standard input.
    Nothing,
    /// All of this.
    All(Sha256),
    /// It ended before its input did, or nobody said what that was.
    Unknown,
}

/// What was streamed to an execution that is about to end: afterwards nobody knows.
pub(crate) async fn streamed(connection: &mut PgConnection, execution: &LockedExecution) -> Result<Streamed> {
    if !execution.stdin {
        return Ok(Streamed::Nothing);
    }
    let sha256: Option<Option<Vec<u8>>> =
        sqlx::query_scalar(include_str!("../queries/combined_cache/stdin.sql"))
            .bind(execution.id.to_string())
            .fetch_optional(connection)
            .await?;
    Ok(match sha256.flatten() {
        Some(bytes) => Streamed::All(row::sha256(&bytes)?),
        None => Streamed::Unknown,
    })
}

/// Remembers an execution that has completed, in the transaction that ends it.
pub(crate) async fn keep(
    connection: &mut PgConnection,
    execution: &LockedExecution,
    platform: Option<Sha256>,
    streamed: Streamed,
) -> Result<()> {
    let (Some(asked), Some(platform)) = (execution.asked, platform) else { return Ok(()) };
    let asked = match streamed {
        Streamed::Nothing => asked,
        Streamed::All(stdin) => asked.with_stdin(stdin),
        Streamed::Unknown => return Ok(()),
    };
    sqlx::query(include_str!("../queries/combined_cache/keep.sql"))
        .bind(execution.id.to_string())
        .bind(execution.account.to_string())
        .bind(asked.place.0.as_slice())
        .bind(platform.0.as_slice())
        .bind(asked.question.0.as_slice())
        .bind(asked.key.0.as_slice())
        .execute(connection)
        .await?;
    Ok(())
}

impl Store {
    /// What a submission asks, as hashes; `None` when it is never the same as another.
    pub(crate) fn asked(&self, account: AccountId, submission: &Submission) -> Option<Asked> {
        let identity = reuse::identity(submission)?;
        let key = self.vault().derived_keys(PURPOSE).into_iter().next()?;
        let account = account.to_string();
        // Twice, as HMAC does: who sees a hash can extend nothing.
        let hash = |parts: &[&[u8]]| {
            let mut inner = sha2::Sha256::new().chain_update(key);
            for part in [&[account.as_bytes()], parts].concat() {
                inner.update((part.len() as u64).to_be_bytes());
                inner.update(part);
            }
            Sha256(sha2::Sha256::new().chain_update(key).chain_update(inner.finalize()).finalize().into())
        };
        let (place, question, inputs) = (&identity.place, &identity.question, &identity.inputs);
        Some(Asked {
            place: hash(&[place]),
            question: hash(&[place, question]),
            key: hash(&[place, question, inputs]),
        })
    }

    /// The newest completed execution of the account that is the same as this submission and whose outputs are all here.
    /// It is kept for an hour more. `stdin` is the hash of what would be streamed.
    pub async fn reusable(
        &self,
        account: AccountId,
        submission: &Submission,
        stdin: Option<Sha256>,
    ) -> Result<Option<ExecutionRow>> {
        let Some(asked) = self.asked(account, submission) else { return Ok(None) };
        let asked = match (submission.stdin, stdin) {
            (false, _) => asked,
            (true, Some(stdin)) => asked.with_stdin(stdin),
            (true, None) => return Ok(None),
        };
        let answers = sqlx::query(guards::sql(
            &[&guards::REUSE_SAME_PLATFORM],
            include_str!("../queries/combined_cache/answers.sql"),
        ))
        .bind(account.to_string())
        .bind(asked.question.0.as_slice())
        .bind(asked.key.0.as_slice())
        .bind(CANDIDATES_MAX)
        .fetch_all(self.pool())
        .await?;
        for answer in &answers {
            let id: ExecutionId = answer.text("execution_id")?;
            let exact: bool = answer.try_get("exact")?;
            if let Some(found) = self.take_answer(account, id, (!exact).then_some(&submission.inputs)).await?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Holds an execution and its outputs, if all of that is here, and if it was sent what `inputs` are.
    async fn take_answer(
        &self,
        account: AccountId,
        id: ExecutionId,
        inputs: Option<&Vec<Input>>,
    ) -> Result<Option<ExecutionRow>> {
        let mut transaction = self.begin().await?;
        let held = sqlx::query(include_str!("../queries/combined_cache/hold.sql"))
            .bind(id.to_string())
            .bind(account.to_string())
            .bind(interval(HELD_FOR))
            .bind([Status::Completed.as_str()])
            .fetch_optional(&mut *transaction)
            .await?;
        let found = match held {
            Some(_) => outputs_held(&mut transaction, account, id, inputs).await?,
            None => None,
        };
        let Some(here) = found else {
            transaction.rollback().await?;
            return Ok(None);
        };
        let execution = executions::read(&mut transaction, account, id).await?;
        transaction.commit().await?;
        self.touch_blobs(account, &here).await;
        Ok(Some(execution))
    }
}

async fn outputs_held(
    transaction: &mut Transaction<'_, Postgres>,
    account: AccountId,
    id: ExecutionId,
    inputs: Option<&Vec<Input>>,
) -> Result<Option<BlobsHere>> {
    let rows = sqlx::query(include_str!("../queries/combined_cache/files.sql"))
        .bind(id.to_string())
        .fetch_all(&mut **transaction)
        .await?;
    let (mut then, mut made, mut named) = (Vec::new(), Vec::new(), Vec::new());
    for row in &rows {
        match row.text("kind")? {
            ArtifactKind::Input => then.push(read_input(row)?),
            ArtifactKind::Output => {
                if let Some(bytes) = row.try_get::<Option<&[u8]>, _>("sha256")? {
                    let sha256 = row::sha256(bytes)?;
                    made.push((row.text("path")?, sha256));
                    named.push(BlobName { sha256, size_bytes: row.number64("size_bytes")? });
                }
            }
            ArtifactKind::Log => {}
        }
    }
    if inputs.is_some_and(|now| !reuse::same_but_for_results(now, &then, &made)) {
        return Ok(None);
    }
    named.sort_unstable();
    named.dedup();
    let here = blobs_here(&mut *transaction, account, &named).await?;
    let all_here = here.missing(&named)?.is_empty() || !guards::holds(&guards::REUSE_OUTPUTS_HERE);
    Ok(all_here.then_some(here))
}
