//! What a forecast is made of: how long what ended held its place, what runs, what waits; and until when servers are paid.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use rgrid_core::id::WorkerId;
use rgrid_core::money::{Rate, ServerPrice};
use rgrid_core::outcome::{CancelledBy, Outcome};
use rgrid_core::submission::Program;
use rgrid_core::worker::Capacity;
use rgrid_store::claim::Poll;
use rgrid_store::leadership::Term;
use rgrid_store::servers::ServerOrder;

use crate::crew::{auth, changed, finish, join};
use crate::stage::Stage;

/// What a server of these tests holds.
const TWO: Capacity = Capacity { cpu_millis: 2000, memory_bytes: 2 << 30, disk_bytes: 2 << 30 };

impl Stage {
    async fn submit_module(&self, name: &str) {
        let sent = changed(|draft| draft.program = Program::Module(name.to_owned()));
        self.store.create_execution(self.account, &sent, false, None).await.unwrap();
    }

    /// Runs one of the module to its end.
    async fn run_module(&self, worker: WorkerId, name: &str, outcome: Outcome) {
        self.submit_module(name).await;
        let claimed = self.claim_one(worker).await;
        self.execute(
            "update attempts set claimed_at = now() - interval '90 seconds' where state = 'running'",
        )
        .await;
        self.store.finish(&auth(&claimed), &finish(outcome), [1; 32]).await.unwrap();
    }

    /// A worker on a server that was created so many minutes ago by the provider's clock.
    async fn server(&self, term: &Term, number: u8, minutes_ago: i64) -> WorkerId {
        let rate = Rate { hour: "0.03".parse().unwrap(), month: None };
        let order = ServerOrder {
            provider: "hetzner".to_owned(),
            machine_type: "cpx22".to_owned(),
            location: "fsn1".to_owned(),
            price: ServerPrice { server: rate, ipv4: None },
            capacity: TWO,
            slots: 2,
            reason: "a test".to_owned(),
            join_within: Duration::from_secs(60),
        };
        let ordered = self.store.order_server(term, &order).await.unwrap();
        let created = Utc::now() - TimeDelta::minutes(minutes_ago);
        self.store.server_seen(term, ordered.intent, &number.to_string(), created, None).await.unwrap();
        self.store.join(&join(&ordered.join_token, &number.to_string())).await.unwrap().0
    }

    /// Submits one and says which of the workers, which all ask, is given it.
    async fn given(&self, asking: &[(WorkerId, u32)]) -> WorkerId {
        self.submit_module("tool").await;
        let free = |slots: u32| Capacity { cpu_millis: 1000 * slots, ..TWO };
        let polls: Vec<Poll> = asking
            .iter()
            .map(|(worker_id, slots)| Poll { worker_id: *worker_id, slots: *slots, free: free(*slots) })
            .collect();
        let claimed = self.store.claim(&polls).await.unwrap();
        assert_eq!(claimed.len(), 1);
        claimed[0].worker_id
    }
}

#[tokio::test]
async fn what_ended_by_itself_is_read_once_and_what_was_cancelled_never() {
    let stage = Stage::new().await;
    let worker = stage.joined().await;
    let exited = Outcome::Exited { code: 1 };
    stage.run_module(worker, "one", exited.clone()).await;
    stage.run_module(worker, "two", Outcome::Cancelled { by: CancelledBy::User }).await;
    stage.run_module(worker, "one", exited.clone()).await;
    stage.run_module(worker, "three", exited).await;
    let ends = stage.store.ends(None).await.unwrap();
    let kinds: Vec<u64> = ends.iter().map(|end| end.kind).collect();
    assert_eq!(kinds.len(), 3);
    assert!(kinds[0] == kinds[1] && kinds[1] != kinds[2], "{kinds:?}");
    let minute_and_a_half = Duration::from_secs(90)..Duration::from_secs(110);
    assert!(ends.iter().all(|end| minute_and_a_half.contains(&end.held_for)), "{ends:?}");
    assert!(ends.is_sorted_by_key(|end| end.finished_at));
    let newest = ends.last().map(|end| end.finished_at);
    assert_eq!(stage.store.ends(newest).await.unwrap(), []);
}

#[tokio::test]
async fn what_runs_and_what_waits_of_one_script_are_of_one_kind() {
    let stage = Stage::new().await;
    let worker = stage.joined().await;
    stage.submit_module("one").await;
    stage.claim_one(worker).await;
    assert_eq!(stage.store.fleet(Duration::ZERO).await.unwrap().running, [], "nothing waits");
    stage.submit_module("one").await;
    let rows = stage.store.fleet(Duration::ZERO).await.unwrap();
    assert_eq!(rows.running.len(), 1);
    assert_eq!((rows.running[0].worker_id, rows.running[0].wanted.cpu_millis), (worker, 0));
    assert_eq!(rows.demand[0].kind, Some(rows.running[0].kind));
    stage.submit_module("another").await;
    assert_eq!(stage.store.fleet(Duration::ZERO).await.unwrap().demand[0].kind, None);
    stage.execute("update workers set status = 'draining'").await;
    assert_eq!(stage.store.fleet(Duration::ZERO).await.unwrap().running, []);
}

#[tokio::test]
async fn only_what_has_waited_as_long_as_it_may_is_impatient() {
    let stage = Stage::new().await;
    for _ in 0..3 {
        stage.submit_module("one").await;
    }
    stage
        .execute(
            "update queue set age = age - interval '2 minutes'
            where execution_id = (select min(execution_id) from queue);
            update lanes set head_age = head_age - interval '2 minutes'",
        )
        .await;
    for (patience, impatient) in [(0, 3), (60, 1), (600, 0)] {
        let rows = stage.store.fleet(Duration::from_secs(patience)).await.unwrap();
        assert_eq!((rows.demand[0].count, rows.demand[0].impatient), (3, impatient), "{patience} s");
    }
}

#[tokio::test]
async fn a_job_goes_to_the_server_that_is_paid_for_longer_and_beside_what_keeps_it_anyway() {
    let stage = Stage::new().await;
    let term = stage.store.lead("a").await.unwrap().unwrap();
    let old = stage.server(&term, 1, 55).await;
    let new = stage.server(&term, 2, 5).await;
    assert_eq!(stage.given(&[(old, 2), (new, 2)]).await, new, "of two empty ones");
    // The provider's clock is ahead: it is the other that has begun an hour.
    stage.store.provider_ahead(&term, "hetzner", TimeDelta::minutes(10)).await.unwrap();
    assert_eq!(stage.given(&[(old, 2), (new, 2)]).await, old);
    stage.store.provider_ahead(&term, "hetzner", TimeDelta::zero()).await.unwrap();
    // One runs on each for a moment: the fuller is no better than what is paid.
    assert_eq!(stage.given(&[(old, 1), (new, 2)]).await, new);
    let empty = stage.server(&term, 3, 20).await;
    stage.execute("update attempts set claimed_at = claimed_at - interval '50 minutes'").await;
    assert_eq!(stage.given(&[(old, 1), (empty, 2)]).await, old, "what has run for long keeps it anyway");
}
