//! Workers: a token is redeemed once, a heartbeat keeps what it names, and the fleet's steps follow the table.

use std::time::Duration;

use rgrid_core::execution::Status;
use rgrid_core::worker::WorkerStatus;
use rgrid_store::Error;
use rgrid_store::keys::Role;
use rgrid_store::workers::HeartbeatRow;

use crate::crew::{held, join, poll};
use crate::stage::{Stage, worker};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_token_is_good_for_one_worker_and_repeatable_until_its_first_heartbeat() {
    let stage = Stage::new().await;
    let store = &stage.store;
    let token = store.create_join_token(None, MINUTE).await.unwrap();
    let (id, first) = store.join(&join(&token, "n1")).await.unwrap();
    let stranger = store.join(&join(&token, "n2")).await;
    assert!(matches!(stranger, Err(Error::Unauthorized { .. })));
    let (again, second) = store.join(&join(&token, "n1")).await.unwrap();
    assert_eq!(again, id);
    assert_eq!(store.authenticate(&first).await.unwrap(), None);
    let principal = store.authenticate(&second).await.unwrap().unwrap();
    assert_eq!((principal.role, principal.worker), (Role::Worker, Some(id)));
    stage.heartbeat(id, &[]).await;
    assert!(matches!(store.join(&join(&token, "n1")).await, Err(Error::Unauthorized { .. })));
}

#[tokio::test]
async fn unknown_and_expired_tokens_are_refused() {
    let stage = Stage::new().await;
    let expired = stage.store.create_join_token(None, Duration::ZERO).await.unwrap();
    for token in [expired.as_str(), "rgj_unknown", ""] {
        let refused = stage.store.join(&join(token, "n")).await;
        assert!(matches!(refused, Err(Error::Unauthorized { .. })), "{token}");
    }
    assert_eq!(stage.store.workers().await.unwrap(), []);
}

#[tokio::test]
async fn a_heartbeat_renews_what_it_names_and_nothing_else() {
    let stage = Stage::new().await;
    let id = stage.joined().await;
    stage.submit(&[], false).await;
    stage.submit(&[], false).await;
    let (named, unnamed) = (stage.claim_one(id).await, stage.claim_one(id).await);
    stage.heartbeat(id, &[&named]).await;
    stage.execute("update attempts set lease_until = now() + interval '5 seconds'").await;
    stage.heartbeat(id, &[&named]).await;
    let renewed = "select count(*) from attempts where lease_until > now() + interval '15 seconds'";
    assert_eq!(stage.count(renewed).await, 1);
    // With more than 12 s left there is nothing to write.
    stage.execute("update attempts set lease_until = now() + interval '13 seconds'").await;
    stage.heartbeat(id, &[&named]).await;
    assert_eq!(stage.count(renewed).await, 0);
    let overdue = stage.store.fleet(Duration::ZERO).await.unwrap();
    assert_eq!(overdue.workers[0].open_attempts, 2);
    let _ = unnamed;
}

#[tokio::test]
async fn heartbeats_of_many_are_answered_in_order() {
    let stage = Stage::new().await;
    let (a, b) = (stage.joined().await, stage.joined().await);
    stage.submit(&[], false).await;
    let claimed = stage.claim_one(b).await;
    let mut gone = held(&claimed);
    gone.attempt = 9;
    let batch = [
        HeartbeatRow { worker_id: a, holding: vec![gone.clone()] },
        HeartbeatRow { worker_id: worker(9), holding: Vec::new() },
        HeartbeatRow { worker_id: b, holding: vec![held(&claimed), gone.clone()] },
        HeartbeatRow { worker_id: b, holding: Vec::new() },
    ];
    let answers = stage.store.heartbeats(&batch).await.unwrap();
    assert_eq!(answers[0].not_current, [gone.clone()]);
    assert!(answers[1].drain && !answers[0].drain);
    assert_eq!(answers[2].not_current, [gone]);
    assert_eq!(
        stage.count("select count(*) from worker_heartbeats where last_heartbeat_at is not null").await,
        2
    );
}

#[tokio::test]
async fn a_dead_worker_returns_and_its_old_attempts_stay_lost() {
    let stage = Stage::new().await;
    let id = stage.joined().await;
    let execution = stage.submit(&[], false).await;
    let claimed = stage.claim_one(id).await;
    stage.heartbeat(id, &[&claimed]).await;
    let term = stage.store.lead("a").await.unwrap().unwrap();
    let seen = stage.store.fleet(Duration::ZERO).await.unwrap().workers[0].last_heartbeat_at;
    assert!(!stage.store.mark_dead(&term, id, None, "silent").await.unwrap());
    assert!(stage.store.mark_dead(&term, id, seen, "silent").await.unwrap());
    let row = stage.store.execution(stage.account, execution).await.unwrap();
    assert_eq!(row.status, Status::Queued);
    assert_eq!(stage.store.workers().await.unwrap()[0].status, WorkerStatus::Dead);
    stage.heartbeat(id, &[&claimed]).await;
    assert_eq!(stage.store.workers().await.unwrap()[0].status, WorkerStatus::Active);
    let told = stage.store.directives(id, &[held(&claimed)]).await.unwrap();
    assert_eq!((told.not_current.len(), told.drain), (1, false));
    assert_eq!(stage.claim_one(id).await.attempt.number, 2);
}

#[tokio::test]
async fn a_worker_lives_from_its_intent_to_its_end() {
    let stage = Stage::new().await;
    let store = &stage.store;
    let term = store.lead("a").await.unwrap().unwrap();
    let (intent, id) = store.provision_intent(&term, "local", "2 wait").await.unwrap();
    let token = store.create_join_token(Some(id), MINUTE).await.unwrap();
    assert_eq!(store.fleet(Duration::ZERO).await.unwrap().workers[0].intent_id, Some(intent));
    let (joined, credential) = store.join(&join(&token, "n")).await.unwrap();
    assert_eq!(joined, id);
    stage.submit(&[], false).await;
    let claimed = stage.claim_one(id).await;
    assert!(!store.mark_terminating(&term, id, "idle").await.unwrap());
    assert!(store.mark_draining(&term, id, "idle").await.unwrap());
    assert!(store.worker_drain(id).await.unwrap());
    assert!(store.fleet(Duration::ZERO).await.unwrap().workers[0].drain_deadline.is_some());
    assert!(!store.mark_terminating(&term, id, "idle").await.unwrap());
    store.hand_back(&crate::crew::auth(&claimed)).await.unwrap();
    assert_eq!(store.claim(&[poll(id, 1)]).await.unwrap(), []);
    assert!(store.mark_terminating(&term, id, "idle").await.unwrap());
    assert_eq!(store.authenticate(&credential).await.unwrap(), None);
    assert!(store.mark_terminated(&term, id).await.unwrap());
    assert!(!store.mark_terminated(&term, id).await.unwrap());
    assert_eq!(store.fleet(Duration::ZERO).await.unwrap().workers, []);
    assert_eq!(store.workers().await.unwrap()[0].status, WorkerStatus::Terminated);
    assert_eq!(stage.count("select count(*) from server_intents where ended_at is not null").await, 1);
}

#[tokio::test]
async fn a_worker_whose_process_is_gone_loses_its_attempts_at_once() {
    let stage = Stage::new().await;
    let term = stage.store.lead("a").await.unwrap().unwrap();
    let id = stage.joined().await;
    let execution = stage.submit(&[], false).await;
    let claimed = stage.claim_one(id).await;
    stage.heartbeat(id, &[&claimed]).await;
    assert!(stage.store.worker_exited(&term, id, "exit status 137").await.unwrap());
    assert!(!stage.store.worker_exited(&term, id, "exit status 137").await.unwrap());
    assert_eq!(stage.store.execution(stage.account, execution).await.unwrap().status, Status::Queued);
    let (_, young) = stage.store.provision_intent(&term, "local", "1 waits").await.unwrap();
    assert!(stage.store.worker_exited(&term, young, "exit status 1").await.unwrap());
    let statuses: Vec<_> = stage.store.workers().await.unwrap().iter().map(|worker| worker.status).collect();
    assert_eq!(statuses, [WorkerStatus::Dead, WorkerStatus::Failed]);
}
