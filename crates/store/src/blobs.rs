//! Blobs: bytes addressed by their SHA-256, scoped to an account. How they arrive is in `uploads.rs`, how they go in
//! `retention.rs`.
//!
//! Whoever writes a row that names a blob locks the blob's row for key share first (`named_blobs.rs`): garbage
//! collection passes over the blob, or the writer learns that it is missing.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use rgrid_core::id::AccountId;
use rgrid_core::submission::Sha256;
use sha2::Digest;
use sqlx::Row;
use sqlx::postgres::types::PgInterval;

pub use crate::executions::BlobName;
use crate::objects::{self, ObjectKey, ObjectReader};
use crate::row::{Columns, parsed};
use crate::{Error, Result, Store, guards};

/// A blob's use is noted when the last note is older than this: more often, all users of one script would wait for
/// each other.
pub const TOUCH_PERIOD: Duration = Duration::from_secs(3600);
/// A damaged blob is read again to make sure, for at most this long.
const VERIFY_DEADLINE: Duration = Duration::from_secs(15 * 60);

/// Names by hash; the same hash with two sizes is refused.
pub(crate) fn distinct(names: &[BlobName]) -> Result<BTreeMap<Sha256, u64>> {
    let mut sizes = BTreeMap::new();
    for name in names {
        if sizes.insert(name.sha256, name.size_bytes).is_some_and(|size| size != name.size_bytes) {
            return Err(two_sizes(name.sha256));
        }
    }
    Ok(sizes)
}

fn two_sizes(sha256: Sha256) -> Error {
    Error::Invalid { field: "size_bytes", reason: format!("blob {sha256} has another size") }
}

pub(crate) fn interval(duration: Duration) -> PgInterval {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}

/// A blob that is being read. The reader checks the hash of what it reads; see [`Store::blob_damaged`].
#[derive(Debug)]
pub struct BlobReader {
    object: ObjectReader,
    /// Size of the whole blob.
    pub size_bytes: u64,
}

impl BlobReader {
    /// The next piece; `None` at the end of the range.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        Ok(self.object.next().await?)
    }

    /// The pieces as a stream.
    pub fn into_stream(
        self,
    ) -> impl Stream<Item = std::result::Result<Bytes, objects::Error>> + Send + 'static {
        self.object.into_stream()
    }
}

impl Store {
    /// Opens a blob, or a range of it that is cut to what is there. One whose object is gone, or has another size, is
    /// forgotten and `Error::Corrupt`: its next upload repairs it.
    pub async fn open_blob(
        &self,
        account: AccountId,
        sha256: Sha256,
        range: Option<Range<u64>>,
    ) -> Result<BlobReader> {
        let (key, size_bytes, stale) = self.find_blob(account, sha256).await?;
        let object = match self.objects().get(key, range).await {
            Ok(object) if object.object_bytes() == size_bytes => object,
            Ok(object) => {
                self.drop_blob(account, sha256, key).await?;
                let reason = format!("{sha256} has {} bytes instead of {size_bytes}", object.object_bytes());
                return Err(Error::corrupt("blob", reason));
            }
            Err(objects::Error::Missing(_)) => {
                self.drop_blob(account, sha256, key).await?;
                return Err(Error::corrupt("blob", format!("the object of {sha256} is gone")));
            }
            Err(error) => return Err(error.into()),
        };
        if stale {
            self.remember_use(account, vec![sha256.0.to_vec()]).await?;
        }
        Ok(BlobReader { object, size_bytes })
    }

    /// Where a blob can be fetched past the API; `None` when it must pass through it. One whose object is gone, or has
    /// another size, is forgotten and `Error::Corrupt`.
    pub async fn blob_address(&self, account: AccountId, sha256: Sha256) -> Result<Option<String>> {
        if !self.objects().is_public() {
            return Ok(None);
        }
        self.open_blob(account, sha256, Some(0..0)).await?;
        let (key, _, _) = self.find_blob(account, sha256).await?;
        Ok(self.objects().get_address(key).await?)
    }

    /// A reader found another hash than it asked for. The blob is read again, since a reader may err or lie; true when
    /// it is damaged, and forgotten: its next upload repairs it.
    pub async fn blob_damaged(&self, account: AccountId, sha256: Sha256) -> Result<bool> {
        let (key, _, _) = match self.find_blob(account, sha256).await {
            Err(Error::NotFound { .. }) => return Ok(true),
            found => found?,
        };
        let verified = tokio::time::timeout(VERIFY_DEADLINE, self.object_hash(key)).await;
        match verified.unwrap_or(Err(objects::Error::Busy)) {
            Ok(hash) if hash == sha256 => Ok(false),
            Ok(_) | Err(objects::Error::Missing(_)) => {
                self.drop_blob(account, sha256, key).await?;
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn object_hash(&self, key: ObjectKey) -> std::result::Result<Sha256, objects::Error> {
        let mut reader = self.objects().get(key, None).await?;
        let mut state = sha2::Sha256::new();
        while let Some(piece) = reader.next().await? {
            state.update(&piece);
        }
        Ok(Sha256(state.finalize().into()))
    }

    async fn find_blob(&self, account: AccountId, sha256: Sha256) -> Result<(ObjectKey, u64, bool)> {
        let row =
            sqlx::query(guards::sql(&[&guards::ACCOUNT_BLOBS], include_str!("../queries/blobs/get.sql")))
                .bind(account.to_string())
                .bind(sha256.0.as_slice())
                .bind(interval(TOUCH_PERIOD))
                .fetch_optional(self.pool())
                .await?
                .ok_or_else(|| Error::not_found("blob", sha256))?;
        Ok((
            parsed("object key", row.try_get("object_key")?)?,
            row.number64("size_bytes")?,
            row.try_get("stale")?,
        ))
    }

    async fn drop_blob(&self, account: AccountId, sha256: Sha256, key: ObjectKey) -> Result<()> {
        tracing::error!(%account, %sha256, object_key = %key, "a blob is damaged and was forgotten");
        sqlx::query(include_str!("../queries/blobs/drop.sql"))
            .bind(account.to_string())
            .bind(sha256.0.as_slice())
            .bind(key.to_string())
            .execute(self.pool())
            .await?;
        Ok(())
    }

    /// Says that blobs were used.
    pub(crate) async fn remember_use(&self, account: AccountId, hashes: Vec<Vec<u8>>) -> Result<()> {
        sqlx::query(include_str!("../queries/blobs/touch.sql"))
            .bind(account.to_string())
            .bind(hashes)
            .bind(interval(TOUCH_PERIOD))
            .execute(self.pool())
            .await?;
        Ok(())
    }

    /// Deletes objects that are on the list of those to be deleted. What fails is tried again by the garbage
    /// collection. Answers how many are gone.
    pub(crate) async fn delete_discarded(&self, keys: &[ObjectKey]) -> Result<u64> {
        let (mut gone, mut stay) = (Vec::new(), Vec::new());
        let uploads =
            if self.objects().rows_know_parts() { HashMap::new() } else { self.open_parts(keys).await? };
        for key in keys {
            let deleted = async {
                if let Some(multipart) = uploads.get(&key.to_string()) {
                    self.objects().abort(*key, multipart).await?;
                }
                self.objects().delete(*key).await
            };
            match deleted.await {
                Ok(()) => gone.push(key.to_string()),
                Err(error) => {
                    tracing::warn!(object_key = %key, %error, "an object could not be deleted");
                    stay.push(key.to_string());
                }
            }
        }
        sqlx::query(include_str!("../queries/blobs/object_gone.sql"))
            .bind(&gone)
            .execute(self.pool())
            .await?;
        if !stay.is_empty() {
            sqlx::query(include_str!("../queries/blobs/object_stays.sql"))
                .bind(stay)
                .execute(self.pool())
                .await?;
        }
        Ok(gone.len() as u64)
    }

    /// The store's own ids of uploads in parts, by key, of objects that are to be deleted.
    async fn open_parts(&self, keys: &[ObjectKey]) -> Result<HashMap<String, String>> {
        let rows = sqlx::query(include_str!("../queries/blobs/discarded_uploads.sql"))
            .bind(keys.iter().map(ObjectKey::to_string).collect::<Vec<_>>())
            .fetch_all(self.pool())
            .await?;
        rows.iter().map(|row| Ok((row.try_get("object_key")?, row.try_get("multipart_id")?))).collect()
    }
}
