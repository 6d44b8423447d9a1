//! The named files of an execution.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an artifact is to its execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    /// It was sent.
    Input,
    /// The script wrote it.
    Output,
    /// A part of its log that moved to the object store.
    Log,
}

/// One named file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Artifact {
    /// What it is to its execution.
    pub kind: ArtifactKind,
    /// Its absolute path on the user's machine.
    #[schema(pattern = "^/", max_length = 4095)]
    pub path: String,
    /// Hash of its bytes; absent for a folder or a link.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub sha256: Option<String>,
    /// Its size.
    pub size_bytes: u64,
    /// Its permission bits.
    #[schema(maximum = 4095)]
    pub mode: u32,
    /// When it was last changed, in nanoseconds of Unix time.
    pub modified_ns: i64,
    /// True for an empty folder.
    pub folder: bool,
    /// Where to GET its bytes without a key, for some minutes: absolute, or a path on the API.
    pub url: Option<String>,
}

/// The answer to `GET /executions/{id}/artifacts`, ordered by path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactPage {
    /// The page.
    pub artifacts: Vec<Artifact>,
    /// Pass it as `cursor` to read on.
    pub next: Option<String>,
}

/// The query of `GET /executions/{id}/artifacts`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListArtifacts {
    /// Only this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<ArtifactKind>,
    /// Where the page before ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Items, 1 to 1000; absent: 1000.
    #[param(minimum = 1, maximum = 1000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}
