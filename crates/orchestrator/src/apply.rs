//! One action and its effect. Each is idempotent, and each may fail alone: the next round looks again.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use rgrid_core::fleet::{Action, Backing, Order, Reason};
use rgrid_core::id::WorkerId;
use rgrid_core::limits;
use rgrid_core::retry::Loss;
use rgrid_store::Store;
use rgrid_store::fleet::{FleetRows, Requeue};
use rgrid_store::leadership::Term;
use rgrid_store::servers::ServerOrder;

use crate::bought::Books;
use crate::cloud::{Cloud, Deletion, Listing, Target, Wish};
use crate::errands::Errands;
use crate::error::Error;
use crate::guards;
use crate::rounds::Spending;

/// What a round has in hand while it acts.
pub(crate) struct Round<'a, C> {
    pub(crate) store: &'a Store,
    pub(crate) cloud: &'a Arc<C>,
    pub(crate) term: &'a Term,
    pub(crate) rows: &'a FleetRows,
    pub(crate) listing: Option<&'a Listing>,
    /// `None` where nothing is bought.
    pub(crate) books: Option<&'a Books>,
    pub(crate) spending: &'a Spending,
}

impl<C: Cloud> Round<'_, C> {
    /// True when the action would change something at a provider that bills, or prepares that.
    fn spends(&self, action: &Action) -> bool {
        let bought = |worker: &WorkerId| {
            let row = self.rows.workers.iter().find(|row| row.id == *worker);
            self.cloud.backing() == Backing::Server
                && row.is_some_and(|row| row.provider == self.cloud.name())
        };
        match action {
            Action::AddServer(_) => true,
            Action::Drain(worker)
            | Action::Terminate(worker)
            | Action::DeleteMachine(worker)
            | Action::MarkTerminated(worker) => bought(worker),
            Action::LoseAttempt { .. } | Action::MarkDead(_) | Action::MarkFailed(_) | Action::AddWorker => {
                false
            }
        }
    }
}

/// Carries one action out. Calls that take long are only sent on their way.
pub(crate) async fn apply<C: Cloud>(
    round: &Round<'_, C>,
    errands: &mut Errands,
    action: &Action,
    reason: &Reason,
) -> Result<(), Error> {
    let Round { store, cloud, term, rows, listing, books, spending } = round;
    if let (Spending::Off(why), true) = (spending, round.spends(action))
        && guards::holds(&guards::SWITCH_OFF)
    {
        tracing::info!(?action, %reason, why, "would act");
        return Ok(());
    }
    tracing::info!(?action, %reason, "acting");
    let last_words = |worker| listing.and_then(|listing| listing.last_words.get(worker)).cloned();
    let bought = |worker: &WorkerId| books.and_then(|books| books.target(*worker));
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
            let join_token = store.create_join_token(Some(worker), lifetime).await?;
            if let Err(error) = cloud.create(&Wish { worker, join_token, server: None }).await {
                store.mark_failed(term, worker, &error.to_string()).await?;
                return Err(error.into());
            }
        }
        Action::AddServer(order) => buy(round, errands, order, reason).await?,
        Action::Drain(worker) => {
            store.mark_draining(term, *worker, &reason.to_string()).await?;
        }
        Action::Terminate(worker) => {
            let marked = store.mark_terminating(term, *worker, &reason.to_string()).await?;
            if marked || !guards::holds(&guards::TERMINATING_FIRST) {
                delete(round, errands, worker).await?;
            }
        }
        Action::DeleteMachine(worker) => delete(round, errands, worker).await?,
        // Where a provider bills, only its own word that there is no such server ends the bill.
        Action::MarkTerminated(worker) => match bought(worker) {
            Some((intent, target)) => errands.delete(cloud, intent, target),
            None => {
                store.mark_terminated(term, *worker).await?;
            }
        },
    }
    Ok(())
}

/// Writes the order, then sends it. An order that finds no room is made by a later round, if it is wanted then.
async fn buy<C: Cloud>(
    round: &Round<'_, C>,
    errands: &mut Errands,
    order: &Order,
    reason: &Reason,
) -> Result<(), Error> {
    if !errands.has_room() {
        return Ok(());
    }
    let written = ServerOrder {
        provider: round.cloud.name().to_owned(),
        machine_type: order.machine_type.clone(),
        location: order.location.clone(),
        price: order.price,
        capacity: order.capacity,
        slots: order.slots,
        reason: reason.to_string(),
        join_within: limits::CREATE_DEADLINE + limits::JOIN_DEADLINE,
    };
    let ordered = round.store.order_server(round.term, &written).await?;
    errands.create(round.cloud, ordered, order.clone());
    Ok(())
}

async fn delete<C: Cloud>(
    round: &Round<'_, C>,
    errands: &mut Errands,
    worker: &WorkerId,
) -> Result<(), Error> {
    match round.books {
        Some(books) => {
            if let Some((intent, target)) = books.target(*worker) {
                errands.delete(round.cloud, intent, target);
            }
        }
        None => {
            let target = Target { worker: *worker, server: None, name: None };
            let deletion = round.cloud.delete(&target).await?;
            if let Deletion::Gone(at) = deletion {
                tracing::debug!(%worker, late_ms = (Utc::now() - at).num_milliseconds(), "it was gone already");
            }
        }
    }
    Ok(())
}
