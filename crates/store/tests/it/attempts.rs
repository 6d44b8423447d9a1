//! Attempts: a stale one changes nothing, a finish may be repeated, and a lost one is tried again as often as is allowed.

use std::time::Duration;

use rgrid_core::execution::Status;
use rgrid_core::outcome::{CancelledBy, Outcome};
use rgrid_store::Error;
use rgrid_store::artifacts::ArtifactKind;
use rgrid_store::attempts::{AttemptAuth, AttemptState, OutputRow};
use rgrid_store::fleet::Requeue;

use crate::crew::{auth, changed, finish, held};
use crate::stage::{Stage, sha256};

const DONE: Outcome = Outcome::Exited { code: 0 };

#[tokio::test]
async fn a_finish_ends_the_execution_and_may_be_repeated() {
    let stage = Stage::new().await;
    let worker = stage.joined().await;
    let id = stage.submit(&[], false).await;
    let claimed = stage.claim_one(worker).await;
    stage.store.attempt_started(&auth(&claimed)).await.unwrap();
    for _ in 0..2 {
        let status = stage.store.finish(&auth(&claimed), &finish(DONE), [1; 32]).await.unwrap();
        assert_eq!(status, Status::Completed);
    }
    let other = stage.store.finish(&auth(&claimed), &finish(Outcome::Exited { code: 1 }), [2; 32]).await;
    assert!(matches!(other, Err(Error::NotCurrent)));
    let row = stage.store.execution(stage.account, id).await.unwrap();
    assert_eq!((row.status, row.outcome, row.not_brought_back.len()), (Status::Completed, Some(DONE), 1));
    let attempts = stage.store.attempts(stage.account, id).await.unwrap();
    assert_eq!((attempts.len(), attempts[0].state), (1, AttemptState::Ended));
    assert!(attempts[0].started_at.is_some() && attempts[0].ended_at.is_some());
}

#[tokio::test]
async fn a_stale_attempt_changes_nothing() {
    let stage = Stage::new().await;
    let worker = stage.joined().await;
    let other = stage.joined().await;
    let id = stage.submit(&[], false).await;
    let first = stage.claim_one(worker).await;
    stage.store.hand_back(&auth(&first)).await.unwrap();
    let second = stage.claim_one(other).await;
    let forged = [
        auth(&first),
        AttemptAuth { attempt: 2, ..auth(&first) },
        AttemptAuth { worker_id: worker, ..auth(&second) },
        AttemptAuth { attempt: 3, ..auth(&second) },
        AttemptAuth { token: String::new(), ..auth(&second) },
    ];
    let before = stage.store.attempts(stage.account, id).await.unwrap();
    for stale in &forged {
        assert!(matches!(stage.store.check_attempt(stale).await, Err(Error::NotCurrent)));
        assert!(matches!(stage.store.attempt_started(stale).await, Err(Error::NotCurrent)));
        assert!(matches!(stage.store.finish(stale, &finish(DONE), [1; 32]).await, Err(Error::NotCurrent)));
    }
    for stale in &forged[1..] {
        assert!(matches!(stage.store.hand_back(stale).await, Err(Error::NotCurrent)));
    }
    // A hand-back whose answer was lost is repeated, and says where the execution stands.
    assert_eq!(stage.store.hand_back(&auth(&first)).await.unwrap(), Status::Running);
    assert_eq!(stage.store.attempts(stage.account, id).await.unwrap(), before);
    let told = stage.store.directives(worker, &[held(&first)]).await.unwrap();
    assert_eq!(told.not_current, [held(&first)]);
    assert_eq!(stage.store.check_attempt(&auth(&second)).await.unwrap(), stage.account);
    assert_eq!(stage.store.finish(&auth(&second), &finish(DONE), [1; 32]).await.unwrap(), Status::Completed);
}

fn output(path: &str, bytes: Option<&[u8]>) -> OutputRow {
    OutputRow {
        path: path.parse().unwrap(),
        sha256: bytes.map(sha256),
        size_bytes: bytes.map_or(0, |bytes| bytes.len() as u64),
        mode: 0o640,
        modified_ns: 5,
    }
}

#[tokio::test]
async fn an_output_lies_where_outputs_are_looked_for() {
    let stage = Stage::new().await;
    let worker = stage.joined().await;
    let submission = changed(|draft| {
        draft.output_roots = vec!["/home/ada".parse().unwrap(), "/data".parse().unwrap()];
        draft.outputs = vec!["/tmp/out.csv".parse().unwrap()];
    });
    let created = stage.store.create_execution(stage.account, &submission, false, None).await.unwrap();
    let claimed = stage.claim_one(worker).await;
    let mut said = finish(DONE);
    for elsewhere in ["/home/ada.ssh/x", "/home", "/tmp/out.csv2", "/etc/passwd"] {
        said.outputs = vec![output("/data/fine", None), output(elsewhere, None)];
        let refused = stage.store.finish(&auth(&claimed), &said, [1; 32]).await;
        assert!(matches!(refused, Err(Error::Invalid { field: "outputs", .. })), "{elsewhere}");
    }
    said.outputs = ["/home/ada/a", "/data/deep/b", "/tmp/out.csv"].map(|path| output(path, None)).to_vec();
    assert_eq!(stage.store.finish(&auth(&claimed), &said, [1; 32]).await.unwrap(), Status::Completed);
    let kind = Some(ArtifactKind::Output);
    let here = stage.store.artifacts(stage.account, created.execution.id, kind, None, 9).await.unwrap();
    assert_eq!(here.len(), 3);
}

#[tokio::test]
async fn outputs_come_with_the_finish_or_not_at_all() {
    let stage = Stage::new().await;
    let worker = stage.joined().await;
    let id = stage.submit(&[], false).await;
    let claimed = stage.claim_one(worker).await;
    let mut said = finish(DONE);
    said.outputs = vec![output("/home/ada/out.csv", Some(b"1,2")), output("/home/ada/empty", None)];
    let early = stage.store.finish(&auth(&claimed), &said, [1; 32]).await;
    assert!(matches!(early, Err(Error::Invalid { field: "outputs", .. })));
    assert_eq!(stage.count("select count(*) from artifacts").await, 0);
    let (account, hash) = (stage.account, sha256(b"1,2"));
    stage
        .execute(format!(
            "insert into blobs (account_id, sha256, object_key, size_bytes) values ('{account}', '\\x{hash}', 'k', 3)"
        ))
        .await;
    assert_eq!(stage.store.finish(&auth(&claimed), &said, [1; 32]).await.unwrap(), Status::Completed);
    let row = stage.store.execution(stage.account, id).await.unwrap();
    assert_eq!((row.output_files, row.output_bytes), (1, 3));
    let kind = Some(ArtifactKind::Output);
    let first = stage.store.artifacts(stage.account, id, kind, None, 1).await.unwrap();
    assert_eq!((first[0].path.as_str(), first[0].folder), ("/home/ada/empty", true));
    let cursor = Some((ArtifactKind::Output, first[0].path.clone()));
    let rest = stage.store.artifacts(stage.account, id, kind, cursor, 9).await.unwrap();
    assert_eq!((rest.len(), rest[0].sha256, rest[0].mode), (1, Some(hash), 0o640));
    assert_eq!(stage.store.artifact_blob(stage.account, id, &rest[0].path).await.unwrap(), hash);
}

#[tokio::test]
async fn a_non_zero_exit_is_tried_again_by_its_code_and_keeps_its_place() {
    let stage = Stage::new().await;
    let worker = stage.joined().await;
    let sent = changed(|draft| {
        draft.retry_on = vec![7];
        draft.retries = 1;
    });
    let id = stage.store.create_execution(stage.account, &sent, false, None).await.unwrap().execution.id;
    stage.submit(&[], false).await;
    for expected in [Status::Queued, Status::Failed] {
        let claimed = stage.claim_one(worker).await;
        assert_eq!(claimed.attempt.execution_id, id);
        let status = stage.store.finish(&auth(&claimed), &finish(Outcome::Exited { code: 7 }), [1; 32]).await;
        assert_eq!(status.unwrap(), expected);
    }
    let row = stage.store.execution(stage.account, id).await.unwrap();
    assert_eq!((row.attempt, row.outcome), (2, Some(Outcome::Exited { code: 7 })));
}

#[tokio::test]
async fn an_attempt_that_is_handed_back_uses_up_no_retry() {
    let stage = Stage::new().await;
    let worker = stage.joined().await;
    let sent = changed(|draft| draft.retries = 0);
    let id = stage.store.create_execution(stage.account, &sent, false, None).await.unwrap().execution.id;
    for number in 1..4 {
        let claimed = stage.claim_one(worker).await;
        assert_eq!(claimed.attempt.number, number);
        assert_eq!(stage.store.hand_back(&auth(&claimed)).await.unwrap(), Status::Queued);
    }
    stage.claim_one(worker).await;
    stage.store.cancel(stage.account, id, CancelledBy::User).await.unwrap();
    let row = stage.store.execution(stage.account, id).await.unwrap();
    assert_eq!(row.status, Status::Running);
}

#[tokio::test]
async fn what_is_to_be_cancelled_is_not_tried_again() {
    let stage = Stage::new().await;
    let worker = stage.joined().await;
    let sent = changed(|draft| draft.retry_on = vec![1]);
    let cancelled = Outcome::Cancelled { by: CancelledBy::User };
    for how in 0..2 {
        let id = stage.store.create_execution(stage.account, &sent, false, None).await.unwrap().execution.id;
        let claimed = stage.claim_one(worker).await;
        stage.store.cancel(stage.account, id, CancelledBy::User).await.unwrap();
        let (status, outcome) = if how == 0 {
            (stage.store.hand_back(&auth(&claimed)).await.unwrap(), cancelled.clone())
        } else {
            let failed = finish(Outcome::Exited { code: 1 });
            (
                stage.store.finish(&auth(&claimed), &failed, [1; 32]).await.unwrap(),
                Outcome::Exited { code: 1 },
            )
        };
        assert!(status.is_terminal());
        let row = stage.store.execution(stage.account, id).await.unwrap();
        assert_eq!((row.status, row.outcome), (status, Some(outcome)));
    }
}

#[tokio::test]
async fn a_lost_attempt_is_tried_again_until_its_retries_are_used_up() {
    let stage = Stage::new().await;
    let worker = stage.joined().await;
    let term = stage.store.lead("a").await.unwrap().unwrap();
    stage.store.beat("r").await.unwrap();
    stage.execute("update api_outage set last_gap_end = now() - interval '1 hour'").await;
    let id = stage.submit(&[], false).await;
    for number in 1..=3 {
        let claimed = stage.claim_one(worker).await;
        assert_eq!(claimed.attempt.number, number);
        assert!(!stage.store.requeue(&term, id, number, Requeue::Lost).await.unwrap());
        stage
            .execute("update attempts set lease_until = now() - interval '1 second' where state = 'running'")
            .await;
        assert_eq!(stage.store.fleet(Duration::ZERO).await.unwrap().overdue.len(), 1);
        assert!(stage.store.requeue(&term, id, number, Requeue::Lost).await.unwrap());
        assert!(!stage.store.requeue(&term, id, number, Requeue::Lost).await.unwrap());
        assert!(matches!(stage.store.check_attempt(&auth(&claimed)).await, Err(Error::NotCurrent)));
    }
    let row = stage.store.execution(stage.account, id).await.unwrap();
    assert_eq!(row.outcome, Some(Outcome::WorkerLost { workers: vec![worker; 3] }));
    assert_eq!(row.status, Status::Failed);
}

#[tokio::test]
async fn an_attempt_that_its_worker_never_named_goes_back_for_free() {
    let stage = Stage::new().await;
    let worker = stage.joined().await;
    let term = stage.store.lead("a").await.unwrap().unwrap();
    stage.store.beat("r").await.unwrap();
    stage.execute("update api_outage set last_gap_end = now() - interval '1 hour'").await;
    let sent = changed(|draft| draft.retries = 0);
    let id = stage.store.create_execution(stage.account, &sent, false, None).await.unwrap().execution.id;
    stage.claim_one(worker).await;
    assert!(!stage.store.requeue(&term, id, 1, Requeue::Unnamed).await.unwrap());
    stage.execute("update attempts set claimed_at = now() - interval '21 seconds'").await;
    assert!(!stage.store.fleet(Duration::ZERO).await.unwrap().overdue[0].named);
    assert!(stage.store.requeue(&term, id, 1, Requeue::Unnamed).await.unwrap());
    let claimed = stage.claim_one(worker).await;
    stage.heartbeat(worker, &[&claimed]).await;
    stage.execute("update attempts set claimed_at = now() - interval '21 seconds'").await;
    assert!(!stage.store.requeue(&term, id, 2, Requeue::Unnamed).await.unwrap());
}

#[tokio::test]
async fn no_lease_ends_during_an_outage_nor_in_the_period_after_it() {
    let stage = Stage::new().await;
    let worker = stage.joined().await;
    let term = stage.store.lead("a").await.unwrap().unwrap();
    let id = stage.submit(&[], false).await;
    stage.claim_one(worker).await;
    stage.execute("update attempts set lease_until = now() - interval '1 hour'").await;
    let lost = async || stage.store.requeue(&term, id, 1, Requeue::Lost).await.unwrap();
    // Nobody has ever accepted heartbeats, then somebody has just begun to.
    assert!(!lost().await);
    stage.store.beat("r").await.unwrap();
    assert!(!lost().await);
    // The beats went on until a moment ago.
    stage.execute("update api_outage set last_gap_end = now() - interval '21 seconds'").await;
    stage.execute("update api_outage set last_beat_at = now() - interval '5 seconds'").await;
    assert!(!lost().await);
    // They are back: the gap has just ended.
    stage.store.beat("r").await.unwrap();
    let outages = stage.store.outages().await.unwrap();
    assert_eq!(outages.last_gap_end, outages.last_beat_at);
    assert!(!lost().await);
    stage.execute("update api_outage set last_gap_end = now() - interval '21 seconds'").await;
    assert!(lost().await);
}
