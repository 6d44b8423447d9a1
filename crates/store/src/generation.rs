//! Generations of what runs and of the lanes that wait. Both are found through indexes that begin with a generation: what
//! has left an earlier one is never looked at again, however long an old snapshot keeps its entries (migrations 20 and
//! 21). Who claims begins the next one from time to time.

use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::PgConnection;

use crate::{Result, Store, claim, queue};

/// A generation lasts for so many attempts that one process hands out. Each of them leaves about one entry behind, in what runs
/// and in the lanes.
const ATTEMPTS_MIN: u64 = 1000;
/// And for so many times those that were carried into it: carrying costs each attempt a fraction of a row's change.
const ATTEMPTS_PER_CARRIED: u64 = 2;
/// More waiting lanes are not carried: claims and submissions would stand still for more than a second (some 10 µs a lane).
const LANES_CARRIED_MAX: i64 = 50_000;

/// What one process knows of a current generation.
#[derive(Debug)]
pub(crate) struct Generation {
    /// Attempts that this process handed out in it.
    handed_out: AtomicU64,
    /// When so many were, the next one is due.
    lasts: AtomicU64,
}

impl Default for Generation {
    fn default() -> Self {
        Self { handed_out: AtomicU64::new(0), lasts: AtomicU64::new(ATTEMPTS_MIN) }
    }
}

impl Generation {
    /// Counts attempts that were handed out; true when the next generation is due, and that once.
    fn is_over(&self, attempts: u64) -> bool {
        let lasts = self.lasts.load(Ordering::Relaxed);
        let before = self.handed_out.fetch_add(attempts, Ordering::Relaxed);
        before < lasts && before + attempts >= lasts
    }

    fn begin(&self, carried: u64) {
        self.lasts.store(ATTEMPTS_MIN.max(carried * ATTEMPTS_PER_CARRIED), Ordering::Relaxed);
        self.handed_out.store(0, Ordering::Relaxed);
    }
}

/// The generations of one grid, as one process knows them.
#[derive(Debug, Default)]
pub(crate) struct Generations {
    running: Generation,
    waiting: Generation,
}

impl Store {
    /// Counts attempts that were handed out, and begins the next generations when they are due, beside the claims.
    pub(crate) fn renew_generations_when_due(&self, attempts: usize) {
        let attempts = attempts as u64;
        if self.generations().running.is_over(attempts) {
            let store = self.clone();
            tokio::spawn(async move {
                let carried = store.renew_running().await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "what runs could not be carried into the next generation");
                    0
                });
                store.generations().running.begin(carried);
            });
        }
        if self.generations().waiting.is_over(attempts) {
            let store = self.clone();
            tokio::spawn(async move {
                let carried = store.renew_waiting().await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "the lanes that wait could not be carried into the next generation");
                    0
                });
                store.generations().waiting.begin(carried);
            });
        }
    }

    /// Begins the next generation of what runs; answers how many attempts run in it.
    pub async fn renew_running(&self) -> Result<u64> {
        let mut transaction = self.begin().await?;
        claim::lock(&mut transaction).await?;
        // Whoever changes several attempts at once may want what this holds, and is not to fail for it.
        give_way(&mut transaction).await?;
        let carried: i64 = sqlx::query_scalar(include_str!("../queries/claim/renew_running.sql"))
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(u64::try_from(carried).unwrap_or(0))
    }

    /// Begins the next generation of waiting lanes; answers how many wait in it, 0 when they were too many to carry.
    pub async fn renew_waiting(&self) -> Result<u64> {
        let mut transaction = self.begin().await?;
        claim::lock(&mut transaction).await?;
        // Submissions queue up behind this while it waits for those that are under way.
        give_way(&mut transaction).await?;
        sqlx::query(include_str!("../queries/claim/hold_waiting.sql"))
            .bind(queue::lock::WAITING)
            .execute(&mut *transaction)
            .await?;
        let carried: i64 = sqlx::query_scalar(include_str!("../queries/claim/renew_waiting.sql"))
            .bind(LANES_CARRIED_MAX)
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(u64::try_from(carried).unwrap_or(0))
    }
}

/// Waits for no lock for long until the transaction ends.
async fn give_way(connection: &mut PgConnection) -> Result<()> {
    sqlx::query(include_str!("../queries/claim/give_way.sql")).execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_over_once_and_lasts_the_longer_the_more_it_carries() {
        let generation = Generation::default();
        assert!(!generation.is_over(999));
        assert!(generation.is_over(5));
        assert!(!generation.is_over(5000), "it is being renewed");
        generation.begin(4000);
        assert!(!generation.is_over(7999));
        assert!(generation.is_over(1));
    }
}
