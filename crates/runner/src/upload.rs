//! Brings outputs to the grid: only blobs that it lacks, part by part, and committed before the finish names them.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use rgrid_api::artifacts::Artifact;
use rgrid_api::blobs::{BlobName, BlobsWanted, CommitBlob, CommitBlobs, Part, Upload};
use rgrid_api::client::{AttemptRef, Client, ClientError};
use rgrid_api::error::ErrorCode;
use rgrid_core::limits;
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use crate::outputs::open_beneath;
use crate::retry;

/// Blobs that one question or commit may name.
const BLOBS_PER_CALL: usize = 1000;
/// Parts that are on their way at once.
const PARTS_AT_ONCE: usize = 4;
/// A part of this size or less is sent from memory.
const PART_IN_MEMORY_BYTES: u64 = 256 << 10;
/// A part, 16 MiB at most, arrives within this.
const PART_DEADLINE: Duration = Duration::from_secs(600);
/// Blobs that the grid refuses are sent again this often.
const ROUNDS: u32 = 3;
/// Addresses that are not good any more are asked for anew this often: the outputs of one attempt may take a day, and an
/// address of an object store is good for an hour.
const RENEWALS_MAX: u32 = 24;

/// Why outputs are not on the grid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    /// The grid refused, or stayed away.
    #[error("the outputs cannot be uploaded")]
    Client(#[from] ClientError),
    /// The workspace cannot be read.
    #[error("an output cannot be read")]
    Io(#[from] std::io::Error),
    /// The grid found other bytes than were announced, again and again.
    #[error("{blobs} outputs arrived damaged")]
    Damaged { blobs: usize },
}

/// Uploads the blobs of `artifacts` that the grid lacks, from the workspace at `root`.
pub(crate) async fn upload(
    client: &Client,
    attempt: &AttemptRef,
    root: &Path,
    artifacts: &[Artifact],
) -> Result<(), UploadError> {
    let paths: HashMap<&str, &Artifact> =
        artifacts.iter().filter_map(|artifact| Some((artifact.sha256.as_deref()?, artifact))).collect();
    let mut blobs: Vec<BlobName> = paths
        .iter()
        .map(|(sha256, artifact)| BlobName { sha256: (*sha256).to_owned(), size_bytes: artifact.size_bytes })
        .collect();
    blobs.sort_by(|a, b| a.sha256.cmp(&b.sha256));
    for page in blobs.chunks(BLOBS_PER_CALL) {
        page_of(client, attempt, root, &paths, page.to_vec()).await?;
    }
    Ok(())
}

async fn page_of(
    client: &Client,
    attempt: &AttemptRef,
    root: &Path,
    paths: &HashMap<&str, &Artifact>,
    blobs: Vec<BlobName>,
) -> Result<(), UploadError> {
    let wanted = BlobsWanted { blobs };
    let (mut rounds, mut renewals) = (0, 0);
    loop {
        let missing =
            retry::within(limits::UPLOAD_PATIENCE, || client.attempt_blobs_missing(attempt, &wanted))
                .await?
                .missing;
        if missing.is_empty() {
            return Ok(());
        }
        let mut sends = Vec::new();
        for upload in &missing {
            let artifact = paths.get(upload.sha256.as_str()).ok_or(UploadError::Damaged { blobs: 1 })?;
            for part in &upload.parts {
                sends.push(send(client, root, Path::new(&artifact.path), upload, part));
            }
        }
        match stream::iter(sends).buffer_unordered(PARTS_AT_ONCE).try_collect::<Vec<()>>().await {
            // What was sent before is not missing any more.
            Err(UploadError::Client(error)) if is_address_over(&error) && renewals < RENEWALS_MAX => {
                renewals += 1;
                tracing::info!(renewals, "the addresses of outputs are good no more: asking for others");
                continue;
            }
            sent => drop(sent?),
        }
        let commit = CommitBlobs {
            uploads: missing
                .into_iter()
                .map(|upload| CommitBlob { upload_id: upload.upload_id, sha256: upload.sha256 })
                .collect(),
        };
        let committed =
            retry::within(limits::UPLOAD_PATIENCE, || client.attempt_commit_blobs(attempt, &commit)).await?;
        let refused = committed.refused.len();
        if refused == 0 {
            return Ok(());
        }
        tracing::warn!(refused, "the grid asks for outputs again");
        rounds += 1;
        if rounds == ROUNDS {
            return Err(UploadError::Damaged { blobs: refused });
        }
    }
}

/// True when a signed address was refused: an object store says so in its own words, the grid in ours.
fn is_address_over(error: &ClientError) -> bool {
    match error {
        ClientError::NotAGrid { status, .. } => *status == 403,
        ClientError::Api(error) => error.code == ErrorCode::Forbidden,
        ClientError::Unreachable { .. } | ClientError::TooLargeOnTheWay { .. } => false,
    }
}

async fn send(
    client: &Client,
    root: &Path,
    inside: &Path,
    upload: &Upload,
    part: &Part,
) -> Result<(), UploadError> {
    let from = u64::from(part.number.saturating_sub(1)) * upload.part_bytes;
    let length = upload.part_bytes.min(upload.size_bytes.saturating_sub(from));
    // The file is opened anew for each part: thousands of them need not be open at once.
    let open = || -> std::io::Result<std::fs::File> {
        let mut file = open_beneath(root, inside)?;
        file.seek(SeekFrom::Start(from))?;
        Ok(file)
    };
    let mut in_memory = None;
    if length <= PART_IN_MEMORY_BYTES {
        let mut bytes = Vec::with_capacity(length as usize);
        open()?.take(length).read_to_end(&mut bytes)?;
        in_memory = Some(bytes::Bytes::from(bytes));
    }
    let call = || {
        let body = match &in_memory {
            Some(bytes) => Ok(reqwest::Body::from(bytes.clone())),
            None => open().map(|file| {
                reqwest::Body::wrap_stream(ReaderStream::new(tokio::fs::File::from_std(file).take(length)))
            }),
        };
        async move {
            // A file that could be opened before can be opened again; if not, an empty body is refused as damaged.
            let body = body.unwrap_or_default();
            match tokio::time::timeout(PART_DEADLINE, client.put_part(part, length, body)).await {
                Ok(result) => result,
                Err(_) => Err(ClientError::NotAGrid { url: client.url().to_owned(), status: 504 }),
            }
        }
    };
    Ok(retry::within(limits::UPLOAD_PATIENCE, call).await?)
}
