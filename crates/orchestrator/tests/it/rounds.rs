//! What rounds do to a fleet.

use std::time::Duration;

use rgrid_core::worker::WorkerStatus;

use crate::stage::{Grid, Hand, Orchestrator, auth, finished, until};

#[tokio::test(flavor = "multi_thread")]
async fn waiting_work_brings_one_worker_which_joins_by_its_own_token() {
    let (grid, hand) = (Grid::new().await, Hand::default());
    let orchestrator = Orchestrator::start(&grid.store, &hand, "a", |_| {});
    grid.submit().await;
    grid.submit().await;
    until("a worker is created", async || !hand.created().is_empty()).await;
    let [worker] = hand.created()[..] else { panic!("more than one worker for one place") };
    assert_eq!(grid.status(worker).await, WorkerStatus::Provisioning);
    grid.join(&hand, worker).await;
    assert_eq!(grid.claim(worker).await.len(), 2);
    orchestrator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_process_ended_loses_its_attempt_at_once_and_is_replaced() {
    let (grid, hand) = (Grid::new().await, Hand::default());
    let orchestrator = Orchestrator::start(&grid.store, &hand, "a", |_| {});
    grid.submit().await;
    until("a worker is created", async || !hand.created().is_empty()).await;
    let first = hand.created()[0];
    grid.join(&hand, first).await;
    assert_eq!(grid.claim(first).await[0].attempt.number, 1);
    hand.lose(first, "killed by a test");
    until("the first is terminated", async || grid.status(first).await == WorkerStatus::Terminated).await;
    until("another is created", async || !hand.created().is_empty()).await;
    let second = hand.created()[0];
    assert_ne!(first, second);
    grid.join(&hand, second).await;
    assert_eq!(grid.claim(second).await[0].attempt.number, 2);
    orchestrator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_ends_before_it_joins_is_given_up_and_the_next_is_created() {
    let (grid, hand) = (Grid::new().await, Hand::default());
    let orchestrator = Orchestrator::start(&grid.store, &hand, "a", |_| {});
    grid.submit().await;
    until("a worker is created", async || !hand.created().is_empty()).await;
    let worker = hand.created()[0];
    hand.lose(worker, "bubblewrap is missing: sudo apt-get install bubblewrap");
    until("it is given up", async || grid.status(worker).await == WorkerStatus::Terminated).await;
    let said = grid.store.fleet(Duration::ZERO).await.unwrap();
    assert!(said.workers.iter().all(|row| row.id != worker), "it is not looked at any more");
    until("the next is created", async || !hand.created().is_empty()).await;
    orchestrator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_fails_is_written_off_and_tried_again() {
    let (grid, hand) = (Grid::new().await, Hand::default());
    hand.set_broken(true);
    let orchestrator = Orchestrator::start(&grid.store, &hand, "a", |_| {});
    grid.submit().await;
    until("one was given up", async || {
        let workers = grid.store.workers().await.unwrap();
        workers.iter().any(|row| row.status == WorkerStatus::Terminated)
    })
    .await;
    hand.set_broken(false);
    until("one is created", async || !hand.created().is_empty()).await;
    orchestrator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_worker_is_drained_deleted_and_terminated() {
    let (grid, hand) = (Grid::new().await, Hand::default());
    let orchestrator =
        Orchestrator::start(&grid.store, &hand, "a", |policy| policy.local_idle = Duration::from_millis(300));
    grid.submit().await;
    until("a worker is created", async || !hand.created().is_empty()).await;
    let worker = hand.created()[0];
    grid.join(&hand, worker).await;
    let claimed = grid.claim(worker).await.remove(0);
    grid.store.finish(&auth(worker, &claimed), &finished(), [0; 32]).await.unwrap();
    until("it is terminated", async || grid.status(worker).await == WorkerStatus::Terminated).await;
    assert!(hand.created().is_empty(), "its machine is gone");
    orchestrator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_orchestrators_never_both_act_and_the_second_takes_over() {
    let (grid, hand) = (Grid::new().await, Hand::default());
    let first = Orchestrator::start(&grid.store, &hand, "first", |policy| policy.workers_max = 1);
    grid.submit().await;
    until("the first leads and creates", async || !hand.created().is_empty()).await;
    let created = hand.created();
    let second = Orchestrator::start(&grid.store, &hand, "second", |policy| policy.workers_max = 1);
    assert!(grid.store.lead("a third").await.unwrap().is_none(), "one leads");
    assert_eq!(created.len(), 1);
    first.kill();
    grid.join(&hand, created[0]).await;
    hand.lose(created[0], "killed by a test");
    until("the second acts", async || hand.created().iter().any(|worker| !created.contains(worker))).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_judged_by_a_silence_in_which_the_orchestrator_did_not_listen() {
    let (grid, hand) = (Grid::new().await, Hand::default());
    let token = grid.store.create_join_token(None, Duration::from_secs(60)).await.unwrap();
    let silent = grid.join_by(token).await;
    until("heartbeats are accepted", async || grid.store.outages().await.unwrap().last_beat_at.is_some())
        .await;
    // It has been silent for an hour in which every heartbeat would have been accepted.
    grid.database
        .execute(
            "update api_outage set last_gap_end = now() - interval '2 hours';
            update workers set joined_at = now() - interval '2 hours';
            insert into worker_heartbeats (worker_id, last_heartbeat_at)
                select id, now() - interval '1 hour' from workers
                on conflict (worker_id) do update set last_heartbeat_at = excluded.last_heartbeat_at",
        )
        .await;
    // More than it has places for: a round that adds a worker has judged before it does.
    for _ in 0..3 {
        grid.submit().await;
    }
    let orchestrator = Orchestrator::start(&grid.store, &hand, "a", |_| {});
    until("a worker is created", async || !hand.created().is_empty()).await;
    assert_eq!(grid.status(silent).await, WorkerStatus::Active);
    orchestrator.stop().await;
}
