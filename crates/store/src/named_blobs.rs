//! Blobs that a submission or a set of outputs names: which are here, held against garbage collection while that is
//! being written, and remembered as used.

use std::collections::BTreeMap;

use rgrid_core::id::AccountId;
use rgrid_core::submission::Sha256;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use crate::executions::BlobName;
use crate::row::{self, Columns};
use crate::{Error, Result, Store, guards};

/// Reads a blob's name.
pub(crate) fn read_blob(row: &PgRow) -> Result<BlobName> {
    Ok(BlobName { sha256: row::sha256(row.try_get("sha256")?)?, size_bytes: row.number64("size_bytes")? })
}

/// Which of some named blobs are here, locked against garbage collection until the transaction ends.
pub(crate) struct BlobsHere {
    sizes: BTreeMap<Sha256, u64>,
    /// Those whose last use is not remembered well enough.
    stale: Vec<Vec<u8>>,
}

impl BlobsHere {
    /// Those of `named` that are not here. One that is here with another size was announced wrongly.
    pub(crate) fn missing(&self, named: &[BlobName]) -> Result<Vec<BlobName>> {
        let mut missing = Vec::new();
        for blob in named {
            match self.sizes.get(&blob.sha256) {
                None => missing.push(*blob),
                Some(size_bytes) if *size_bytes == blob.size_bytes => {}
                Some(size_bytes) => {
                    let reason = format!("{} has {size_bytes} bytes, not {}", blob.sha256, blob.size_bytes);
                    return Err(Error::Invalid { field: "size_bytes", reason });
                }
            }
        }
        Ok(missing)
    }
}

/// Reads and locks those of `named` that are here.
pub(crate) async fn blobs_here(
    connection: &mut PgConnection,
    account: AccountId,
    named: &[BlobName],
) -> Result<BlobsHere> {
    let mut here = BlobsHere { sizes: BTreeMap::new(), stale: Vec::new() };
    if named.is_empty() {
        return Ok(here);
    }
    let rows =
        sqlx::query(guards::sql(&[&guards::BLOB_HELD], include_str!("../queries/executions/blobs_here.sql")))
            .bind(account.to_string())
            .bind(named.iter().map(|blob| blob.sha256.0.to_vec()).collect::<Vec<_>>())
            .fetch_all(connection)
            .await?;
    for row in &rows {
        let blob = read_blob(row)?;
        here.sizes.insert(blob.sha256, blob.size_bytes);
        if row.try_get("stale")? {
            here.stale.push(blob.sha256.0.to_vec());
        }
    }
    Ok(here)
}

impl Store {
    /// Remembers the use of blobs. A use that is not remembered makes nothing wrong: what is referenced is kept.
    pub(crate) async fn touch_blobs(&self, account: AccountId, here: &BlobsHere) {
        if here.stale.is_empty() {
            return;
        }
        let touched = sqlx::query(include_str!("../queries/executions/touch_blobs.sql"))
            .bind(account.to_string())
            .bind(&here.stale)
            .execute(self.pool())
            .await;
        if let Err(error) = touched {
            tracing::warn!(%error, "the use of blobs could not be remembered");
        }
    }
}
