//! Steering: what people ask of an execution while it lives. An attempt that runs is told by a new version of its
//! directive.

use std::time::Duration;

use rgrid_core::execution::{Status, Step, sources};
use rgrid_core::id::{AccountId, ExecutionId};
use rgrid_core::limits;
use rgrid_core::outcome::{CancelledBy, Outcome};
use sqlx::types::Json;

use crate::executions::{self, ExecutionRow};
use crate::notify::Nudge;
use crate::{Error, Result, Store, guards, outcome, row};

/// A follower counts for this long; it is renewed while it follows.
pub const FOLLOWED_FOR: Duration = Duration::from_secs(30);

/// Statuses of executions that no attempt holds, from which `step` is legal.
fn waiting(step: Step) -> Vec<&'static str> {
    sources(step).into_iter().filter(|status| *status != Status::Running).map(Status::as_str).collect()
}

/// Statuses that are not terminal.
fn open_statuses() -> Vec<&'static str> {
    Status::ALL.into_iter().filter(|status| !status.is_terminal()).map(Status::as_str).collect()
}

impl Store {
    /// Ends an execution: at once when nothing runs, else by telling its attempt. Repeating it is harmless; one that
    /// has ended is a conflict.
    pub async fn cancel(&self, account: AccountId, id: ExecutionId, by: CancelledBy) -> Result<ExecutionRow> {
        let outcome = Outcome::Cancelled { by };
        let mut transaction = self.begin().await?;
        sqlx::query(include_str!("../queries/executions/leave_queue.sql"))
            .bind(account.to_string())
            .bind(id.to_string())
            .execute(&mut *transaction)
            .await?;
        let ended = sqlx::query(guards::sql(
            &[&guards::CANCEL_WAITS_FOR_THE_ATTEMPT],
            include_str!("../queries/executions/end_waiting.sql"),
        ))
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
        let execution = executions::read(&mut transaction, account, id).await?;
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
}
