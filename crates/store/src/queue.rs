//! The queue and its lanes: how an execution gets in and out of them. The claim reads them.

use rgrid_core::id::AccountId;
use rgrid_core::submission::Sha256;
use sqlx::{Postgres, Transaction};

use crate::Result;

/// Queues every pending execution of the account that names `sha256` and now has all its inputs. Call it after the
/// blob's row was inserted, in the same transaction. Answers how many were queued; nudge `Queue` and `Executions` after
/// the commit when it is not 0.
pub(crate) async fn queue_ready_executions(
    transaction: &mut Transaction<'_, Postgres>,
    account: AccountId,
    sha256: Sha256,
) -> Result<u64> {
    let _ = (transaction, account, sha256);
    todo!()
}
