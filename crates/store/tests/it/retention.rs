//! Garbage collection: what nobody needs goes, what somebody names or is about to name stays, whatever happens at once.

use std::time::Duration;

use rgrid_core::execution::Status;
use rgrid_core::limits::PART_BYTES;
use rgrid_store::executions::BlobName;
use rgrid_store::logs::{LogPiece, LogStream};
use rgrid_store::retention::Collected;
use rgrid_store::{Error, Store, StoreConfig};

use crate::s3_server::S3Server;
use crate::stage::{Stage, sha256, submission};

pub(crate) const RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);

impl Stage {
    pub(crate) async fn collect(&self) -> Collected {
        self.store.collect_garbage(RETENTION).await.unwrap()
    }

    /// Makes everything look as if it had last been used `days` ago.
    pub(crate) async fn age(&self, days: u32) {
        self.execute(format!(
            "update blobs set last_used_at = last_used_at - interval '{days} days';
            update uploads set touched_at = touched_at - interval '{days} days';
            update discarded_objects set delete_after = delete_after - interval '{days} days'"
        ))
        .await;
    }

    pub(crate) fn object_files(&self) -> usize {
        let root = self.database.folder().join("objects");
        let shards = std::fs::read_dir(root.join("objects")).unwrap();
        let complete: usize =
            shards.map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap().count()).sum();
        complete + std::fs::read_dir(root.join("incoming")).unwrap().count()
    }
}

#[tokio::test]
async fn an_unused_blob_goes_after_its_retention_and_its_object_a_day_later() {
    let stage = Stage::new().await;
    stage.upload(b"old").await;
    stage.age(29).await;
    stage.upload(b"new").await;
    assert_eq!(stage.collect().await.blobs, 0);
    stage.age(2).await;
    let collected = stage.collect().await;
    assert_eq!((collected.blobs, collected.blob_bytes, collected.objects), (1, 3, 0));
    assert_eq!(stage.object_files(), 2);
    assert!(matches!(stage.read_blob(sha256(b"old")).await, Err(Error::NotFound { .. })));
    stage.age(1).await;
    assert_eq!(stage.collect().await.objects, 1);
    assert_eq!(stage.object_files(), 1);
    assert_eq!(stage.read_blob(sha256(b"new")).await.unwrap(), b"new");
    assert_eq!(stage.count("select count(*) from discarded_objects").await, 0);
}

#[tokio::test]
async fn a_blob_that_an_execution_names_stays_until_the_execution_goes() {
    let stage = Stage::new().await;
    stage.upload(b"input").await;
    let execution = stage.submit(&[b"input"], false).await;
    stage.age(100).await;
    assert_eq!(stage.collect().await.blobs, 0);
    stage.end_execution(execution, 29).await;
    assert_eq!((stage.collect().await.executions, stage.collect().await.blobs), (0, 0));
    stage.end_execution(execution, 31).await;
    let collected = stage.collect().await;
    assert_eq!((collected.executions, collected.blobs), (1, 1));
}

#[tokio::test]
async fn logs_go_with_their_execution_and_so_do_their_objects() {
    let stage = Stage::new().await;
    let a = stage.running(false).await;
    let chunk = vec![b'x'; 250_000];
    for number in 0..6 {
        let offset = number * 250_000;
        let at = stage.store.now().await.unwrap();
        let piece = LogPiece { stream: LogStream::Stdout, offset, bytes: chunk.clone(), gap_bytes: 0, at };
        stage.store.append_logs(&a, &[piece]).await.unwrap();
    }
    assert!(stage.object_files() > 0);
    stage.end_execution(a.execution_id, 31).await;
    assert_eq!(stage.collect().await.executions, 1);
    stage.age(2).await;
    stage.collect().await;
    assert_eq!(stage.object_files(), 0);
    assert_eq!(stage.count("select count(*) from log_chunks").await, 0);
}

#[tokio::test]
async fn uploads_that_were_never_committed_go_after_a_day() {
    let stage = Stage::new().await;
    let name = BlobName { sha256: sha256(b"half"), size_bytes: 4 };
    let upload = stage.store.missing_blobs(stage.account, &[name]).await.unwrap().pop().unwrap();
    let bytes = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::from_static(b"half"))]);
    stage.store.put_part(upload.id, 1, 4, bytes).await.unwrap();
    assert_eq!(stage.collect().await.uploads, 0);
    stage.age(1).await;
    let collected = stage.collect().await;
    assert_eq!((collected.uploads, collected.objects), (1, 1));
    assert_eq!(stage.object_files(), 0);
    let refused = stage.store.commit_uploads(stage.account, &[(upload.id, upload.sha256)]).await.unwrap();
    assert_eq!(refused, [upload.id]);
}

#[tokio::test]
async fn parts_of_an_upload_that_was_given_up_go_with_it() {
    let server = S3Server::start().await;
    let mut stage = Stage::new().await;
    let config = StoreConfig { objects: server.config(None), ..stage.database.config() };
    stage.store = Store::connect(&config).await.unwrap();
    let name = BlobName { sha256: sha256(b"big"), size_bytes: PART_BYTES + 1 };
    let upload = stage.store.missing_blobs(stage.account, &[name]).await.unwrap().pop().unwrap();
    let bytes = futures_util::stream::iter([Ok::<_, std::io::Error>(vec![7; PART_BYTES as usize].into())]);
    stage.store.put_part(upload.id, 1, PART_BYTES, bytes).await.unwrap();
    assert_eq!(server.open_parts(), 1);
    stage.age(1).await;
    let collected = stage.collect().await;
    assert_eq!((collected.uploads, collected.objects), (1, 1));
    assert_eq!(server.open_parts(), 0);
    // Who comes again is asked for all of it.
    let again = stage.store.missing_blobs(stage.account, &[name]).await.unwrap().pop().unwrap();
    assert_eq!((again.parts_missing.as_slice(), again.id == upload.id), ([1, 2].as_slice(), false));
}

#[tokio::test]
async fn an_object_that_a_row_names_is_never_deleted() {
    let stage = Stage::new().await;
    stage.upload(b"kept").await;
    stage
        .execute("insert into discarded_objects select object_key, now() - interval '1 day' from blobs")
        .await;
    assert_eq!(stage.collect().await.objects, 0);
    assert_eq!(stage.read_blob(sha256(b"kept")).await.unwrap(), b"kept");
}

#[tokio::test]
async fn an_object_that_no_row_names_is_swept_once_it_is_old() {
    let stage = Stage::new().await;
    stage.upload(b"named").await;
    stage.upload(b"forgotten").await;
    // As after the restore of a backup that is older than the object.
    stage
        .execute("delete from uploads; delete from blobs where size_bytes = 9; delete from discarded_objects")
        .await;
    assert_eq!(stage.store.sweep_objects(Duration::from_secs(3600)).await.unwrap(), 0);
    assert_eq!(stage.object_files(), 2);
    assert_eq!(stage.store.sweep_objects(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(stage.read_blob(sha256(b"named")).await.unwrap(), b"named");
    assert_eq!(stage.object_files(), 1);
}

#[tokio::test]
async fn a_blob_that_somebody_was_told_of_is_not_pruned_from_under_them() {
    let stage = Stage::new().await;
    stage.upload(b"output").await;
    stage.age(3).await;
    let name = BlobName { sha256: sha256(b"output"), size_bytes: 6 };
    assert_eq!(stage.store.missing_blobs(stage.account, &[name]).await.unwrap(), []);
    assert_eq!(stage.store.prune(stage.account).await.unwrap().blobs, 0);
}

#[tokio::test]
async fn a_submission_never_loses_a_blob_to_the_collection() {
    let stage = Stage::new().await;
    for round in 0..40_u8 {
        let content: &[u8] = &[round];
        stage.upload(content).await;
        stage.age(31).await;
        let wanted = submission(&[content], false);
        let (created, collected) = tokio::join!(
            stage.store.create_execution(stage.account, &wanted, false, None),
            stage.store.collect_garbage(RETENTION)
        );
        let (created, collected) = (created.unwrap(), collected.unwrap());
        // Either the submission had it, or it learned that it is missing: never both, never neither.
        let is_missing = !created.missing.is_empty();
        assert_eq!(is_missing, created.execution.status == Status::Pending);
        assert_eq!(is_missing, collected.blobs == 1, "round {round}");
        let there = stage.read_blob(sha256(content)).await.is_ok();
        assert_eq!(there, !is_missing, "round {round}");
    }
}

#[tokio::test]
async fn a_blob_that_is_held_is_passed_over_and_one_that_was_named_meanwhile_stays() {
    let stage = Stage::new().await;
    stage.upload(b"held").await;
    let execution = stage.submit(&[], false).await;
    stage.age(31).await;
    let mut writer = stage.sql().await;
    let statements = format!(
        "begin; select from blobs for key share;
        insert into artifacts (execution_id, kind, path, entry, sha256)
            select '{execution}', 'input', '/x', 'file', sha256 from blobs"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(&mut writer).await.unwrap();
    assert_eq!(stage.collect().await.blobs, 0);
    sqlx::raw_sql("commit").execute(&mut writer).await.unwrap();
    assert_eq!(stage.collect().await.blobs, 0);
    assert_eq!(stage.read_blob(sha256(b"held")).await.unwrap(), b"held");
}

#[tokio::test]
async fn prune_takes_at_once_what_no_execution_names() {
    let stage = Stage::new().await;
    stage.upload(b"unnamed").await;
    stage.upload(b"named").await;
    stage.submit(&[b"named"], false).await;
    let just_now = stage.store.prune(stage.account).await.unwrap();
    assert_eq!(just_now.blobs, 0, "who was told a moment ago that it is there may still name it");
    stage.age(1).await;
    let pruned = stage.store.prune(stage.account).await.unwrap();
    assert_eq!((pruned.blobs, pruned.bytes), (1, 7));
    assert_eq!(stage.object_files(), 1);
    assert_eq!(stage.read_blob(sha256(b"named")).await.unwrap(), b"named");
}

#[tokio::test]
async fn a_store_over_its_cap_loses_the_least_recently_used_first() {
    let stage = Stage::new().await;
    let contents = [[1_u8; 1000], [2; 1000], [3; 1000], [4; 1000]];
    for (number, content) in contents.iter().enumerate() {
        stage.upload(content).await;
        // The oldest of all is needed by what may still run; the next by what has ended.
        if number < 2 {
            let execution = stage.submit(&[content], false).await;
            if number == 1 {
                stage.end_execution(execution, 0).await;
            }
        }
        stage.age(1).await;
    }
    assert_eq!(stage.store.shrink_blobs(4000).await.unwrap().blobs, 0);
    let shrunk = stage.store.shrink_blobs(2500).await.unwrap();
    assert_eq!((shrunk.blobs, shrunk.bytes), (2, 2000));
    let mut there = Vec::new();
    for content in &contents {
        there.push(stage.read_blob(sha256(content)).await.is_ok());
    }
    assert_eq!(there, [true, false, false, true]);
    assert_eq!(stage.object_files(), 2);
}
