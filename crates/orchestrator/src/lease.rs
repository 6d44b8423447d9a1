//! The lease of leadership as calls to a provider see it: none begins without it, and none goes on after it (SEMANTICS 9).
//! What each write holds against the database is the term (`rgrid_store::leadership`), not this.

use rgrid_core::limits;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::cloud::Error;
use crate::guards;

/// Whether this orchestrator leads, as far as it knows.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    held: watch::Sender<Option<Held>>,
}

/// A lease without a gap.
#[derive(Debug, Clone, Copy)]
struct Held {
    since: Instant,
    until: Instant,
}

impl Lease {
    /// It was taken or renewed. PostgreSQL began to count no earlier than when it was `asked`.
    pub(crate) fn renewed(&self, asked: Instant) {
        self.held.send_modify(|held| {
            let without_gap = held.filter(|held| asked < held.until);
            let since = without_gap.map_or(asked, |held| held.since);
            *held = Some(Held { since, until: asked + limits::LEADER_TTL });
        });
    }

    /// Another has it, or nobody.
    pub(crate) fn lost(&self) {
        self.held.send_replace(None);
    }

    /// Makes a call while the lease is renewed: its time-out is the lease's end, beside its own.
    ///
    /// # Errors
    /// The call's own, and [`Error::LeaseEnded`].
    pub(crate) fn covers<T, C: Future<Output = Result<T, Error>>>(
        &self,
        call: C,
    ) -> impl Future<Output = Result<T, Error>> + use<T, C> {
        let mut held = self.held.subscribe();
        async move {
            if !guards::holds(&guards::CALLS_UNDER_LEASE) {
                return call.await;
            }
            // Not by the timer, which after a pause may not have heard yet how late it is.
            let now = held.borrow().filter(|held| Instant::now() < held.until);
            let Some(Held { since, mut until }) = now else {
                return Err(Error::LeaseEnded { begun: false });
            };
            tokio::pin!(call);
            loop {
                tokio::select! {
                    biased;
                    // Its holder gone, a lease ends by itself.
                    Ok(()) = held.changed() => match *held.borrow_and_update() {
                        Some(renewed) if renewed.since == since => until = renewed.until,
                        // One that was taken again is another.
                        Some(_) | None => return Err(Error::LeaseEnded { begun: true }),
                    },
                    () = sleep_until(until) => return Err(Error::LeaseEnded { begun: true }),
                    done = &mut call => return done,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    /// A call that takes so long, and takes note of when it begins.
    async fn call(takes: Duration, begun: &Cell<bool>) -> Result<u32, Error> {
        begun.set(true);
        tokio::time::sleep(takes).await;
        Ok(7)
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_begins_under_a_lease_only() {
        let (lease, begun) = (Lease::default(), Cell::new(false));
        let none = lease.covers(call(Duration::ZERO, &begun)).await;
        lease.renewed(Instant::now());
        let waits = lease.covers(call(Duration::ZERO, &begun));
        tokio::time::advance(limits::LEADER_TTL).await; // as a pause of the process would
        let over = waits.await;
        lease.renewed(Instant::now());
        lease.lost();
        let lost = lease.covers(call(Duration::ZERO, &begun)).await;
        for result in [none, over, lost] {
            assert!(matches!(result, Err(Error::LeaseEnded { begun: false })), "{result:?}");
        }
        assert!(!begun.get());
        lease.renewed(Instant::now());
        assert_eq!(lease.covers(call(Duration::ZERO, &begun)).await.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_goes_on_while_the_lease_is_renewed_and_no_longer() {
        let (lease, begun) = (Lease::default(), Cell::new(false));
        let started = Instant::now();
        lease.renewed(started);
        let renewals = 10;
        let renew = async {
            for _ in 0..renewals {
                tokio::time::sleep(limits::LEADER_RENEW).await;
                lease.renewed(Instant::now());
            }
            std::future::pending::<()>().await;
        };
        let led = limits::LEADER_RENEW * renewals + limits::LEADER_TTL;
        let result = tokio::select! {
            result = lease.covers(call(led - Duration::from_millis(10), &begun)) => result,
            () = renew => unreachable!("it never ends"),
        };
        assert_eq!(result.unwrap(), 7);

        lease.renewed(Instant::now());
        let from = Instant::now();
        let result = lease.covers(call(Duration::from_secs(30), &begun)).await;
        assert!(matches!(result, Err(Error::LeaseEnded { begun: true })), "{result:?}");
        assert!((limits::LEADER_TTL..limits::LEADER_RENEW + limits::LEADER_TTL).contains(&from.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_does_not_go_on_under_a_lease_that_was_taken_again() {
        let (lease, begun) = (Lease::default(), Cell::new(false));
        lease.renewed(Instant::now());
        let waits = lease.covers(call(limits::LEADER_TTL + limits::LEADER_RENEW, &begun));
        tokio::pin!(waits);
        tokio::select! {
            biased;
            result = &mut waits => unreachable!("it takes longer: {result:?}"),
            () = tokio::task::yield_now() => {}
        }
        assert!(begun.get());
        tokio::time::advance(limits::LEADER_TTL).await; // a pause: the call hears of nothing
        lease.renewed(Instant::now());
        let result = waits.await;
        assert!(matches!(result, Err(Error::LeaseEnded { begun: true })), "{result:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_given_up_when_another_leads() {
        let (lease, begun) = (Lease::default(), Cell::new(false));
        lease.renewed(Instant::now());
        let from = Instant::now();
        let lose = async {
            tokio::time::sleep(limits::LEADER_RENEW).await;
            lease.lost();
        };
        let (result, ()) = tokio::join!(lease.covers(call(Duration::from_secs(30), &begun)), lose);
        assert!(matches!(result, Err(Error::LeaseEnded { begun: true })), "{result:?}");
        assert!(from.elapsed() < limits::LEADER_TTL);
    }
}
