//! Waiting for work, and being told what is wanted of it.

use std::time::Duration;

use rgrid_api::error::ErrorCode;
use rgrid_api::executions::CreateExecution;
use rgrid_api::outcome::CancelledByBody;
use rgrid_api::workers::{Heartbeat, LeaseRequest};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{CAPACITY, DEADLINE, Grid, attempt_of, client, code, finish, module, submit};

/// Longer than any test waits: an answer that comes earlier came for a reason.
const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn an_open_poll_is_answered_by_a_submission_at_another_replica() {
    let grid = Grid::start().await;
    let elsewhere = grid.another_replica().await;
    let runner = grid.runner().await;
    let poll = tokio::spawn(async move { (runner.lease().await, runner) });
    let id = submit(&client(&elsewhere.url, &grid.key), &module()).await.execution.id;
    let (lease, _) = poll.await.unwrap();
    assert_eq!(lease.execution_id, id);
}

#[tokio::test]
async fn a_poll_that_may_not_wait_still_finds_work() {
    let grid = Grid::start().await;
    let runner = grid.runner().await;
    assert!(runner.poll(1, Vec::new(), Duration::ZERO).await.leases.is_empty());
    submit(&grid.client(), &module()).await;
    assert_eq!(runner.poll(1, Vec::new(), Duration::ZERO).await.leases.len(), 1);
}

#[tokio::test]
async fn a_cancel_answers_the_open_poll_of_the_attempts_runner() {
    let grid = Grid::start().await;
    let me = grid.client();
    let id = submit(&me, &module()).await.execution.id;
    let runner = grid.runner().await;
    let lease = runner.lease().await;
    let attempt = attempt_of(&lease);
    let held = attempt.held(lease.directive.version);
    let poll = tokio::spawn({
        let held = held.clone();
        async move { (runner.poll(1, vec![held], LONG).await, runner) }
    });
    let cancelling = me.cancel(&id).await.unwrap();
    assert!(cancelling.cancel_requested && cancelling.status == "running");
    let (answer, runner) = poll.await.unwrap();
    let [directive] = answer.directives.as_slice() else { panic!("one directive: {answer:?}") };
    assert_eq!(directive.cancel, Some(CancelledByBody::User));
    assert!(directive.version > held.directive);

    let answer = runner.client.heartbeat(&Heartbeat { holding: vec![held] }).await.unwrap();
    assert_eq!(answer.directives, [directive.clone()].as_slice());
    let mut finish = finish(0, 0, 0);
    finish.outcome = rgrid_api::outcome::OutcomeBody::Cancelled { by: CancelledByBody::User };
    assert_eq!(runner.client.finish(&attempt, &finish).await.unwrap().status, "cancelled");
}

#[tokio::test]
async fn a_follower_and_an_extension_are_told_to_the_runner() {
    let grid = Grid::start().await;
    let me = grid.client();
    let id = submit(&me, &module()).await.execution.id;
    let runner = grid.runner().await;
    let lease = runner.lease().await;
    assert!(!lease.directive.followed);
    let attempt = attempt_of(&lease);
    let _follow = me.follow(&id, rgrid_api::logs::Cursor::default()).await.unwrap();
    let answer = runner.poll(0, vec![attempt.held(lease.directive.version)], LONG).await;
    assert!(answer.directives[0].followed);
    me.extend(&id, Duration::from_secs(60)).await.unwrap();
    let answer = runner.poll(0, vec![attempt.held(answer.directives[0].version)], LONG).await;
    assert_eq!(answer.directives[0].timeout_ms, lease.directive.timeout_ms + 60_000);
}

#[tokio::test]
async fn polls_of_one_worker_wait_side_by_side() {
    let grid = Grid::start().await;
    let me = grid.client();
    let runner = grid.runner().await;
    let polls = [runner.poll(1, Vec::new(), LONG), runner.poll(1, Vec::new(), LONG)];
    let submissions = async {
        submit(&me, &module()).await;
        submit(&me, &module()).await;
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(polls), submissions);
    assert!(answers.iter().all(|answer| answer.leases.len() == 1), "{answers:?}");
}

#[tokio::test]
async fn an_attempt_whose_poll_is_gone_goes_to_another_worker_for_free() {
    let grid = Grid::start().await;
    let me = grid.client();
    let (gone, stays) = (grid.runner().await, grid.runner().await);
    let abandoned = tokio::spawn(async move { gone.poll(1, Vec::new(), LONG).await });
    tokio::task::yield_now().await;
    abandoned.abort();
    let _ = abandoned.await;
    let id = submit(&me, &module()).await.execution.id;
    let lease = stays.lease().await;
    assert_eq!(lease.execution_id, id);
}

#[tokio::test]
async fn an_answer_that_is_lost_after_the_commit_uses_up_no_retry() {
    let grid = Grid::start().await;
    let me = grid.client();
    let (deaf, stays) = (grid.runner().await, grid.runner().await);
    let request = LeaseRequest { slots: 1, free: CAPACITY, holding: Vec::new(), wait_ms: 20_000 };
    let body = serde_json::to_string(&request).unwrap();
    let head = format!(
        "POST /api/v1/leases HTTP/1.1\r\nhost: grid\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        deaf.credential,
        body.len()
    );
    let mut connection = TcpStream::connect(grid.url().strip_prefix("http://").unwrap()).await.unwrap();
    connection.write_all((head + &body).as_bytes()).await.unwrap();
    // The only poll: what is submitted is its.
    let id = submit(&me, &CreateExecution { retries: Some(0), ..module() }).await.execution.id;
    let mut execution = me.execution(&id).await.unwrap();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while execution.status != "running" {
        assert!(tokio::time::Instant::now() < deadline, "nothing was claimed: {execution:?}");
        execution = me.execution(&id).await.unwrap();
    }
    drop(connection);

    let term = grid.store.lead("test").await.unwrap().expect("nobody else leads");
    let missed = async || {
        let id = id.parse().unwrap();
        grid.store.requeue(&term, id, 1, rgrid_store::fleet::Requeue::Unnamed).await.unwrap()
    };
    assert!(!missed().await, "its runner may still name it");
    grid.database
        .execute(
            "update api_outage set last_gap_end = now() - interval '1 hour';
            update attempts set claimed_at = now() - interval '21 seconds'",
        )
        .await;
    // A replica that noticed the cut before it answered has handed the attempt back itself.
    let taken = missed().await;
    assert!(taken || me.execution(&id).await.unwrap().status == "queued");
    let lease = stays.lease().await;
    assert_eq!((lease.execution_id.as_str(), lease.attempt), (id.as_str(), 2));
    // It has no retry, and none was used.
    let ended = stays.client.finish(&attempt_of(&lease), &finish(0, 0, 0)).await.unwrap();
    assert_eq!(ended.status, "completed");
}

#[tokio::test]
async fn a_join_token_works_once_and_nonsense_does_not_join() {
    let grid = Grid::start().await;
    let token = grid.store.create_join_token(None, Duration::from_secs(60)).await.unwrap();
    let anybody = client(grid.url(), "");
    let join = crate::harness::join(&token);
    let joined = anybody.join(&join).await.unwrap();
    assert_eq!(anybody.join(&join).await.unwrap().worker_id, joined.worker_id, "a repetition is harmless");
    let mut thief = join.clone();
    thief.nonce = "another".to_owned();
    assert_eq!(code(anybody.join(&thief).await), ErrorCode::Unauthorized);
    let mut wrong = join.clone();
    wrong.token = "rg_nonsense".to_owned();
    assert_eq!(code(anybody.join(&wrong).await), ErrorCode::Unauthorized);
    wrong.slots = 0;
    assert_eq!(code(anybody.join(&wrong).await), ErrorCode::Invalid);
    let mut old = join.clone();
    old.version = "99.0.0".to_owned();
    assert_eq!(code(anybody.join(&old).await), ErrorCode::VersionRefused);
    let workers = grid.client().workers().await.unwrap().workers;
    assert_eq!((workers.len(), workers[0].status.as_str(), workers[0].slots), (1, "active", 2));
}

#[tokio::test]
async fn a_worker_that_shall_leave_is_told_in_its_open_poll_and_by_its_heartbeat() {
    let grid = Grid::start().await;
    let runner = grid.runner().await;
    let worker = runner.worker_id.parse().unwrap();
    let poll = tokio::spawn(async move { (runner.poll(1, Vec::new(), LONG).await, runner) });
    let term = grid.store.lead("test").await.unwrap().expect("nobody else leads");
    assert!(grid.store.mark_draining(&term, worker, "it is too old").await.unwrap());
    let (answer, runner) = poll.await.unwrap();
    assert!(answer.drain && answer.leases.is_empty());
    assert!(runner.client.heartbeat(&Heartbeat { holding: Vec::new() }).await.unwrap().drain);
    submit(&grid.client(), &module()).await;
    assert!(runner.poll(1, Vec::new(), Duration::ZERO).await.leases.is_empty(), "it takes nothing new");
}

#[tokio::test]
async fn heartbeats_of_one_flush_are_all_answered() {
    let grid = Grid::start().await;
    let (one, other) = (grid.runner().await, grid.runner().await);
    let beat = Heartbeat { holding: Vec::new() };
    let beats = [&one, &one, &other, &one, &other].map(|runner| runner.client.heartbeat(&beat));
    for answer in futures_util::future::join_all(beats).await {
        assert!(!answer.unwrap().drain);
    }
    let workers = grid.client().workers().await.unwrap().workers;
    assert!(workers.iter().all(|worker| worker.last_heartbeat_at.is_some()));
}
