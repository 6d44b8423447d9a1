//! Blobs on their way in: what is missing, where its parts go, and the commit that makes it one.
//!
//! Both stores look alike: a part is PUT to a URL that needs no key (it is signed), and the commit checks it. Parts that already arrived are not asked for again, so an interrupted upload goes on where it was cut.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A blob that is to be uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Upload {
    /// Hash of the whole.
    pub sha256: String,
    /// Size of the whole.
    pub size_bytes: u64,
    /// `upload_...`; the commit names it.
    pub upload_id: String,
    /// Size of every part but the last.
    pub part_bytes: u64,
    /// The parts that are still missing.
    pub parts: Vec<Part>,
}

/// One part of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Part {
    /// 1, 2, ...; part n starts at byte (n - 1) * part_bytes.
    pub number: u32,
    /// Where to PUT it: absolute, or a path on the API.
    pub url: String,
    /// Headers that the PUT must carry; they are signed too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// The body of `POST /blobs/missing`, and of `POST /attempts/{execution}/{attempt}/blobs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlobsWanted {
    /// At most 1,000.
    #[schema(max_items = 1000)]
    pub blobs: Vec<BlobName>,
}

/// A blob by its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlobName {
    /// Lower-case hexadecimal.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub sha256: String,
    /// Its size.
    pub size_bytes: u64,
}

/// The answer: what must be uploaded. A blob that is not named is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlobsMissing {
    /// One entry per missing blob.
    pub missing: Vec<Upload>,
}

/// The body of `POST /blobs/commit`, and of `POST /attempts/{execution}/{attempt}/blobs/commit`. All or nothing
/// is not promised: those named before one that fails are committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CommitBlobs {
    /// At most 1,000.
    #[schema(max_items = 1000)]
    pub uploads: Vec<CommitBlob>,
}

/// One upload whose parts have all been sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CommitBlob {
    /// The upload.
    pub upload_id: String,
    /// Hash of the whole.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub sha256: String,
}

/// The answer to a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Committed {
    /// Those whose bytes were not what was announced, or did not all arrive: to be asked for and sent again.
    pub refused: Vec<String>,
}
