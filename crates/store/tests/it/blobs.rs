//! Blobs: uploads that may be cut anywhere, commits that may race, and readers that never get damaged bytes unawares.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::stream;
use rgrid_core::execution::Status;
use rgrid_core::id::UploadId;
use rgrid_core::limits::PART_BYTES;
use rgrid_core::submission::Sha256;
use rgrid_store::Error;
use rgrid_store::executions::BlobName;
use rgrid_store::objects;
use rgrid_store::uploads::UploadRow;

use crate::stage::{Stage, content, sha256};

fn name(content: &[u8]) -> BlobName {
    BlobName { sha256: sha256(content), size_bytes: content.len() as u64 }
}

/// Bytes that fill two parts and a bit.
fn large(seed: u8) -> Vec<u8> {
    content(seed, 2 * PART_BYTES as usize + 12_345)
}

fn part_of(upload: &UploadRow, number: u32, content: &[u8]) -> Vec<u8> {
    let start = u64::from(number - 1) * upload.part_bytes;
    let end = (start + upload.part_bytes).min(content.len() as u64);
    content[start as usize..end as usize].to_vec()
}

fn whole(bytes: Vec<u8>) -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> + Send + use<> {
    stream::iter([Ok(Bytes::from(bytes))])
}

impl Stage {
    async fn open(&self, content: &[u8]) -> Option<UploadRow> {
        self.store.missing_blobs(self.account, &[name(content)]).await.unwrap().pop()
    }

    async fn send(&self, upload: &UploadRow, number: u32, content: &[u8]) {
        let bytes = part_of(upload, number, content);
        self.store.put_part(upload.id, number, bytes.len() as u64, whole(bytes)).await.unwrap();
    }

    pub(crate) async fn commit(&self, upload: UploadId, sha256: Sha256) -> Vec<UploadId> {
        self.store.commit_uploads(self.account, &[(upload, sha256)]).await.unwrap()
    }

    /// Uploads and commits what is missing of it, as far as nobody takes the upload away meanwhile.
    pub(crate) async fn try_upload(&self, content: &[u8]) -> Result<(), Error> {
        let Some(upload) = self.open(content).await else { return Ok(()) };
        for number in upload.parts_missing.clone() {
            let bytes = part_of(&upload, number, content);
            self.store.put_part(upload.id, number, bytes.len() as u64, whole(bytes)).await?;
        }
        self.commit(upload.id, upload.sha256).await;
        Ok(())
    }

    /// An upload that has arrived and is not committed.
    pub(crate) async fn sent(&self, content: &[u8]) -> UploadRow {
        let upload = self.open(content).await.unwrap();
        for number in upload.parts_missing.clone() {
            self.send(&upload, number, content).await;
        }
        upload
    }

    /// Uploads and commits.
    pub(crate) async fn upload(&self, content: &[u8]) {
        let upload = self.sent(content).await;
        assert_eq!(self.commit(upload.id, upload.sha256).await, []);
    }

    pub(crate) async fn read_blob(&self, sha256: Sha256) -> Result<Vec<u8>, Error> {
        let mut reader = self.store.open_blob(self.account, sha256, None).await?;
        let mut all = Vec::new();
        while let Some(piece) = reader.next().await? {
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    /// The file of the only complete object.
    fn object_file(&self) -> std::path::PathBuf {
        let mut files = Vec::new();
        for shard in std::fs::read_dir(self.database.folder().join("objects/objects")).unwrap() {
            files.extend(std::fs::read_dir(shard.unwrap().path()).unwrap().map(|file| file.unwrap().path()));
        }
        assert_eq!(files.len(), 1, "{files:?}");
        files.pop().unwrap()
    }
}

#[tokio::test]
async fn a_committed_blob_reads_back_and_is_not_asked_for_again() {
    let stage = Stage::new().await;
    let content = large(1);
    stage.upload(&content).await;
    assert_eq!(stage.open(&content).await, None);
    assert!(stage.read_blob(sha256(&content)).await.unwrap() == content);

    let range = PART_BYTES - 3..PART_BYTES + 3;
    let mut reader =
        stage.store.open_blob(stage.account, sha256(&content), Some(range.clone())).await.unwrap();
    assert_eq!(reader.size_bytes, content.len() as u64);
    let piece = reader.next().await.unwrap().unwrap();
    assert_eq!(piece, content[range.start as usize..range.end as usize]);
    assert_eq!(reader.next().await.unwrap(), None);
}

#[tokio::test]
async fn an_empty_blob_needs_no_part() {
    let stage = Stage::new().await;
    let upload = stage.open(b"").await.unwrap();
    assert!(upload.parts_missing.is_empty());
    assert_eq!(stage.commit(upload.id, sha256(b"")).await, []);
    assert_eq!(stage.read_blob(sha256(b"")).await.unwrap(), b"");
}

#[tokio::test]
async fn an_upload_that_was_cut_asks_only_for_what_is_missing() {
    let stage = Stage::new().await;
    let content = large(2);
    let first = stage.open(&content).await.unwrap();
    assert_eq!(first.parts_missing, [1, 2, 3]);
    stage.send(&first, 2, &content).await;
    // Part 1 breaks off in its middle: nothing of it counts.
    let half = Bytes::from(content[..PART_BYTES as usize / 2].to_vec());
    let cut = stream::iter([Ok(half), Err(std::io::Error::other("gone"))]);
    let cut = stage.store.put_part(first.id, 1, PART_BYTES, cut).await;
    assert!(matches!(cut, Err(Error::Objects(objects::Error::Interrupted(_)))), "{cut:?}");
    assert_eq!(stage.commit(first.id, first.sha256).await, [first.id], "it is not all here");

    let again = stage.open(&content).await.unwrap();
    assert_eq!((again.id, again.parts_missing.as_slice()), (first.id, [1, 3].as_slice()));
    stage.send(&again, 1, &content).await;
    stage.send(&again, 3, &content).await;
    assert_eq!(stage.commit(again.id, again.sha256).await, []);
    assert!(stage.read_blob(sha256(&content)).await.unwrap() == content);
}

#[tokio::test]
async fn a_repeated_part_or_commit_is_a_success_and_changes_nothing() {
    let stage = Stage::new().await;
    let upload = stage.open(b"hello").await.unwrap();
    stage.send(&upload, 1, b"hello").await;
    stage.store.put_part(upload.id, 1, 5, whole(b"HELLO".to_vec())).await.unwrap();
    for _ in 0..2 {
        assert_eq!(stage.commit(upload.id, upload.sha256).await, []);
        stage.store.put_part(upload.id, 1, 5, whole(b"HELLO".to_vec())).await.unwrap();
    }
    assert_eq!(stage.read_blob(upload.sha256).await.unwrap(), b"hello");
}

#[tokio::test]
async fn bytes_that_are_not_what_was_announced_are_refused() {
    let stage = Stage::new().await;
    let upload = stage.open(b"hello").await.unwrap();
    for (number, length, bytes) in
        [(1, 4, b"hell".to_vec()), (2, 5, b"hello".to_vec()), (0, 5, b"hello".to_vec())]
    {
        assert!(stage.store.put_part(upload.id, number, length, whole(bytes)).await.is_err(), "{number}");
    }
    assert!(stage.store.put_part(upload.id, 1, 5, whole(b"hell".to_vec())).await.is_err());
    stage.store.put_part(upload.id, 1, 5, whole(b"HELLO".to_vec())).await.unwrap();
    assert_eq!(stage.commit(upload.id, sha256(b"other")).await, [upload.id]);
    assert_eq!(stage.commit(upload.id, upload.sha256).await, [upload.id]);
    assert!(matches!(stage.read_blob(upload.sha256).await, Err(Error::NotFound { .. })));
    assert_eq!(stage.count("select count(*) from blobs").await, 0);

    let again = stage.open(b"hello").await.unwrap();
    assert_ne!(again.id, upload.id, "it starts anew");
    stage.upload(b"hello").await;
}

#[tokio::test]
async fn nothing_of_one_account_is_seen_by_another() {
    let stage = Stage::new().await;
    stage.upload(b"hello").await;
    let other = stage.store.create_account("other").await.unwrap().id;
    let hash = sha256(b"hello");
    assert!(matches!(stage.store.open_blob(other, hash, None).await, Err(Error::NotFound { .. })));
    let theirs = stage.store.missing_blobs(other, &[name(b"hello")]).await.unwrap().pop().unwrap();
    stage.store.put_part(theirs.id, 1, 5, whole(b"hello".to_vec())).await.unwrap();
    assert_eq!(stage.commit(theirs.id, hash).await, [theirs.id], "it is not our upload");
    assert_eq!(stage.store.commit_uploads(other, &[(theirs.id, hash)]).await.unwrap(), []);
    assert_eq!(stage.count("select count(distinct object_key) from blobs").await, 2);
}

#[tokio::test]
async fn two_who_send_the_same_blob_at_once_both_succeed_and_one_object_stays() {
    let stage = Stage::new().await;
    let content = large(3);
    let sender = || async {
        let upload = stage.open(&content).await.unwrap();
        for number in upload.parts_missing.clone() {
            stage.send(&upload, number, &content).await;
        }
        stage.commit(upload.id, upload.sha256).await
    };
    let (a, b) = tokio::join!(sender(), sender());
    assert_eq!((a, b), (vec![], vec![]));
    stage.object_file();
    assert!(stage.read_blob(sha256(&content)).await.unwrap() == content);
}

#[tokio::test]
async fn a_commit_that_waited_for_its_twin_succeeds() {
    let stage = Stage::new().await;
    for round in 0..20_u8 {
        let upload = stage.open(&[round]).await.unwrap();
        stage.send(&upload, 1, &[round]).await;
        let commit = || stage.commit(upload.id, upload.sha256);
        let refused = tokio::join!(commit(), commit(), commit());
        assert_eq!(refused, (vec![], vec![], vec![]), "round {round}");
    }
}

#[tokio::test]
async fn the_first_committers_object_stays_and_the_losers_is_deleted() {
    let stage = Stage::new().await;
    let winner = stage.open(b"hello").await.unwrap();
    stage.send(&winner, 1, b"hello").await;
    // A second open upload of the same bytes, as who looked for the blob just before a commit may open it.
    stage.execute("update uploads set committed_at = now()").await;
    let loser = stage.open(b"hello").await.unwrap();
    assert_ne!(loser.id, winner.id);
    stage.execute("drop index uploads_open; update uploads set committed_at = null").await;
    stage.send(&loser, 1, b"hello").await;
    let (a, b) = tokio::join!(stage.commit(winner.id, winner.sha256), stage.commit(loser.id, loser.sha256));
    assert_eq!((a, b), (vec![], vec![]));
    stage.object_file();
    assert_eq!(stage.count("select count(*) from discarded_objects").await, 0);
    assert_eq!(stage.read_blob(winner.sha256).await.unwrap(), b"hello");
}

#[tokio::test]
async fn executions_are_queued_when_their_last_blob_is_committed() {
    let stage = Stage::new().await;
    stage.upload(b"here").await;
    let execution = stage.submit(&[b"here", b"one", b"two"], false).await;
    let status = || async { stage.store.execution(stage.account, execution).await.unwrap().status };
    assert_eq!(status().await, Status::Pending);
    stage.upload(b"one").await;
    assert_eq!(status().await, Status::Pending);
    stage.upload(b"two").await;
    assert_eq!(status().await, Status::Queued);
}

#[tokio::test]
async fn no_execution_is_left_pending_when_submissions_and_commits_race() {
    let stage = Stage::new().await;
    for round in 0..20_u8 {
        let (one, two) = ([round, 1], [round, 2]);
        let files: [&[u8]; 2] = [&one, &two];
        let (execution, (), ()) =
            tokio::join!(stage.submit(&files, false), stage.upload(&one), stage.upload(&two));
        let row = stage.store.execution(stage.account, execution).await.unwrap();
        assert_eq!(row.status, Status::Queued, "round {round}");
    }
}

#[tokio::test]
async fn many_uploads_are_committed_in_one_call() {
    let stage = Stage::new().await;
    let contents: Vec<Vec<u8>> = (0..50_u8).map(|seed| vec![seed; 100]).collect();
    let names: Vec<BlobName> = contents.iter().map(|content| name(content)).collect();
    let uploads = stage.store.missing_blobs(stage.account, &names).await.unwrap();
    assert_eq!(uploads.iter().map(|upload| upload.id).collect::<BTreeSet<_>>().len(), 50);
    for upload in &uploads[1..] {
        let content = contents.iter().find(|content| sha256(content) == upload.sha256).unwrap();
        stage.send(upload, 1, content).await;
    }
    let pairs: Vec<_> = uploads.iter().map(|upload| (upload.id, upload.sha256)).collect();
    assert_eq!(stage.store.commit_uploads(stage.account, &pairs).await.unwrap(), [uploads[0].id]);
    assert_eq!(stage.store.missing_blobs(stage.account, &names).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_damaged_blob_is_forgotten_and_its_next_upload_repairs_it() {
    let stage = Stage::new().await;
    stage.upload(b"hello").await;
    let hash = sha256(b"hello");
    assert!(!stage.store.blob_damaged(stage.account, hash).await.unwrap(), "a report alone forgets nothing");
    assert_eq!(stage.read_blob(hash).await.unwrap(), b"hello");

    std::fs::write(stage.object_file(), b"hallo").unwrap();
    assert!(stage.store.blob_damaged(stage.account, hash).await.unwrap());
    assert!(matches!(stage.read_blob(hash).await, Err(Error::NotFound { .. })));
    stage.upload(b"hello").await;
    assert_eq!(stage.read_blob(hash).await.unwrap(), b"hello");
}

#[tokio::test]
async fn a_blob_whose_object_is_gone_or_cut_is_refused_at_once() {
    let stage = Stage::new().await;
    stage.upload(b"hello").await;
    let hash = sha256(b"hello");
    std::fs::write(stage.object_file(), b"hell").unwrap();
    assert!(matches!(stage.read_blob(hash).await, Err(Error::Corrupt { .. })));
    std::fs::remove_file(stage.object_file()).unwrap();
    stage.upload(b"hello").await;
    std::fs::remove_file(stage.object_file()).unwrap();
    assert!(matches!(stage.read_blob(hash).await, Err(Error::Corrupt { .. })));
    assert!(matches!(stage.read_blob(hash).await, Err(Error::NotFound { .. })));
}
