//! Sends the bytes that the grid does not have yet: part by part, several at once, and on from where it was cut.
//!
//! It goes in rounds: ask what is missing, send it, commit it. Whatever fails, an expired address, a broken
//! connection, a refused commit, is simply still missing in the next round.

use std::collections::{HashMap, VecDeque};
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rgrid_api::blobs::{BlobName, BlobsWanted, CommitBlob, CommitBlobs, Part, Upload};
use rgrid_api::client::{Client, ClientError, TRANSFER_SILENCE};
use rgrid_api::error::ErrorCode;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use crate::errors::{Doing, Error};
use crate::patience::{Again, Patience, UPLOAD_PATIENCE};
use crate::progress::Progress;
use crate::session::Connection;

/// Parts on their way at once.
const PARTS_AT_ONCE: usize = 4;
/// Bytes read from a file at a time: all that an upload holds in memory, for each part on its way.
const READ_BYTES: usize = 256 << 10;
/// The slowest line that is not called broken: a part must arrive in the time it takes at this many bytes a second.
const SLOWEST_BYTES_PER_SECOND: u64 = 32 << 10;
/// Uploads that one commit names, and blobs that one question names (the API's limit).
const BLOBS_AT_ONCE: usize = 1000;
/// Uploads are committed once this many wait: a cut then loses little.
const COMMIT_AT: usize = 200;
/// A blob whose bytes are refused this often changes while it is sent.
const REFUSALS_MAX: u32 = 2;

/// Where the bytes of a blob lie on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Local {
    pub path: PathBuf,
    pub size_bytes: u64,
    /// As it was when it was hashed: another time means other bytes.
    pub modified_ns: i64,
}

/// Sends all of `missing`; `locals` knows every blob by its hash.
pub(crate) async fn send(
    connection: &Connection,
    mut missing: Vec<Upload>,
    locals: &HashMap<String, Local>,
    progress: &Progress,
) -> Result<(), Error> {
    let total_bytes = missing.iter().map(|upload| upload.size_bytes).sum();
    // What an earlier command sent of them already.
    let resumed = |uploads: &[Upload]| total_bytes - uploads.iter().map(to_send).sum::<u64>();
    let mut patience = Patience::new(UPLOAD_PATIENCE);
    let mut refusals: HashMap<String, u32> = HashMap::new();
    progress.transfer("sending", total_bytes, resumed(&missing));
    loop {
        let before = missing.iter().map(to_send).sum::<u64>() + missing.len() as u64;
        let round = Round::new(connection.client(), locals, progress).run(&missing).await?;
        for sha256 in &round.refused {
            let times = refusals.entry(sha256.clone()).or_default();
            *times += 1;
            if *times > REFUSALS_MAX {
                let path = locals.get(sha256).map(|local| local.path.to_string_lossy().into_owned());
                return Err(Error::ChangedWhileSent { path: path.unwrap_or_default() });
            }
        }
        if missing.len() == round.committed {
            progress.clear();
            return Ok(());
        }
        let mut last = round.error;
        if let Some(error @ ClientError::TooLargeOnTheWay { .. }) = last {
            progress.clear();
            return Err(connection.failed(error));
        }
        loop {
            match ask(&connection.client(), &missing).await {
                Ok(still) => {
                    missing = still;
                    break;
                }
                // Room does not come by waiting: the person has to make it.
                Err(error) if !error.is_passing() || is_full(&error) => return Err(connection.failed(error)),
                Err(error) => last = Some(error),
            }
            if patience.failed().await == Again::GiveUp {
                return Err(cut(progress, total_bytes, last));
            }
        }
        if missing.is_empty() {
            progress.clear();
            return Ok(());
        }
        progress.transfer("sending", total_bytes, resumed(&missing));
        if missing.iter().map(to_send).sum::<u64>() + (missing.len() as u64) < before {
            patience.restored();
        } else if patience.failed().await == Again::GiveUp {
            return Err(cut(progress, total_bytes, last));
        }
    }
}

fn cut(progress: &Progress, total_bytes: u64, source: Option<ClientError>) -> Error {
    progress.clear();
    Error::UploadCut { sent_bytes: progress.done_bytes(), total_bytes, source: source.map(Box::new) }
}

fn is_full(error: &ClientError) -> bool {
    matches!(error, ClientError::Api(error) if error.code == ErrorCode::StoreFull)
}

/// Bytes of an upload that are not there.
fn to_send(upload: &Upload) -> u64 {
    upload.parts.iter().map(|part| range(upload, part).1).sum()
}

/// Where a part starts, and how long it is.
fn range(upload: &Upload, part: &Part) -> (u64, u64) {
    let start = u64::from(part.number.saturating_sub(1)) * upload.part_bytes;
    (start, upload.part_bytes.min(upload.size_bytes.saturating_sub(start)))
}

/// Which of `uploads` are still missing, with fresh addresses.
async fn ask(client: &Client, uploads: &[Upload]) -> Result<Vec<Upload>, ClientError> {
    let mut missing = Vec::new();
    for some in uploads.chunks(BLOBS_AT_ONCE) {
        let blobs = some
            .iter()
            .map(|upload| BlobName { sha256: upload.sha256.clone(), size_bytes: upload.size_bytes })
            .collect();
        missing.extend(client.blobs_missing(&BlobsWanted { blobs }).await?.missing);
    }
    Ok(missing)
}

/// One round over what is missing.
struct Round<'a> {
    client: Client,
    locals: &'a HashMap<String, Local>,
    progress: &'a Progress,
    committed: usize,
    refused: Vec<String>,
    error: Option<ClientError>,
}

impl<'a> Round<'a> {
    fn new(client: Client, locals: &'a HashMap<String, Local>, progress: &'a Progress) -> Self {
        Self { client, locals, progress, committed: 0, refused: Vec::new(), error: None }
    }

    async fn run(mut self, uploads: &[Upload]) -> Result<Self, Error> {
        let mut parts: VecDeque<(usize, &Part)> = VecDeque::new();
        let mut left: Vec<usize> = uploads.iter().map(|upload| upload.parts.len()).collect();
        let mut whole: Vec<&Upload> = Vec::new();
        for (index, upload) in uploads.iter().enumerate() {
            self.check_unchanged(upload)?;
            parts.extend(upload.parts.iter().map(|part| (index, part)));
            if upload.parts.is_empty() {
                whole.push(upload);
            }
        }
        let mut on_their_way = FuturesUnordered::new();
        loop {
            while on_their_way.len() < PARTS_AT_ONCE
                && self.error.is_none()
                && let Some((index, part)) = parts.pop_front()
            {
                let (upload, client, progress) = (&uploads[index], self.client.clone(), self.progress);
                let local = self.local(upload)?;
                on_their_way.push(async move { (index, put(&client, local, upload, part, progress).await) });
            }
            let Some((index, sent)) = on_their_way.next().await else { break };
            match sent {
                Ok(()) => {
                    left[index] -= 1;
                    if left[index] == 0 {
                        whole.push(&uploads[index]);
                    }
                }
                Err(PutError::Grid(error)) => self.error = Some(error),
                Err(PutError::File(error)) => return Err(error),
            }
            if whole.len() >= COMMIT_AT {
                self.commit(std::mem::take(&mut whole)).await;
            }
        }
        self.commit(whole).await;
        Ok(self)
    }

    fn local(&self, upload: &Upload) -> Result<&'a Local, Error> {
        // The grid asks for a blob that no input has: it, and not the person, is wrong.
        self.locals.get(&upload.sha256).ok_or_else(|| {
            Error::grid(
                self.client.url(),
                ClientError::NotAGrid { url: self.client.url().to_owned(), status: 200 },
            )
        })
    }

    fn check_unchanged(&self, upload: &Upload) -> Result<(), Error> {
        let local = self.local(upload)?;
        let found = std::fs::metadata(&local.path).map_err(|source| Error::File {
            doing: Doing::Read,
            path: local.path.clone(),
            source,
        })?;
        if found.len() == local.size_bytes && modified_ns(&found) == local.modified_ns {
            return Ok(());
        }
        Err(Error::ChangedWhileSent { path: local.path.to_string_lossy().into_owned() })
    }

    async fn commit(&mut self, whole: Vec<&Upload>) {
        for some in whole.chunks(BLOBS_AT_ONCE) {
            let uploads: Vec<_> = some
                .iter()
                .map(|upload| CommitBlob {
                    upload_id: upload.upload_id.clone(),
                    sha256: upload.sha256.clone(),
                })
                .collect();
            match self.client.commit_blobs(&CommitBlobs { uploads }).await {
                Ok(answer) => {
                    self.committed += some.len() - answer.refused.len().min(some.len());
                    let by_id = |id: &String| {
                        some.iter().find(|upload| upload.upload_id == *id || upload.sha256 == *id)
                    };
                    self.refused
                        .extend(answer.refused.iter().filter_map(by_id).map(|upload| upload.sha256.clone()));
                }
                Err(error) => self.error = Some(error),
            }
        }
    }
}

/// When a file was last changed, in nanoseconds of Unix time.
pub(crate) fn modified_ns(found: &std::fs::Metadata) -> i64 {
    use std::os::unix::fs::MetadataExt;
    found.mtime().saturating_mul(1_000_000_000).saturating_add(found.mtime_nsec())
}

/// Why a part was not sent.
enum PutError {
    Grid(ClientError),
    File(Error),
}

async fn put(
    client: &Client,
    local: &Local,
    upload: &Upload,
    part: &Part,
    progress: &Progress,
) -> Result<(), PutError> {
    let failed =
        |source| PutError::File(Error::File { doing: Doing::Read, path: local.path.clone(), source });
    let (start, length) = range(upload, part);
    let mut file = tokio::fs::File::open(&local.path).await.map_err(failed)?;
    file.seek(SeekFrom::Start(start)).await.map_err(failed)?;
    let meter = progress.clone();
    let bytes = ReaderStream::with_capacity(file.take(length), READ_BYTES).inspect(move |read| {
        if let Ok(bytes) = read {
            meter.advance(bytes.len() as u64);
        }
    });
    let deadline = TRANSFER_SILENCE + Duration::from_secs(length / SLOWEST_BYTES_PER_SECOND);
    let put = client.put_part(part, length, reqwest::Body::wrap_stream(bytes));
    match tokio::time::timeout(deadline, put).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(PutError::Grid(error)),
        Err(_) => Err(PutError::Grid(ClientError::NotAGrid { url: client.url().to_owned(), status: 504 })),
    }
}

/// The blobs of a manifest by their hash.
pub(crate) fn locals<'a>(
    inputs: impl IntoIterator<Item = &'a rgrid_core::submission::Input>,
) -> HashMap<String, Local> {
    use rgrid_core::submission::InputKind;
    inputs
        .into_iter()
        .filter_map(|input| match &input.kind {
            InputKind::File { sha256, size_bytes, modified_ns, .. } => Some((
                sha256.to_string(),
                Local {
                    path: Path::new(input.path.as_str()).to_owned(),
                    size_bytes: *size_bytes,
                    modified_ns: *modified_ns,
                },
            )),
            InputKind::Folder | InputKind::Symlink { .. } => None,
        })
        .collect()
}
