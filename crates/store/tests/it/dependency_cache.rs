//! Environments of an account: one attempt builds, the others wait for it or fetch what it built.

use std::time::Duration;

use rgrid_store::Error;
use rgrid_store::dependency_cache::EnvironmentRow;
use rgrid_store::executions::BlobName;

use crate::crew::auth;
use crate::stage::{Stage, sha256};

#[tokio::test]
async fn one_attempt_builds_and_the_others_wait_for_it() {
    let stage = Stage::new().await;
    let key = sha256(b"all that decides it");
    let mut attempts = Vec::new();
    for _ in 0..3 {
        stage.submit(&[], false).await;
        let worker = stage.joined().await;
        attempts.push(auth(&stage.claim_one(worker).await));
    }
    let [first, second, third] = attempts.as_slice() else { unreachable!() };
    let asks = async |who, damaged| stage.store.environment(who, key, damaged).await.unwrap().1;
    assert_eq!(asks(first, None).await, EnvironmentRow::Build);
    assert_eq!(asks(first, None).await, EnvironmentRow::Build, "an answer that was lost is repeated");
    assert_eq!(asks(second, None).await, EnvironmentRow::Wait);
    // With the attempt ends its right to build.
    stage.store.hand_back(first).await.unwrap();
    assert_eq!(asks(second, None).await, EnvironmentRow::Build);
    assert_eq!(asks(third, None).await, EnvironmentRow::Wait);
    let first_again = stage.store.environment(first, key, None).await;
    assert!(matches!(first_again, Err(Error::NotCurrent)));

    let packed = BlobName { sha256: sha256(b"packed"), size_bytes: 6 };
    let unknown = stage.store.environment_built(second, key, packed).await;
    assert!(matches!(unknown, Err(Error::NotFound { .. })));
    stage.upload(b"packed").await;
    for _ in 0..2 {
        stage.store.environment_built(second, key, packed).await.unwrap();
    }
    let ready = EnvironmentRow::Ready { sha256: packed.sha256, size_bytes: 6 };
    assert_eq!(asks(third, None).await, ready);
    // Nothing else names the blob, and it is kept.
    stage.execute("update blobs set last_used_at = now() - interval '40 days'").await;
    stage.store.collect_garbage(Duration::from_secs(30 * 86_400)).await.unwrap();
    assert_eq!(asks(third, None).await, ready);
    // One that was found damaged is not named again, and is built anew.
    assert_eq!(asks(third, Some(packed.sha256)).await, EnvironmentRow::Build);
    // What nobody uses goes, with its blob.
    stage.store.environment_built(third, key, packed).await.unwrap();
    stage
        .execute(
            "update dependency_cache set last_used_at = now() - interval '40 days';
             update blobs set last_used_at = now() - interval '40 days'",
        )
        .await;
    stage.store.collect_garbage(Duration::from_secs(30 * 86_400)).await.unwrap();
    assert_eq!(
        stage.count("select (select count(*) from dependency_cache) + (select count(*) from blobs)").await,
        0
    );
}

#[tokio::test]
async fn credentials_of_an_index_are_sealed_and_come_back_with_the_submission() {
    let stage = Stage::new().await;
    let wanted = rgrid_core::dependencies::Dependencies {
        source: "requirements.txt".to_owned(),
        lock: rgrid_core::dependencies::LOCK_PATH.parse().unwrap(),
        local: Vec::new(),
        credentials: [("https://index.example/simple".to_owned(), "me:hunter22".to_owned())].into(),
    };
    stage.upload(b"lock").await;
    let submission = crate::crew::changed(|draft| {
        draft.inputs.push(rgrid_core::submission::Input {
            path: wanted.lock.clone(),
            kind: rgrid_core::submission::InputKind::File {
                sha256: sha256(b"lock"),
                size_bytes: 4,
                mode: 0o644,
                modified_ns: 0,
            },
        });
        draft.dependencies = Some(wanted.clone());
        draft.umask = 0o077;
    });
    stage.store.create_execution(stage.account, &submission, false, None).await.unwrap();
    let worker = stage.joined().await;
    let claimed = stage.claim_one(worker).await;
    assert_eq!((claimed.submission.dependencies.as_ref(), claimed.submission.umask), (Some(&wanted), 0o077));
    let in_clear = stage.count("select count(*) from executions e where e::text like '%hunter22%'").await;
    let sealed =
        stage.count("select count(*) from executions where credentials_ciphertext is not null").await;
    assert_eq!((in_clear, sealed), (0, 1));
}
