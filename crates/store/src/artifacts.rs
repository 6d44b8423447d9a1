//! Artifacts: the named files of an execution. Inputs are written with the submission, outputs with the finish.

use std::fmt;
use std::str::FromStr;

use rgrid_core::id::{AccountId, ExecutionId};
use rgrid_core::limits;
use rgrid_core::path::AbsolutePath;
use rgrid_core::submission::Sha256;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::row::{self, Columns};
use crate::{Error, Result, Store};

/// What an artifact is to its execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArtifactKind {
    /// It was sent.
    Input,
    /// The script wrote it.
    Output,
    /// A part of its log that moved to the object store.
    Log,
}

impl ArtifactKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Input, Self::Output, Self::Log];

    /// The one spelling: in rows and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::Log => "log",
        }
    }
}

impl fmt::Display for ArtifactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ArtifactKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not the kind of an artifact"))
    }
}

/// One named file of an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRow {
    /// What it is to its execution.
    pub kind: ArtifactKind,
    /// Where it lies on the user's machine.
    pub path: AbsolutePath,
    /// Hash of its bytes; `None` for a folder or a link.
    pub sha256: Option<Sha256>,
    /// Its size.
    pub size_bytes: u64,
    /// Its permission bits.
    pub mode: u32,
    /// When it was last changed, in nanoseconds of Unix time.
    pub modified_ns: i64,
    /// True for a folder.
    pub folder: bool,
    /// What a symbolic link says.
    pub target: Option<String>,
}

impl ArtifactRow {
    fn read(row: &PgRow) -> Result<Self> {
        let sha256: Option<&[u8]> = row.try_get("sha256")?;
        Ok(Self {
            kind: row.text("kind")?,
            path: row.text("path")?,
            sha256: sha256.map(row::sha256).transpose()?,
            size_bytes: row.number64("size_bytes")?,
            mode: row.number32("mode")?,
            modified_ns: row.try_get("modified_ns")?,
            folder: row.try_get::<&str, _>("entry")? == "folder",
            target: row.try_get("target")?,
        })
    }
}

impl Store {
    /// Named files ordered by kind and path, after the cursor (kind and path of the last one seen): at most a page and
    /// one more, which tells that there is a next page.
    pub async fn artifacts(
        &self,
        account: AccountId,
        id: ExecutionId,
        kind: Option<ArtifactKind>,
        cursor: Option<(ArtifactKind, AbsolutePath)>,
        limit: u32,
    ) -> Result<Vec<ArtifactRow>> {
        let (after_kind, after_path) = cursor.unzip();
        let rows = sqlx::query(include_str!("../queries/artifacts/list.sql"))
            .bind(account.to_string())
            .bind(id.to_string())
            .bind(kind.map(ArtifactKind::as_str))
            .bind(after_kind.map(ArtifactKind::as_str))
            .bind(after_path.as_ref().map(AbsolutePath::as_str))
            .bind(i64::from(limit.clamp(1, limits::PAGE_ITEMS_MAX + 1)))
            .fetch_all(self.pool())
            .await?;
        rows.iter().map(ArtifactRow::read).collect()
    }

    /// The blob that lies at `path`: what the script wrote there, else what was sent.
    pub async fn artifact_blob(
        &self,
        account: AccountId,
        id: ExecutionId,
        path: &AbsolutePath,
    ) -> Result<Sha256> {
        let hash: Option<Vec<u8>> = sqlx::query_scalar(include_str!("../queries/artifacts/bytes_of.sql"))
            .bind(id.to_string())
            .bind(account.to_string())
            .bind(path.as_str())
            .fetch_optional(self.pool())
            .await?;
        row::sha256(&hash.ok_or_else(|| Error::not_found("file of this execution", path))?)
    }
}
