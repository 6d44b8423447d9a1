//! What the orchestrator and the claim know of durations and of paid hours: no server is bought for what a place will be
//! free for in time, and a job goes where it is least likely to cost another hour.

use std::time::Duration;

use rgrid_core::id::WorkerId;
use rgrid_core::worker::Capacity;
use rgrid_orchestrator::Spending;
use rgrid_store::claim::{Claimed, Poll};

use crate::bought::Market;
use crate::stage::{join_row, until};

impl Market {
    /// Waits until the orchestrator says why work waits, in these words among others.
    async fn until_said(&self, words: &str) {
        let said = async || self.grid.store.outlook().await.unwrap().is_some_and(|said| said.contains(words));
        until(words, said).await;
    }

    /// The runner of the newest server joins, once the orchestrator knows since when it is paid.
    async fn join_newest(&self) -> WorkerId {
        let known = async || self.grid.store.servers().await.unwrap().iter().all(|row| row.created.is_some());
        until("every server is known", known).await;
        self.stand.step(Duration::from_secs(30));
        let server = self.stand.servers().into_iter().max_by_key(|server| server.id).unwrap();
        let token = server.user_data.lines().find(|line| line.trim().starts_with("rgj_")).unwrap();
        let mut row = join_row(token.trim().to_owned());
        // No less than any type here promises.
        row.capacity.disk_bytes *= 2;
        self.grid.store.join(&row).await.unwrap().0
    }

    /// Both workers ask at once, for so many attempts; answers who was given what.
    async fn ask(&self, asking: &[(WorkerId, u32)]) -> Vec<Claimed> {
        let free = |slots: u32| Capacity {
            cpu_millis: 1000 * slots,
            memory_bytes: u64::from(slots) << 30,
            disk_bytes: u64::from(slots) << 30,
        };
        let polls: Vec<Poll> = asking
            .iter()
            .map(|(worker_id, slots)| Poll { worker_id: *worker_id, slots: *slots, free: free(*slots) })
            .collect();
        self.grid.store.claim(&polls).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_server_is_bought_for_what_running_work_will_make_room_for() {
    let market = Market::new().await;
    let first = market.buyer("a");
    let (worker, claimed) = market.at_work().await;
    market.finish(worker, &claimed).await;
    for _ in 0..3 {
        market.grid.submit().await;
        let claimed = market.claim(worker).await;
        market.finish(worker, &claimed).await;
    }
    first.stop().await;
    market.grid.submit().await;
    let running = market.claim(worker).await;
    market.beat(worker, &[&running]).await;
    // Each of the four took 40 s, and this one has run for 10.
    market
        .grid
        .database
        .execute(
            "update attempts set claimed_at = ended_at - interval '40 seconds' where state = 'ended';
            update attempts set claimed_at = claimed_at - interval '10 seconds' where state = 'running'",
        )
        .await;
    market.grid.submit().await;
    let second = market.buyer("b");
    market.until_said("running work is expected to make room").await;
    market.listings(3).await;
    assert_eq!(market.creates(), 1);
    // It runs for longer than any did before: nobody knows when it ends.
    market
        .grid
        .database
        .execute("update attempts set claimed_at = claimed_at - interval '1 hour' where state = 'running'")
        .await;
    market.until_servers(2).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_where_it_is_least_likely_to_cost_another_hour() {
    let market = Market::new().await;
    let two_cores = |policy: &mut rgrid_core::fleet::FleetPolicy| {
        policy.servers.types = vec!["cpx22".to_owned()];
    };
    let buyer = market.buyer_with("a", Spending::On, two_cores);
    market.grid.submit().await;
    market.grid.submit().await;
    market.until_servers(1).await;
    let old = market.join_newest().await;
    let held = market.ask(&[(old, 2)]).await;
    assert_eq!(held.len(), 2);
    market.beat(old, &held.iter().collect::<Vec<_>>()).await;
    // Five minutes before the end of its second hour.
    market.stand.step(Duration::from_secs(115 * 60 - 30));
    until("its second hour is in the ledger", async || market.ledgers().await == (64_000, 64_000)).await;
    market.grid.submit().await;
    market.until_servers(2).await;
    let new = market.join_newest().await;
    market.finish(old, &held[0]).await;
    let given = market.ask(&[(old, 1), (new, 2)]).await;
    assert_eq!(given[0].worker_id, new, "rather where an hour is paid than where it is nearly over");
    market.beat(new, &[&given[0]]).await;
    market
        .grid
        .database
        .execute(&format!(
            "update attempts set claimed_at = claimed_at - interval '1 hour'
            where state = 'running' and worker_id = '{old}'"
        ))
        .await;
    market.grid.submit().await;
    let given = market.ask(&[(old, 1), (new, 1)]).await;
    assert_eq!(given[0].worker_id, old, "beside what has run for long and keeps the server anyway");
    buyer.stop().await;
}
