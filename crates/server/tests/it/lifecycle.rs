//! One execution through the API, from submission to the last byte.

use rgrid_api::artifacts::{Artifact, ArtifactKind, ListArtifacts};
use rgrid_api::blobs::BlobsWanted;
use rgrid_api::bytes64::Bytes64;
use rgrid_api::dependencies::{EnvironmentLog, EnvironmentOriginBody, TellEnvironmentLog};
use rgrid_api::error::ErrorCode;
use rgrid_api::executions::ListExecutions;
use rgrid_api::logs::{ReadLogs, Stream};
use rgrid_api::outcome::OutcomeBody;
use rgrid_core::limits::ENVIRONMENT_LOG_BYTES_MAX;

use crate::harness::{
    Followed, Grid, attempt_of, code, commit, finish, fresh_key, module, name, put, script, sha256, submit,
};

#[tokio::test]
async fn a_script_goes_from_submission_to_the_followers_end() {
    let grid = Grid::start().await;
    let me = grid.client();
    let source = b"print('hello')\n";

    let created = submit(&me, &script(source)).await;
    let id = created.execution.id.as_str();
    assert_eq!(created.execution.status, "pending");
    assert_eq!(created.execution.inputs_missing, 1);
    assert!(created.execution.waiting.unwrap().starts_with("1 input not uploaded yet"));
    assert_eq!(created.execution.environment, ["TOKEN"], "names, and never values");
    let [upload] = created.missing.as_slice() else { panic!("one blob is missing") };
    put(&me, upload, source).await;
    assert!(me.commit_blobs(&commit(upload)).await.unwrap().refused.is_empty());
    assert_eq!(me.execution(id).await.unwrap().status, "queued");
    assert!(me.blobs_missing(&BlobsWanted { blobs: vec![name(source)] }).await.unwrap().missing.is_empty());

    let runner = grid.runner().await;
    let lease = runner.lease().await;
    assert_eq!((lease.execution_id.as_str(), lease.attempt), (id, 1));
    assert_eq!(lease.environment["TOKEN"], "hush");
    let input = runner.client.get_blob(&lease.urls[&sha256(source)], 0).await.unwrap();
    assert_eq!(input.bytes().await.unwrap().as_ref(), source);
    let attempt = attempt_of(&lease);
    runner.client.started(&attempt).await.unwrap();

    let follower = tokio::spawn({
        let (me, id) = (me.clone(), id.to_owned());
        async move { Followed::to_end(&me, &id).await }
    });
    runner.push(&attempt, Stream::Stdout, 0, b"hello").await;
    runner.push(&attempt, Stream::Stderr, 0, b"\xff not text\n").await;
    runner.push(&attempt, Stream::Stdout, 5, b"\n").await;
    let written = runner.upload(&attempt, b"result").await;
    let output = Artifact {
        kind: ArtifactKind::Output,
        path: "/home/me/out/result.txt".to_owned(),
        sha256: Some(written),
        size_bytes: 6,
        mode: 0o644,
        modified_ns: 1,
        folder: false,
        url: None,
    };
    let body = rgrid_api::attempts::Finish {
        outputs: vec![output],
        not_brought_back: vec!["/tmp/x".to_owned()],
        ..finish(0, 6, 11)
    };
    assert_eq!(runner.client.finish(&attempt, &body).await.unwrap().status, "completed");
    assert_eq!(
        runner.client.finish(&attempt, &body).await.unwrap().status,
        "completed",
        "a repetition is harmless"
    );

    let followed = follower.await.unwrap();
    assert_eq!(followed.stdout, b"hello\n");
    assert_eq!(followed.stderr, b"\xff not text\n");
    let end = followed.end.unwrap();
    assert_eq!(
        (end.status.as_str(), end.exit_code, end.outcome),
        ("completed", Some(0), Some(OutcomeBody::Exited { code: 0 }))
    );
    assert_eq!((end.output_files, end.output_bytes), (1, 6));
    assert_eq!(end.not_brought_back, ["/tmp/x"]);
    assert_eq!(end.worker, Some(runner.worker_id.clone()));

    let page = me.logs(id, &ReadLogs::default()).await.unwrap();
    assert!(page.complete);
    assert_eq!(page.chunks.iter().map(|chunk| chunk.bytes.0.len()).sum::<usize>(), 17);
    let outputs = ListArtifacts { kind: Some(ArtifactKind::Output), ..ListArtifacts::default() };
    let page = me.artifacts(id, &outputs).await.unwrap();
    let [artifact] = page.artifacts.as_slice() else { panic!("one output") };
    let bytes = me.get_blob(artifact.url.as_deref().unwrap(), 0).await.unwrap().bytes().await.unwrap();
    assert_eq!(bytes.as_ref(), b"result");
    let rest = me.get_blob(artifact.url.as_deref().unwrap(), 4).await.unwrap().bytes().await.unwrap();
    assert_eq!(rest.as_ref(), b"lt");
    let by_path = format!("{}/api/v1/executions/last/artifacts/home/me/out/result.txt", grid.url());
    let bytes = reqwest::Client::new().get(by_path).bearer_auth(&grid.key).send().await.unwrap();
    assert_eq!(bytes.bytes().await.unwrap().as_ref(), b"result");
    let attempts = me.attempts("last").await.unwrap().attempts;
    assert_eq!((attempts.len(), attempts[0].state.as_str()), (1, "ended"));
    assert_eq!(code(me.cancel(id).await), ErrorCode::Conflict);
}

#[tokio::test]
async fn a_stale_attempt_is_told_that_it_is_not_current_and_changes_nothing() {
    let grid = Grid::start().await;
    let me = grid.client();
    let id = submit(&me, &module()).await.execution.id;
    let runner = grid.runner().await;
    let old = attempt_of(&runner.lease().await);
    runner.client.hand_back(&old).await.unwrap();
    let new = attempt_of(&runner.lease().await);
    assert_eq!((new.execution_id.as_str(), new.attempt), (id.as_str(), 2));

    assert_eq!(code(runner.client.started(&old).await), ErrorCode::NotCurrent);
    assert_eq!(code(runner.client.finish(&old, &finish(1, 0, 0)).await), ErrorCode::NotCurrent);
    let logs =
        rgrid_api::attempts::PushLogs { chunks: vec![crate::harness::chunk(1, Stream::Stdout, 0, b"late")] };
    assert_eq!(code(runner.client.push_logs(&old, &logs).await), ErrorCode::NotCurrent);
    let log =
        TellEnvironmentLog { origin: EnvironmentOriginBody::Built, log: Some(Bytes64(b"late".to_vec())) };
    assert_eq!(code(runner.client.tell_environment_log(&old, &log).await), ErrorCode::NotCurrent);
    let wanted = BlobsWanted { blobs: vec![name(b"late")] };
    assert_eq!(code(runner.client.attempt_blobs_missing(&old, &wanted).await), ErrorCode::NotCurrent);
    let mut wrong_token = new.clone();
    wrong_token.token.push('x');
    assert_eq!(code(runner.client.started(&wrong_token).await), ErrorCode::NotCurrent);
    let thief = grid.runner().await;
    assert_eq!(
        code(thief.client.started(&new).await),
        ErrorCode::NotCurrent,
        "the token alone is not enough"
    );

    let heartbeat = rgrid_api::workers::Heartbeat { holding: vec![old.held(0), new.held(u32::MAX.into())] };
    let answer = runner.client.heartbeat(&heartbeat).await.unwrap();
    assert_eq!(answer.not_current, [old.held(0)]);
    assert_eq!(me.execution(&id).await.unwrap().status, "running");
    assert_eq!(me.environment_log(&id).await.unwrap(), EnvironmentLog::NoPackages);
    assert_eq!(runner.client.finish(&new, &finish(0, 0, 0)).await.unwrap().status, "completed");
}

#[tokio::test]
async fn what_an_attempt_tells_of_its_environment_is_read_by_whoever_may_read_the_execution() {
    let grid = Grid::start().await;
    let me = grid.client();
    submit(&me, &module()).await;
    let runner = grid.runner().await;
    let attempt = attempt_of(&runner.lease().await);
    let log = |bytes: &[u8]| {
        let log = Some(Bytes64(bytes.to_vec()));
        TellEnvironmentLog { origin: EnvironmentOriginBody::Fetched, log }
    };
    let too_much = log(&[b'x'; ENVIRONMENT_LOG_BYTES_MAX + 1]);
    assert_eq!(code(runner.client.tell_environment_log(&attempt, &too_much).await), ErrorCode::TooLarge);
    let told = log(b"\xff\0 Installed\n");
    runner.client.tell_environment_log(&attempt, &told).await.unwrap();
    runner.client.tell_environment_log(&attempt, &told).await.unwrap();
    runner.client.finish(&attempt, &finish(0, 0, 0)).await.unwrap();
    let TellEnvironmentLog { origin, log } = told;
    assert_eq!(me.environment_log("last").await.unwrap(), EnvironmentLog::Told { origin, log });
}

#[tokio::test]
async fn a_submission_repeated_with_its_key_is_made_once() {
    let grid = Grid::start().await;
    let me = grid.client();
    let key = fresh_key();
    let first = me.create_execution(&module(), &key).await.unwrap();
    let again = me.create_execution(&module(), &key).await.unwrap();
    assert_eq!(first.execution.id, again.execution.id);
    let mut other = module();
    other.args.push("more".to_owned());
    assert_eq!(code(me.create_execution(&other, &key).await), ErrorCode::IdempotencyMismatch);
    assert_eq!(me.executions(&ListExecutions::default()).await.unwrap().executions.len(), 1);

    me.cancel("last").await.unwrap();
    let key = fresh_key();
    let retried = me.retry("last", &key).await.unwrap();
    assert_eq!(me.retry("last", &key).await.unwrap().execution.id, retried.execution.id);
    assert_eq!(retried.execution.args, first.execution.args);
    assert_ne!(retried.execution.id, first.execution.id);
}

#[tokio::test]
async fn a_queued_execution_is_cancelled_at_once_and_a_timeout_is_extended() {
    let grid = Grid::start().await;
    let me = grid.client();
    let created = submit(&me, &module()).await.execution;
    assert_eq!(created.waiting, None, "most executions hardly wait");
    assert!(me.execution("last").await.unwrap().waiting.unwrap().contains("no worker"));
    let extended = me.extend(&created.id, std::time::Duration::from_secs(60)).await.unwrap();
    assert_eq!(extended.timeout_ms, created.timeout_ms + 60_000);
    let cancelled = me.cancel(&created.id[..12]).await.unwrap();
    assert_eq!((cancelled.status.as_str(), cancelled.exit_code), ("cancelled", Some(130)));
    assert_eq!(code(me.extend("last", std::time::Duration::from_secs(60)).await), ErrorCode::Conflict);
    let end = Followed::to_end(&me, "last").await.end.unwrap();
    assert_eq!(end.id, created.id);
}

#[tokio::test]
async fn lists_go_by_pages_and_by_filters() {
    let grid = Grid::start().await;
    let me = grid.client();
    let mut ids = Vec::new();
    for n in 0..5 {
        let mut body = module();
        body.name = Some(format!("run {}", n % 2));
        ids.push(submit(&me, &body).await.execution.id);
    }
    ids.reverse();
    let mut seen = Vec::new();
    let mut query = ListExecutions { limit: Some(2), ..ListExecutions::default() };
    loop {
        let page = me.executions(&query).await.unwrap();
        assert!(page.executions.len() <= 2);
        seen.extend(page.executions.into_iter().map(|execution| execution.id));
        query.cursor = page.next;
        if query.cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ids);
    let named = ListExecutions { name: Some("run 1".to_owned()), ..ListExecutions::default() };
    assert_eq!(me.executions(&named).await.unwrap().executions.len(), 2);
    let labelled = ListExecutions { metadata: Some("team=red".to_owned()), ..ListExecutions::default() };
    assert!(me.executions(&labelled).await.unwrap().executions.is_empty());
    let ended = ListExecutions { status: Some("completed,failed".to_owned()), ..ListExecutions::default() };
    assert!(me.executions(&ended).await.unwrap().executions.is_empty());
}
