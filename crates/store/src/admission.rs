//! Admission: how a submission becomes an execution, once.

use rgrid_core::execution::Status;
use rgrid_core::id::{AccountId, ExecutionId};
use rgrid_core::submission::Submission;

use crate::executions::{self, CreatedRow};
use crate::idempotency::{self, Idempotency};
use crate::named_blobs::{blobs_here, read_blob};
use crate::notify::Nudge;
use crate::steering::FOLLOWED_FOR;
use crate::submissions::{self, NewExecution};
use crate::{Error, Result, Store, guards, queue, row, secret};

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
        let mut transaction = self.begin().await?;
        if let Some(key) = &idempotency
            && guards::holds(&guards::IDEMPOTENCY_KEY)
            && let Some(made) = idempotency::remember(&mut transaction, account, key, &id.to_string()).await?
        {
            transaction.rollback().await?;
            return self.replay(account, row::parsed("idempotency key", &made)?).await;
        }
        let named = submissions::blobs_of(submission);
        let mut here = blobs_here(&mut transaction, account, &named).await?;
        if !here.missing(&named)?.is_empty() {
            if guards::holds(&guards::INPUTS_HELD) {
                queue::hold_inputs(&mut transaction, account).await?;
            }
            here = blobs_here(&mut transaction, account, &named).await?;
        }
        let missing = here.missing(&named)?;
        let status = if missing.is_empty() { Status::Queued } else { Status::Pending };
        let lane_id = queue::lane(&mut transaction, account, None, submission).await?;
        let follow_ms = follow.then(|| row::millis(FOLLOWED_FOR));
        let new = NewExecution { id, account, lane_id, submission, status, follow_ms };
        self.insert_execution(&mut transaction, &new).await?;
        submissions::insert_inputs(&mut transaction, id, &submission.inputs).await?;
        if !guards::holds(&guards::QUEUED_WITH_SUBMISSION) {
            transaction.commit().await?;
            transaction = self.begin().await?;
        }
        if missing.is_empty() {
            queue::push(&mut transaction, &[id.to_string()]).await?;
        }
        let execution = executions::read(&mut transaction, account, id).await?;
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

    /// What a request with the same idempotency key made, if one came before.
    pub async fn made_before(&self, account: AccountId, key: &Idempotency) -> Result<Option<ExecutionId>> {
        let mut connection = self.pool().acquire().await?;
        let made = idempotency::remembered(&mut connection, account, key).await?;
        made.map(|made| row::parsed("idempotency key", &made)).transpose()
    }

    /// Submits the same again, as a new execution. Only for one that has ended.
    pub async fn retry_execution(
        &self,
        account: AccountId,
        id: ExecutionId,
        idempotency: Option<Idempotency>,
    ) -> Result<CreatedRow> {
        // A repetition is answered first: what it made may be what `last` names by now, and is not to be retried.
        if let Some(key) = &idempotency
            && let Some(made) = self.made_before(account, key).await?
        {
            return self.replay(account, made).await;
        }
        let execution = self.execution(account, id).await?;
        if !execution.status.is_terminal() {
            return Err(Error::conflict(id, execution.status));
        }
        let submission = self.submission(account, id).await?;
        self.create_execution(account, &submission, false, idempotency).await
    }
}
