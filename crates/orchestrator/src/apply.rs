//! One action and its effect. Each is idempotent, and each may fail alone: the next round looks again.

use std::time::Duration;

use rgrid_core::fleet::{Action, Reason};
use rgrid_core::limits;
use rgrid_core::retry::Loss;
use rgrid_store::Store;
use rgrid_store::fleet::{FleetRows, Requeue};
use rgrid_store::leadership::Term;

use crate::cloud::{Cloud, Listing};
use crate::error::Error;

/// What a round has in hand while it acts.
pub(crate) struct Round<'a, C> {
    pub(crate) store: &'a Store,
    pub(crate) cloud: &'a C,
    pub(crate) term: &'a Term,
    pub(crate) rows: &'a FleetRows,
    pub(crate) listing: Option<&'a Listing>,
}

/// Carries one action out.
pub(crate) async fn apply<C: Cloud>(
    round: &Round<'_, C>,
    action: &Action,
    reason: &Reason,
) -> Result<(), Error> {
    let Round { store, cloud, term, rows, listing } = round;
    tracing::info!(?action, %reason, "acting");
    let last_words = |worker| listing.and_then(|listing| listing.last_words.get(worker)).cloned();
    match action {
        Action::LoseAttempt { execution, number, loss } => {
            let why = match loss {
                Loss::Lost => Requeue::Lost,
                Loss::HandedBack => Requeue::Unnamed,
            };
            store.requeue(term, *execution, *number, why).await?;
        }
        Action::MarkDead(worker) if *reason == Reason::MachineGone => {
            let words = last_words(worker).unwrap_or_else(|| reason.to_string());
            store.worker_exited(term, *worker, &words).await?;
        }
        Action::MarkDead(worker) => {
            let seen =
                rows.workers.iter().find(|row| row.id == *worker).and_then(|row| row.last_heartbeat_at);
            store.mark_dead(term, *worker, seen, &reason.to_string()).await?;
        }
        Action::MarkFailed(worker) => {
            let words = last_words(worker).unwrap_or_else(|| reason.to_string());
            store.mark_failed(term, *worker, &words).await?;
        }
        Action::AddWorker => {
            let (_, worker) = store.provision_intent(term, cloud.name(), &reason.to_string()).await?;
            let lifetime: Duration = limits::CREATE_DEADLINE + limits::JOIN_DEADLINE;
            let token = store.create_join_token(Some(worker), lifetime).await?;
            if let Err(error) = cloud.create(worker, &token).await {
                store.mark_failed(term, worker, &error.to_string()).await?;
                return Err(error.into());
            }
        }
        // No provider here sells servers yet: no policy asks for one.
        Action::AddServer(_) => {}
        Action::Drain(worker) => {
            store.mark_draining(term, *worker, &reason.to_string()).await?;
        }
        Action::Terminate(worker) => {
            if store.mark_terminating(term, *worker, &reason.to_string()).await? {
                cloud.delete(*worker).await?;
            }
        }
        Action::DeleteMachine(worker) => cloud.delete(*worker).await?,
        Action::MarkTerminated(worker) => {
            store.mark_terminated(term, *worker).await?;
        }
    }
    Ok(())
}
