//! The bytes of one file: fetched, hashed while they are written aside, and renamed when they are whole.
//!
//! What was written aside survives a cut, and the next try goes on behind it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rgrid_api::artifacts::Artifact;
use rgrid_api::client::{ClientError, TRANSFER_SILENCE};
use sha2::{Digest, Sha256};

use crate::download::conflict::hex;
use crate::errors::{Doing, Error};
use crate::patience::{Again, DOWNLOAD_PATIENCE, Patience};
use crate::progress::Progress;
use crate::session::Connection;

/// Bytes that were received and are not written yet: chunks of some kilobytes each.
const CHUNKS_WAITING_MAX: usize = 64;
/// A file up to this size is written without a thread of its own.
const SMALL_BYTES: u64 = 256 << 10;

/// Brings the bytes of `artifact` to `path`.
pub(crate) async fn fetch(
    connection: &Connection,
    id: &str,
    artifact: &Artifact,
    sha256: &str,
    path: &Path,
    progress: &Progress,
) -> Result<(), Error> {
    let failed = |source| Error::File { doing: Doing::Write, path: path.to_owned(), source };
    let cut = |source: Option<ClientError>| Error::DownloadCut {
        id: id.to_owned(),
        path: path.to_string_lossy().into_owned(),
        source: source.map(Box::new),
    };
    let aside = aside(path, sha256);
    let mut part = Part::open(&aside, artifact.size_bytes).map_err(failed)?;
    progress.advance(part.len);
    let mut patience = Patience::new(DOWNLOAD_PATIENCE);
    let mut url = artifact.url.clone();
    while part.len < artifact.size_bytes {
        let before = part.len;
        let Some(address) = url.clone() else { return Err(cut(None)) };
        let error = match receive(connection, &address, &mut part, artifact.size_bytes, progress).await {
            Ok(()) => None,
            Err(ReceiveError::File(source)) => {
                // What is aside takes room that the person needs to go on.
                let _ = std::fs::remove_file(&aside);
                return Err(failed(source));
            }
            Err(ReceiveError::Grid(error)) => Some(error),
        };
        if part.len == artifact.size_bytes {
            break;
        }
        if part.len > before {
            patience.restored();
        }
        if patience.failed().await == Again::GiveUp {
            return Err(cut(error));
        }
        // The address may have expired meanwhile.
        if !matches!(error, None | Some(ClientError::Unreachable { .. })) {
            url = renewed(connection, id, artifact).await.or(url);
        }
    }
    if hex(&part.hasher.finalize()) != sha256 {
        let _ = std::fs::remove_file(&aside);
        return Err(Error::Damaged { id: id.to_owned(), path: path.to_string_lossy().into_owned() });
    }
    finish(&aside, artifact).and_then(|()| std::fs::rename(&aside, path)).map_err(failed)
}

/// Gives a file the mode and the time that the script gave it.
pub(crate) fn finish(path: &Path, artifact: &Artifact) -> io::Result<()> {
    let file = File::options().read(true).open(path)?;
    file.set_permissions(PermissionsExt::from_mode(artifact.mode & 0o777))?;
    let since = Duration::from_nanos(artifact.modified_ns.unsigned_abs());
    let modified = if artifact.modified_ns < 0 {
        SystemTime::UNIX_EPOCH - since
    } else {
        SystemTime::UNIX_EPOCH + since
    };
    file.set_modified(modified)
}

/// Where a file is written before it is whole: beside its place, so that a rename suffices, and named by its hash, so
/// that only the same bytes go on there.
fn aside(path: &Path, sha256: &str) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // A name may have 255 bytes.
    let name: String = name.chars().take(48).collect();
    path.with_file_name(format!(".{name}.{}.rgrid-part", sha256.get(..16).unwrap_or(sha256)))
}

async fn renewed(connection: &Connection, id: &str, artifact: &Artifact) -> Option<String> {
    let all = super::list(connection, id, artifact.kind).await.ok()?;
    all.into_iter().find(|other| other.path == artifact.path)?.url
}

/// A file that is not whole yet.
struct Part {
    file: File,
    hasher: Sha256,
    len: u64,
}

impl Part {
    /// Opens what an earlier try left, or starts anew.
    fn open(path: &Path, whole_bytes: u64) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = {
            use std::os::unix::fs::OpenOptionsExt;
            // Nobody may lay a link there for us to write through.
            options.mode(0o600).custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits()).open(path)?
        };
        let mut part = Self { file: file.try_clone()?, hasher: Sha256::new(), len: 0 };
        if file.metadata()?.len() > whole_bytes {
            file.set_len(0)?;
        }
        let mut buffer = vec![0; 64 << 10];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => {
                    part.hasher.update(&buffer[..n]);
                    part.len += n as u64;
                }
            }
        }
        part.file.seek(SeekFrom::Start(part.len))?;
        Ok(part)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }
}

enum ReceiveError {
    Grid(ClientError),
    File(io::Error),
}

/// Receives until the file is whole or the connection breaks; what came is in `part` either way.
async fn receive(
    connection: &Connection,
    url: &str,
    part: &mut Part,
    whole_bytes: u64,
    progress: &Progress,
) -> Result<(), ReceiveError> {
    let client = connection.client();
    let silence = || ReceiveError::Grid(ClientError::NotAGrid { url: client.url().to_owned(), status: 504 });
    let too_long = || ReceiveError::Grid(ClientError::NotAGrid { url: client.url().to_owned(), status: 200 });
    let response = tokio::time::timeout(TRANSFER_SILENCE, client.get_blob(url, part.len)).await;
    let mut response = response.map_err(|_| silence())?.map_err(ReceiveError::Grid)?;
    let broken = |source| {
        ReceiveError::Grid(ClientError::Unreachable {
            url: client.url().to_owned(),
            source: reqwest::Error::without_url(source),
        })
    };
    let left = whole_bytes - part.len;
    if left <= SMALL_BYTES {
        while let Some(bytes) = tokio::time::timeout(TRANSFER_SILENCE, response.chunk())
            .await
            .map_err(|_| silence())?
            .map_err(broken)?
        {
            if part.len + bytes.len() as u64 > whole_bytes {
                return Err(too_long());
            }
            part.append(&bytes).map_err(ReceiveError::File)?;
            progress.advance(bytes.len() as u64);
        }
        return Ok(());
    }
    // Hashing and writing have a thread of their own, beside the one that receives.
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<bytes::Bytes>(CHUNKS_WAITING_MAX);
    let mut writing = Part {
        file: part.file.try_clone().map_err(ReceiveError::File)?,
        hasher: part.hasher.clone(),
        len: part.len,
    };
    let writer = tokio::task::spawn_blocking(move || {
        let mut result = Ok(());
        while let Some(bytes) = receiver.blocking_recv() {
            result = writing.append(&bytes);
            if result.is_err() {
                break;
            }
        }
        (writing, result)
    });
    let received = async {
        let mut announced = 0;
        while let Some(bytes) = tokio::time::timeout(TRANSFER_SILENCE, response.chunk())
            .await
            .map_err(|_| silence())?
            .map_err(broken)?
        {
            announced += bytes.len() as u64;
            if announced > left {
                return Err(too_long());
            }
            progress.advance(bytes.len() as u64);
            if sender.send(bytes).await.is_err() {
                // The writer stopped, and tells why.
                break;
            }
        }
        Ok(())
    }
    .await;
    drop(sender);
    let (written, result) = writer.await.expect("the writer neither panics nor is aborted");
    *part = written;
    result.map_err(ReceiveError::File)?;
    received
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_aside_lies_beside_its_place_and_goes_on_where_it_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let aside = aside(&folder.path().join("a.csv"), &"ab".repeat(32));
        assert_eq!(aside, folder.path().join(".a.csv.abababababababab.rgrid-part"));
        let mut part = Part::open(&aside, 10).unwrap();
        part.append(b"hello").unwrap();
        drop(part);
        let mut part = Part::open(&aside, 10).unwrap();
        assert_eq!(part.len, 5);
        part.append(b"world").unwrap();
        assert_eq!(hex(&part.hasher.finalize()), hex(&Sha256::digest("helloworld")));
        assert_eq!(std::fs::read(&aside).unwrap(), b"helloworld");
        assert_eq!(Part::open(&aside, 3).unwrap().len, 0);
    }

    #[test]
    fn a_link_in_the_place_of_what_is_written_aside_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let aside = folder.path().join("x.rgrid-part");
        std::os::unix::fs::symlink(folder.path().join("target"), &aside).unwrap();
        assert!(Part::open(&aside, 1).is_err());
        assert!(!folder.path().join("target").exists());
    }
}
