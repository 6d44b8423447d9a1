//! Uploads: a blob on its way in, by parts that may come in any order and over any number of connections.
//!
//! In a folder a part's row is written after its bytes, and its bytes are never written again after that, so the parts
//! that are missing are exactly those without a row, whatever was cut or killed. An S3 server knows its parts itself,
//! and is asked.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use rgrid_core::id::{AccountId, UploadId};
use rgrid_core::limits;
use rgrid_core::submission::Sha256;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::blobs::{BlobName, distinct};
use crate::notify::Nudge;
use crate::objects::{self, Announced, Arriving, Completed, ObjectKey, PartAddress};
use crate::queue::queue_ready_executions;
use crate::row::{Columns, bigint, integer, parsed, sha256};
use crate::{Error, Result, Store, guards, secret};

/// Uploads of one commit that are verified at once.
const VERIFIED_AT_ONCE: usize = 4;
/// Uploads about which the object store is asked at once.
const ASKED_AT_ONCE: usize = 8;

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
    /// Where its bytes go.
    key: ObjectKey,
    multipart: Option<String>,
}

impl UploadRow {
    fn arriving(&self) -> Arriving {
        let announced =
            Announced { size_bytes: self.size_bytes, part_bytes: self.part_bytes, sha256: self.sha256 };
        Arriving { key: self.key, announced, multipart: self.multipart.clone() }
    }
}

/// What is known of an upload when it is to be committed.
struct Candidate {
    id: UploadId,
    arriving: Arriving,
    /// Its bytes are a blob already.
    is_blob: bool,
    /// Rows say that all its parts have arrived.
    arrived: bool,
}

/// An upload, as a part of it comes.
struct Found {
    arriving: Arriving,
    /// Nobody needs this part any more.
    needless: bool,
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
        self.objects().ensure_answers().await?;
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
                key: parsed("object key", row.try_get("object_key")?)?,
                multipart: row.try_get("multipart_id")?,
            });
        }
        if !self.objects().rows_know_parts() {
            return futures_util::stream::iter(uploads)
                .map(|upload| self.ask_for_parts(upload))
                .buffered(ASKED_AT_ONCE)
                .try_collect()
                .await;
        }
        let resumed: Vec<String> =
            uploads.iter().map(|upload| upload.id.to_string()).filter(|id| !ids.contains(id)).collect();
        let arrived = self.arrived_parts(resumed).await?;
        for upload in &mut uploads {
            let arrived = arrived.get(&upload.id);
            let parts = 1..=upload.arriving().announced.parts();
            upload.parts_missing =
                parts.filter(|part| !arrived.is_some_and(|set| set.contains(part))).collect();
        }
        Ok(uploads)
    }

    /// The same for an object store that knows itself what has arrived.
    async fn ask_for_parts(&self, mut upload: UploadRow) -> Result<UploadRow> {
        let parts = upload.arriving().announced.parts();
        if parts > 1 && upload.multipart.is_none() {
            upload.multipart = self.begin_multipart(&upload).await?;
        }
        let arrived = self.objects().arrived(&upload.arriving()).await?;
        upload.parts_missing = (1..=parts).filter(|part| !arrived.contains(part)).collect();
        Ok(upload)
    }

    async fn begin_multipart(&self, upload: &UploadRow) -> Result<Option<String>> {
        let ours = self.objects().begin(upload.key, &upload.arriving().announced).await?;
        let kept: Option<Option<String>> =
            sqlx::query_scalar(include_str!("../queries/uploads/begin_multipart.sql"))
                .bind(upload.id.to_string())
                .bind(&ours)
                .fetch_optional(self.pool())
                .await?;
        let kept = kept.flatten();
        if let Some(ours) = &ours
            && kept.as_ref() != Some(ours)
        {
            self.objects().abort(upload.key, ours).await?;
        }
        Ok(kept)
    }

    /// Where a missing part of an upload can be PUT past the API; `None` when it must pass through it.
    pub async fn part_address(&self, upload: &UploadRow, number: u32) -> Result<Option<PartAddress>> {
        Ok(self.objects().part_address(&upload.arriving(), number).await?)
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
        let Found { arriving, needless } = self.find_upload(upload, number).await?;
        let part = arriving.announced.part(number).ok_or_else(|| Error::Invalid {
            field: "number",
            reason: format!("the upload has {} parts", arriving.announced.parts()),
        })?;
        let expected = part.range.end - part.range.start;
        if length != expected {
            return Err(objects::Error::WrongLength { expected, received: length }.into());
        }
        if needless {
            return drain(bytes).await;
        }
        let claim = self.objects().claim_part(&arriving, part).await;
        // Asked again under the claim: who had it before us may have sent these very bytes.
        if self.find_upload(upload, number).await?.needless {
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

    async fn find_upload(&self, upload: UploadId, part: u32) -> Result<Found> {
        let row = sqlx::query(include_str!("../queries/uploads/get.sql"))
            .bind(upload.to_string())
            .bind(integer(part))
            .fetch_optional(self.pool())
            .await?
            .ok_or_else(|| Error::not_found("upload", upload))?;
        let arrived = row.try_get::<bool, _>("arrived")? && self.objects().rows_know_parts();
        Ok(Found { arriving: read_arriving(&row)?, needless: arrived || row.try_get("committed")? })
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
            let arriving = read_arriving(&row)?;
            let id: UploadId = row.text("id")?;
            let committed: bool = row.try_get("committed")?;
            let is_blob: bool = row.try_get("is_blob")?;
            // The upload of another hash, or of a blob that was forgotten since, is as good as unknown.
            if hashes.get(&id) == Some(&arriving.announced.sha256) && (is_blob || !committed) {
                let arrived = row.number64("parts")? == u64::from(arriving.announced.parts());
                candidates.push(Candidate { id, arriving, is_blob: committed && is_blob, arrived });
            }
        }
        Ok(candidates)
    }

    async fn verify(&self, candidate: Candidate) -> Result<Verdict> {
        let Candidate { id, arriving, is_blob, arrived } = candidate;
        if is_blob {
            return Ok(Verdict::IsBlob);
        }
        if !arrived && self.objects().rows_know_parts() {
            return Ok(Verdict::Refused(id));
        }
        match self.objects().complete(&arriving).await {
            Ok(Completed::Whole) => Ok(Verdict::Verified(id, arriving.announced.sha256)),
            Ok(Completed::Unfinished) => Ok(Verdict::Refused(id)),
            Ok(Completed::Damaged) | Err(objects::Error::Missing(_)) => {
                let discarded: Option<String> =
                    sqlx::query_scalar(include_str!("../queries/uploads/refuse.sql"))
                        .bind(id.to_string())
                        .fetch_optional(self.pool())
                        .await?;
                if discarded.is_some() {
                    self.delete_discarded(&[arriving.key]).await?;
                }
                Ok(Verdict::Refused(id))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn commit_verified(&self, account: AccountId, verified: &[(UploadId, Sha256)]) -> Result<()> {
        let ids: Vec<String> = verified.iter().map(|(id, _)| id.to_string()).collect();
        let mut transaction = self.begin().await?;
        let unneeded: Vec<String> = sqlx::query_scalar(guards::sql(
            &[&guards::UPLOAD_COMMITTED_ONCE],
            include_str!("../queries/uploads/commit.sql"),
        ))
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

fn read_arriving(row: &PgRow) -> Result<Arriving> {
    let announced = Announced {
        size_bytes: row.number64("size_bytes")?,
        part_bytes: row.number64("part_bytes")?,
        sha256: sha256(row.try_get("sha256")?)?,
    };
    let key = parsed("object key", row.try_get("object_key")?)?;
    Ok(Arriving { key, announced, multipart: row.try_get("multipart_id")? })
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
