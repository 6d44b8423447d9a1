//! One file of an execution, by its path. Lists of them are in `attempts.rs`.

use rgrid_core::id::{AccountId, ExecutionId};
use rgrid_core::path::AbsolutePath;
use rgrid_core::submission::Sha256;

use crate::row::sha256;
use crate::{Error, Result, Store};

impl Store {
    /// The blob that lies at `path`: what the script wrote there, else what was sent.
    pub async fn artifact_blob(&self, account: AccountId, id: ExecutionId, path: &AbsolutePath) -> Result<Sha256> {
        let hash: Option<Vec<u8>> = sqlx::query_scalar(include_str!("../queries/artifacts/bytes_of.sql"))
            .bind(id.to_string())
            .bind(account.to_string())
            .bind(path.as_str())
            .fetch_optional(self.pool())
            .await?;
        hash.map(|hash| sha256(&hash)).transpose()?.ok_or_else(|| Error::not_found("file of this execution", path))
    }
}
