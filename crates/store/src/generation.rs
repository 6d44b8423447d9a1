//! Generations of what runs. Counts of running attempts go through indexes that begin with the generation: what ended in
//! an earlier one is never looked at again, however long an old snapshot keeps its entries (migration 20). Who claims
//! begins the next one from time to time.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Result, Store, claim};

/// A generation lasts for so many attempts that one process hands out.
const ATTEMPTS_MIN: u64 = 1000;
/// And for so many times those that were carried into it: carrying costs each attempt a fraction of a row's change.
const ATTEMPTS_PER_CARRIED: u64 = 2;

/// What one process knows of the current generation.
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

impl Store {
    /// Counts attempts that were handed out, and begins the next generation when it is due, beside the claims.
    pub(crate) fn renew_generation_when_due(&self, attempts: usize) {
        if !self.generation().is_over(attempts as u64) {
            return;
        }
        let store = self.clone();
        tokio::spawn(async move {
            let carried = store.renew_generation().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "what runs could not be carried into the next generation");
                0
            });
            store.generation().begin(carried);
        });
    }

    /// Begins the next generation; answers how many attempts run in it.
    pub async fn renew_generation(&self) -> Result<u64> {
        let mut transaction = self.begin().await?;
        claim::lock(&mut transaction).await?;
        // Whoever changes several attempts at once may want what this holds, and is not to fail for it.
        sqlx::query(include_str!("../queries/claim/give_way.sql")).execute(&mut *transaction).await?;
        let carried: i64 = sqlx::query_scalar(include_str!("../queries/claim/renew_generation.sql"))
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(u64::try_from(carried).unwrap_or(0))
    }
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
