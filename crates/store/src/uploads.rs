//! Uploads: a blob on its way in, by parts that may come in any order and over any number of connections.
//!
//! A part's row is written after its bytes, and its bytes are never written again after that, so the parts that are
//! missing are exactly those without a row, whatever was cut or killed.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use rgrid_core::id::{AccountId, UploadId};
use rgrid_core::limits;
use rgrid_core::submission::Sha256;
use sqlx::Row;

use crate::blobs::{BlobName, distinct};
use crate::notify::Nudge;
use crate::objects::{self, Announced, Completed, ObjectKey};
use crate::queue::queue_ready_executions;
use crate::row::{Columns, bigint, integer, parsed, sha256};
use crate::{Error, Result, Store, secret};

/// Uploads of one commit that are verified at once.
const VERIFIED_AT_ONCE: usize = 4;

/// A blob that is to be uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRow {
    /// Its id; the commit names it.
    pub id: UploadId,
    /// Hash of the whole.
    pub sha256: Sha256,
    /// Size of the whole.
    pub size_bytes: u64,
    /// Size of every part but the last.
    pub part_bytes: u64,
    /// The parts that are still missing, ascending.
    pub parts_missing: Vec<u32>,
}

/// What is known of an upload when it is to be committed.
struct Candidate {
    id: UploadId,
    key: ObjectKey,
    announced: Announced,
    /// Its bytes are a blob already.
    is_blob: bool,
    arrived: bool,
}

/// What came of one.
enum Verdict {
    Verified(UploadId, Sha256),
    IsBlob,
    /// It is asked for again, whole or in part.
    Refused(UploadId),
}

impl Store {
    /// Refuses what the object store has no room for now, before bytes are sent in vain. It reserves nothing.
    pub async fn ensure_room(&self, wanted_bytes: u64) -> Result<()> {
        Ok(self.objects().ensure_room(wanted_bytes).await?)
    }

    /// Which of these are not blobs of the account, each with an upload that is open for it. An upload that was cut
    /// is found again: only its missing parts are asked for.
    pub async fn missing_blobs(&self, account: AccountId, names: &[BlobName]) -> Result<Vec<UploadRow>> {
        let sizes = distinct(names)?;
        if sizes.values().any(|size| *size > limits::BLOB_BYTES_MAX) {
            return Err(Error::TooLarge { what: "blob", limit: limits::BLOB_BYTES_MAX });
        }
        let hashes: Vec<Vec<u8>> = sizes.keys().map(|sha256| sha256.0.to_vec()).collect();
        let missing: Vec<Vec<u8>> = sqlx::query_scalar(include_str!("../queries/blobs/missing.sql"))
            .bind(account.to_string())
            .bind(&hashes)
            .fetch_all(self.pool())
            .await?;
        if missing.len() < hashes.len() {
            // Whoever was told that they are there has some time to name them.
            self.remember_use(account, hashes).await?;
        }
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let missing = missing.iter().map(|hash| sha256(hash)).collect::<Result<Vec<_>>>()?;
        self.open_uploads(account, missing.iter().map(|sha256| (*sha256, sizes[sha256])).collect()).await
    }

    async fn open_uploads(&self, account: AccountId, wanted: Vec<(Sha256, u64)>) -> Result<Vec<UploadRow>> {
        let now = secret::unix_ms();
        let ids: HashSet<String> =
            wanted.iter().map(|_| UploadId::new(now, secret::random()).to_string()).collect();
        let keys: Vec<String> = wanted.iter().map(|_| ObjectKey::fresh().to_string()).collect();
        let hashes: Vec<Vec<u8>> = wanted.iter().map(|(sha256, _)| sha256.0.to_vec()).collect();
        let sizes: Vec<i64> = wanted.iter().map(|(_, size)| bigint(*size)).collect();
        let rows = sqlx::query(include_str!("../queries/uploads/open.sql"))
            .bind(account.to_string())
            .bind(bigint(limits::PART_BYTES))
            .bind(ids.iter().collect::<Vec<_>>())
            .bind(hashes)
            .bind(sizes)
            .bind(keys)
            .fetch_all(self.pool())
            .await?;
        let mut uploads = Vec::with_capacity(rows.len());
        for row in &rows {
            uploads.push(UploadRow {
                id: row.text("id")?,
                sha256: sha256(row.try_get("sha256")?)?,
                size_bytes: row.number64("size_bytes")?,
                part_bytes: row.number64("part_bytes")?,
                parts_missing: Vec::new(),
            });
        }
        let resumed: Vec<String> =
            uploads.iter().map(|upload| upload.id.to_string()).filter(|id| !ids.contains(id)).collect();
        let arrived = self.arrived_parts(resumed).await?;
        for upload in &mut uploads {
            let arrived = arrived.get(&upload.id);
            let parts = 1..=announced(upload).parts();
            upload.parts_missing =
                parts.filter(|part| !arrived.is_some_and(|set| set.contains(part))).collect();
        }
        Ok(uploads)
    }

    async fn arrived_parts(&self, uploads: Vec<String>) -> Result<HashMap<UploadId, HashSet<u32>>> {
        let mut arrived: HashMap<UploadId, HashSet<u32>> = HashMap::new();
        if uploads.is_empty() {
            return Ok(arrived);
        }
        let rows = sqlx::query(include_str!("../queries/uploads/parts.sql"))
            .bind(uploads)
            .fetch_all(self.pool())
            .await?;
        for row in rows {
            arrived.entry(row.text("upload_id")?).or_default().insert(row.number32("number")?);
        }
        Ok(arrived)
    }

    /// Takes the bytes of one part, exactly `length` of them. Parts may come at once and in any order; one that has
    /// arrived before is read and ignored.
    pub async fn put_part<E>(
        &self,
        upload: UploadId,
        number: u32,
        length: u64,
        bytes: impl Stream<Item = std::result::Result<Bytes, E>> + Send,
    ) -> Result<()>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (key, announced, arrived) = self.find_upload(upload, number).await?;
        let part = announced.part(number).ok_or_else(|| Error::Invalid {
            field: "number",
            reason: format!("the upload has {} parts", announced.parts()),
        })?;
        let expected = part.range.end - part.range.start;
        if length != expected {
            return Err(objects::Error::WrongLength { expected, received: length }.into());
        }
        if arrived {
            return drain(bytes).await;
        }
        let claim = self.objects().claim_part(key, part).await;
        // Asked again under the claim: who had it before us may have sent these very bytes.
        if self.find_upload(upload, number).await?.2 {
            return drain(bytes).await;
        }
        let written = claim?.write(bytes).await?;
        sqlx::query(include_str!("../queries/uploads/record_part.sql"))
            .bind(upload.to_string())
            .bind(integer(number))
            .execute(self.pool())
            .await?;
        written.recorded();
        Ok(())
    }

    async fn find_upload(&self, upload: UploadId, part: u32) -> Result<(ObjectKey, Announced, bool)> {
        let row = sqlx::query(include_str!("../queries/uploads/get.sql"))
            .bind(upload.to_string())
            .bind(integer(part))
            .fetch_optional(self.pool())
            .await?
            .ok_or_else(|| Error::not_found("upload", upload))?;
        let announced = Announced {
            size_bytes: row.number64("size_bytes")?,
            part_bytes: row.number64("part_bytes")?,
            sha256: sha256(row.try_get("sha256")?)?,
        };
        Ok((parsed("object key", row.try_get("object_key")?)?, announced, row.try_get("arrived")?))
    }

    /// Makes uploads blobs whose parts have all arrived and whose size and hash are what was announced, and queues
    /// the executions that waited for them. Answers those that were refused: they are to be asked for and sent again.
    /// Repeating it is harmless.
    pub async fn commit_uploads(
        &self,
        account: AccountId,
        uploads: &[(UploadId, Sha256)],
    ) -> Result<Vec<UploadId>> {
        let candidates = self.candidates(account, uploads).await?;
        let known: HashSet<UploadId> = candidates.iter().map(|candidate| candidate.id).collect();
        let mut refused: Vec<UploadId> =
            uploads.iter().map(|(id, _)| *id).filter(|id| !known.contains(id)).collect();
        let verdicts: Vec<Verdict> = futures_util::stream::iter(candidates)
            .map(|candidate| self.verify(candidate))
            .buffer_unordered(VERIFIED_AT_ONCE)
            .try_collect()
            .await?;
        let mut verified = Vec::new();
        for verdict in verdicts {
            match verdict {
                Verdict::Verified(id, sha256) => verified.push((id, sha256)),
                Verdict::IsBlob => {}
                Verdict::Refused(id) => refused.push(id),
            }
        }
        if !verified.is_empty() {
            self.commit_verified(account, &verified).await?;
        }
        Ok(refused)
    }

    async fn candidates(&self, account: AccountId, uploads: &[(UploadId, Sha256)]) -> Result<Vec<Candidate>> {
        let hashes: HashMap<UploadId, Sha256> = uploads.iter().copied().collect();
        let ids: Vec<String> = hashes.keys().map(UploadId::to_string).collect();
        sqlx::query(include_str!("../queries/uploads/touch.sql"))
            .bind(account.to_string())
            .bind(&ids)
            .execute(self.pool())
            .await?;
        // One snapshot, and not that of a statement that may have waited for a twin's commit.
        let rows = sqlx::query(include_str!("../queries/uploads/to_commit.sql"))
            .bind(account.to_string())
            .bind(ids)
            .fetch_all(self.pool())
            .await?;
        let mut candidates = Vec::with_capacity(rows.len());
        for row in rows {
            let announced = Announced {
                size_bytes: row.number64("size_bytes")?,
                part_bytes: row.number64("part_bytes")?,
                sha256: sha256(row.try_get("sha256")?)?,
            };
            let id: UploadId = row.text("id")?;
            let committed: bool = row.try_get("committed")?;
            let is_blob: bool = row.try_get("is_blob")?;
            // The upload of another hash, or of a blob that was forgotten since, is as good as unknown.
            if hashes.get(&id) == Some(&announced.sha256) && (is_blob || !committed) {
                let arrived = row.number64("parts")? == u64::from(announced.parts());
                let key = parsed("object key", row.try_get("object_key")?)?;
                candidates.push(Candidate { id, key, announced, is_blob: committed && is_blob, arrived });
            }
        }
        Ok(candidates)
    }

    async fn verify(&self, candidate: Candidate) -> Result<Verdict> {
        let Candidate { id, key, announced, is_blob, arrived } = candidate;
        if is_blob {
            return Ok(Verdict::IsBlob);
        }
        if !arrived {
            return Ok(Verdict::Refused(id));
        }
        match self.objects().complete(key, &announced).await {
            Ok(Completed::Whole) => Ok(Verdict::Verified(id, announced.sha256)),
            Ok(Completed::Damaged) | Err(objects::Error::Missing(_)) => {
                let discarded: Option<String> =
                    sqlx::query_scalar(include_str!("../queries/uploads/refuse.sql"))
                        .bind(id.to_string())
                        .fetch_optional(self.pool())
                        .await?;
                if discarded.is_some() {
                    self.delete_discarded(&[key]).await?;
                }
                Ok(Verdict::Refused(id))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn commit_verified(&self, account: AccountId, verified: &[(UploadId, Sha256)]) -> Result<()> {
        let ids: Vec<String> = verified.iter().map(|(id, _)| id.to_string()).collect();
        let mut transaction = self.pool().begin().await?;
        let unneeded: Vec<String> = sqlx::query_scalar(include_str!("../queries/uploads/commit.sql"))
            .bind(&ids)
            .fetch_all(&mut *transaction)
            .await?;
        sqlx::query(include_str!("../queries/uploads/forget_parts.sql"))
            .bind(&ids)
            .execute(&mut *transaction)
            .await?;
        let blobs: Vec<Sha256> = verified.iter().map(|(_, sha256)| *sha256).collect();
        let queued = queue_ready_executions(&mut transaction, account, &blobs).await?;
        transaction.commit().await?;
        if queued > 0 {
            self.nudge(Nudge::Queue);
            self.nudge(Nudge::Executions);
        }
        let unneeded =
            unneeded.iter().map(|key| parsed("object key", key)).collect::<Result<Vec<ObjectKey>>>()?;
        if !unneeded.is_empty() {
            self.delete_discarded(&unneeded).await?;
        }
        Ok(())
    }
}

fn announced(upload: &UploadRow) -> Announced {
    Announced { size_bytes: upload.size_bytes, part_bytes: upload.part_bytes, sha256: upload.sha256 }
}

/// Reads what nobody needs: a sender that is answered before it has sent all may take that for a failure.
async fn drain<E>(bytes: impl Stream<Item = std::result::Result<Bytes, E>> + Send) -> Result<()>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut bytes = std::pin::pin!(bytes);
    loop {
        let piece = tokio::time::timeout(objects::SENDER_SILENCE, bytes.next())
            .await
            .map_err(|silence| objects::Error::Interrupted(silence.into()))?;
        match piece {
            None => return Ok(()),
            Some(Ok(_)) => {}
            Some(Err(broken)) => return Err(objects::Error::Interrupted(broken.into()).into()),
        }
    }
}
