//! Nothing of one account is visible to another.

use std::time::Duration;

use rgrid_api::artifacts::ListArtifacts;
use rgrid_api::error::ErrorCode;
use rgrid_api::executions::ListExecutions;
use rgrid_api::logs::{Cursor, ReadLogs, WriteStdin};

use crate::harness::{Grid, code, commit, fresh_key, name, put, script, sha256, submit};

#[tokio::test]
async fn another_accounts_execution_is_not_found_whatever_is_asked_of_it() {
    let grid = Grid::start().await;
    let me = grid.client();
    let other = grid.stranger("other").await;
    let id = submit(&me, &script(b"print()")).await.execution.id;

    assert_eq!(code(other.execution(&id).await), ErrorCode::NotFound);
    assert_eq!(code(other.execution(&id[..20]).await), ErrorCode::NotFound);
    assert_eq!(code(other.execution("last").await), ErrorCode::NotFound);
    assert_eq!(code(other.cancel(&id).await), ErrorCode::NotFound);
    assert_eq!(code(other.extend(&id, Duration::from_secs(1)).await), ErrorCode::NotFound);
    assert_eq!(code(other.retry(&id, &fresh_key()).await), ErrorCode::NotFound);
    assert_eq!(code(other.attempts(&id).await), ErrorCode::NotFound);
    assert_eq!(code(other.artifacts(&id, &ListArtifacts::default()).await), ErrorCode::NotFound);
    assert_eq!(code(other.logs(&id, &ReadLogs::default()).await), ErrorCode::NotFound);
    assert_eq!(code(other.logs(&id, &ReadLogs { cursor: None, tail: Some(3) }).await), ErrorCode::NotFound);
    assert_eq!(code(other.environment_log(&id).await), ErrorCode::NotFound);
    let follow = other.follow(&id, Cursor::default()).await.map(|_| ());
    assert_eq!(code(follow), ErrorCode::NotFound);
    let stdin =
        other.write_stdin(&id, &WriteStdin { offset: 0, eof: true, sha256: None }, b"x".to_vec()).await;
    assert_eq!(code(stdin), ErrorCode::NotFound);
    assert!(other.executions(&ListExecutions::default()).await.unwrap().executions.is_empty());
    assert_eq!(me.execution(&id).await.unwrap().status, "pending");
}

#[tokio::test]
async fn another_accounts_blob_is_neither_there_nor_known() {
    let grid = Grid::start().await;
    let me = grid.client();
    let created = submit(&me, &script(b"secret")).await;
    put(&me, &created.missing[0], b"secret").await;
    me.commit_blobs(&commit(&created.missing[0])).await.unwrap();

    let account = grid.store.create_account("other").await.unwrap().id;
    let (_, key) = grid.store.create_key(account, "other", rgrid_store::keys::Role::Member).await.unwrap();
    let other = crate::harness::client(grid.url(), &key);
    let wanted = rgrid_api::blobs::BlobsWanted { blobs: vec![name(b"secret")] };
    assert_eq!(other.blobs_missing(&wanted).await.unwrap().missing.len(), 1, "whoever names it must have it");
    let url = format!("{}/api/v1/blobs/{}", grid.url(), sha256(b"secret"));
    let http = reqwest::Client::new();
    assert_eq!(http.get(&url).bearer_auth(&key).send().await.unwrap().status(), 404);
    assert_eq!(http.get(&url).bearer_auth(&grid.key).send().await.unwrap().status(), 200);
    let refused = other.commit_blobs(&commit(&created.missing[0])).await.unwrap().refused;
    assert_eq!(refused.len(), 1, "an upload belongs to its account");
}
