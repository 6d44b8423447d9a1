//! Executions: accepted once, found by what people type, ended and extended.

use std::time::Duration;

use rgrid_core::execution::Status;
use rgrid_core::id::ExecutionId;
use rgrid_core::outcome::{CancelledBy, Outcome};
use rgrid_store::Error;
use rgrid_store::executions::{Filter, Waiting};
use rgrid_store::idempotency::Idempotency;

use crate::crew::{auth, changed, finish, held};
use crate::stage::{Stage, sha256, submission};

fn key(body: u8) -> Option<Idempotency> {
    Some(Idempotency { route: "POST /executions", key: "k1".to_owned(), body_sha256: [body; 32] })
}

#[tokio::test]
async fn a_submission_reads_back_as_it_was_sent() {
    let stage = Stage::new().await;
    let sent = changed(|draft| {
        draft.name = Some("ünïcode".to_owned());
        draft.args = vec!["--fast".to_owned(), String::new(), "a\nb".to_owned()];
        draft.environment = [("API_KEY".to_owned(), "s3cret".to_owned())].into();
        draft.metadata = [("team".to_owned(), "red".to_owned())].into();
        draft.retry_on = vec![7, 255];
        draft.inputs = submission(&[b"one", b"two"], false).inputs.clone();
        draft.wanted.memory_bytes = Some(1 << 30);
        draft.output_roots = vec!["/home/ada".parse().unwrap()];
        draft.interpreter = Some("/usr/bin/python3".parse().unwrap());
    });
    let created = stage.store.create_execution(stage.account, &sent, false, None).await.unwrap();
    assert_eq!(stage.store.submission(stage.account, created.execution.id).await.unwrap(), sent);
    assert_eq!(created.execution.environment, ["API_KEY"]);
    assert_eq!(created.execution.metadata, sent.metadata);
    let leaks = "select count(*) from executions e where e::text like '%s3cret%'";
    assert_eq!(stage.count(leaks).await, 0);
}

#[tokio::test]
async fn one_without_missing_inputs_is_queued_and_others_are_pending() {
    let stage = Stage::new().await;
    let queued =
        stage.store.create_execution(stage.account, &submission(&[], false), false, None).await.unwrap();
    assert_eq!((queued.execution.status, queued.missing.len()), (Status::Queued, 0));
    let sent = submission(&[b"one", b"two", b"one"], false);
    let pending = stage.store.create_execution(stage.account, &sent, false, None).await.unwrap();
    assert_eq!(pending.execution.status, Status::Pending);
    assert_eq!(pending.execution.inputs_missing, 2);
    let mut missing: Vec<_> = pending.missing.iter().map(|blob| blob.sha256).collect();
    missing.sort();
    let mut expected = [sha256(b"one"), sha256(b"two")];
    expected.sort();
    assert_eq!(missing, expected);
    let why = stage.store.waiting(stage.account, pending.execution.id).await.unwrap();
    assert_eq!(why, Some(Waiting::Inputs { missing: 2 }));
}

#[tokio::test]
async fn the_same_key_makes_one_execution_and_another_body_is_refused() {
    let stage = Stage::new().await;
    let sent = submission(&[b"one"], false);
    let create = |body| stage.store.create_execution(stage.account, &sent, false, key(body));
    let first = create(1).await.unwrap();
    let again = create(1).await.unwrap();
    assert_eq!((again.execution.id, again.replayed), (first.execution.id, true));
    assert_eq!(again.missing, first.missing);
    assert!(matches!(create(2).await, Err(Error::IdempotencyMismatch)));
    stage.execute("update idempotency_keys set created_at = now() - interval '25 hours'").await;
    assert!(!create(2).await.unwrap().replayed);
}

#[tokio::test]
async fn twins_in_flight_make_one_execution() {
    let stage = Stage::new().await;
    let sent = submission(&[], false);
    let create = || stage.store.create_execution(stage.account, &sent, false, key(1));
    let (a, b, c, d) = tokio::join!(create(), create(), create(), create());
    let made = [a, b, c, d].map(Result::unwrap);
    assert_eq!(made.iter().filter(|created| !created.replayed).count(), 1);
    assert!(made.iter().all(|created| created.execution.id == made[0].execution.id));
    assert_eq!(stage.count("select count(*) from queue").await, 1);
}

#[tokio::test]
async fn ids_may_be_shortened_and_the_newest_is_last() {
    let stage = Stage::new().await;
    let early = stage.submit(&[], false).await;
    let late = stage.submit(&[], false).await;
    let resolve = async |text: &str| stage.store.resolve_execution(stage.account, text).await;
    // Both were made within some milliseconds: their first characters are the same.
    let found = resolve(&late.to_string()[..9]).await;
    assert!(matches!(found, Err(Error::Ambiguous { candidates, .. }) if candidates.len() == 2));
    for text in ["nothing", "exec_", "", "%", "exec_zz"] {
        let found = resolve(text).await;
        assert!(matches!(found, Err(Error::NotFound { .. })), "{text}");
    }
    let most = |id: ExecutionId| id.to_string()[..30].to_owned();
    assert_eq!(resolve("last").await.unwrap(), late.max(early));
    assert_eq!(resolve(&most(early)).await.unwrap(), early);
    let body = most(late)["exec_".len()..].to_lowercase();
    assert_eq!(resolve(&body).await.unwrap(), late);
}

#[tokio::test]
async fn lists_are_paged_newest_first_and_filtered() {
    let stage = Stage::new().await;
    let mut ids = Vec::new();
    for number in 0..5 {
        let sent = changed(|draft| {
            draft.name = Some(format!("n{}", number % 2));
            draft.metadata = [("n".to_owned(), number.to_string())].into();
        });
        ids.push(stage.store.create_execution(stage.account, &sent, false, None).await.unwrap().execution.id);
    }
    ids.sort_by(|a, b| b.cmp(a));
    let list = async |filter: Filter, cursor, limit| {
        let page = stage.store.executions(stage.account, &filter, cursor, limit).await.unwrap();
        (page.executions.iter().map(|execution| execution.id).collect::<Vec<_>>(), page.next)
    };
    let (first, next) = list(Filter::default(), None, 3).await;
    assert_eq!((first.as_slice(), next), (&ids[..3], Some(ids[2])));
    assert_eq!(list(Filter::default(), next, 3).await, (ids[3..].to_vec(), None));
    let named = Filter { name: Some("n1".to_owned()), ..Filter::default() };
    assert_eq!(list(named, None, 9).await.0.len(), 2);
    let labelled = Filter { metadata: Some(("n".to_owned(), "3".to_owned())), ..Filter::default() };
    assert_eq!(list(labelled, None, 9).await.0.len(), 1);
    let ended = Filter { statuses: vec![Status::Completed], ..Filter::default() };
    assert_eq!(list(ended, None, 9).await.0, []);
}

#[tokio::test]
async fn nothing_of_one_account_is_visible_to_another() {
    let stage = Stage::new().await;
    let id = stage.submit(&[], false).await;
    let other = stage.store.create_account("other").await.unwrap().id;
    assert!(matches!(stage.store.create_account("other").await, Err(Error::Invalid { .. })));
    let store = &stage.store;
    assert!(matches!(store.execution(other, id).await, Err(Error::NotFound { .. })));
    assert!(matches!(store.submission(other, id).await, Err(Error::NotFound { .. })));
    assert!(matches!(store.cancel(other, id, CancelledBy::User).await, Err(Error::NotFound { .. })));
    assert!(matches!(store.extend(other, id, Duration::from_secs(1)).await, Err(Error::NotFound { .. })));
    assert!(matches!(store.resolve_execution(other, "last").await, Err(Error::NotFound { .. })));
    assert_eq!(store.executions(other, &Filter::default(), None, 9).await.unwrap().executions, []);
    assert_eq!(store.attempts(other, id).await.unwrap(), []);
    assert_eq!(store.execution(stage.account, id).await.unwrap().status, Status::Queued);
}

#[tokio::test]
async fn cancel_ends_what_waits_at_once() {
    let stage = Stage::new().await;
    for files in [&[][..], &[&b"one"[..]]] {
        let id = stage.submit(files, false).await;
        let ended = stage.store.cancel(stage.account, id, CancelledBy::Operator).await.unwrap();
        assert_eq!(ended.status, Status::Cancelled);
        assert_eq!(ended.outcome, Some(Outcome::Cancelled { by: CancelledBy::Operator }));
        assert!(ended.finished_at.is_some());
        let again = stage.store.cancel(stage.account, id, CancelledBy::User).await;
        assert!(matches!(again, Err(Error::Conflict { .. })));
    }
    assert_eq!(stage.count("select count(*) from queue").await, 0);
}

#[tokio::test]
async fn cancel_of_what_runs_tells_its_attempt_once() {
    let stage = Stage::new().await;
    let worker = stage.joined().await;
    let id = stage.submit(&[], false).await;
    let claimed = stage.claim_one(worker).await;
    for by in [CancelledBy::User, CancelledBy::Operator] {
        let asked = stage.store.cancel(stage.account, id, by).await.unwrap();
        assert_eq!((asked.status, asked.cancel_requested_by), (Status::Running, Some(CancelledBy::User)));
    }
    let told = stage.store.directives(worker, &[held(&claimed)]).await.unwrap();
    assert_eq!(told.directives.len(), 1);
    assert_eq!((told.directives[0].version, told.directives[0].cancel), (2, Some(CancelledBy::User)));
    let cancelled = Outcome::Cancelled { by: CancelledBy::User };
    let status = stage.store.finish(&auth(&claimed), &finish(cancelled), [1; 32]).await.unwrap();
    assert_eq!(status, Status::Cancelled);
}

#[tokio::test]
async fn extend_moves_the_deadline_and_tells_the_attempt() {
    let stage = Stage::new().await;
    let worker = stage.joined().await;
    let id = stage.submit(&[], false).await;
    let claimed = stage.claim_one(worker).await;
    let extended = stage.store.extend(stage.account, id, Duration::from_secs(30)).await.unwrap();
    assert_eq!(extended.timeout, Duration::from_secs(90));
    let told = stage.store.directives(worker, &[held(&claimed)]).await.unwrap();
    assert_eq!(told.directives[0].timeout, Duration::from_secs(90));
    let too_long = stage.store.extend(stage.account, id, Duration::from_secs(31 * 24 * 3600)).await;
    assert!(matches!(too_long, Err(Error::Invalid { .. })));
}

#[tokio::test]
async fn a_new_follower_is_told_to_the_attempt_and_a_second_is_not() {
    let stage = Stage::new().await;
    let worker = stage.joined().await;
    let id = stage.submit(&[], false).await;
    let claimed = stage.claim_one(worker).await;
    assert!(!claimed.directive.followed);
    stage.store.follow_execution(id).await.unwrap();
    stage.store.follow_execution(id).await.unwrap();
    let told = stage.store.directives(worker, &[held(&claimed)]).await.unwrap();
    assert_eq!((told.directives[0].version, told.directives[0].followed), (2, true));
}

#[tokio::test]
async fn a_retry_is_a_new_execution_of_what_has_ended() {
    let stage = Stage::new().await;
    let id = stage.submit(&[], false).await;
    let early = stage.store.retry_execution(stage.account, id, None).await;
    assert!(matches!(early, Err(Error::Conflict { .. })));
    stage.store.cancel(stage.account, id, CancelledBy::User).await.unwrap();
    let again = stage.store.retry_execution(stage.account, id, None).await.unwrap().execution;
    assert_ne!(again.id, id);
    assert_eq!(again.status, Status::Queued);
}
