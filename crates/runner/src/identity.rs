//! Who this worker is: joined once with a token, then known by a credential of its own, kept in the data folder.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use rgrid_api::client::Client;
use rgrid_api::workers::{Join, Joined};
use rgrid_core::limits;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, JoinSource, retry};

/// No join token is longer than this.
const TOKEN_BYTES_MAX: u64 = 4096;
/// Random bytes of a nonce.
const NONCE_BYTES: usize = 16;

/// Holds the data folder for this process: two runners with one identity would end each other's attempts.
pub(crate) struct FolderLock(#[expect(dead_code, reason = "held for its Drop")] Flock<File>);

/// Takes the data folder, and makes it if need be.
pub(crate) fn lock(data_folder: &Path) -> Result<FolderLock, Error> {
    let failed = |source| Error::Folder { path: data_folder.to_owned(), source };
    fs::create_dir_all(data_folder).map_err(failed)?;
    let path = data_folder.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(FolderLock(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(Error::FolderInUse { path: data_folder.to_owned() }),
        Err((_, errno)) => Err(failed(errno.into())),
    }
}

/// What the identity file holds. The nonce is written before the join, so that a join whose answer was lost can be
/// repeated; the credential after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    api_url: String,
    /// Hash of the token it joined, or means to join, with. The token itself is single-use and not kept.
    token_sha256: Option<String>,
    nonce: String,
    worker_id: Option<String>,
    credential: Option<String>,
}

/// A worker that the grid knows.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) worker_id: String,
    pub(crate) credential: String,
}

pub(crate) fn path(data_folder: &Path) -> PathBuf {
    data_folder.join("identity.json")
}

fn read(data_folder: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(path(data_folder)).ok()?).ok()
}

fn write(data_folder: &Path, record: &Record) -> Result<(), Error> {
    let target = path(data_folder);
    let aside = target.with_extension("new");
    let failed = |source| Error::Folder { path: target.clone(), source };
    let body = serde_json::to_vec_pretty(record).expect("a record of texts is JSON");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&aside)
        .map_err(failed)?;
    file.write_all(&body).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&aside, &target).map_err(failed)
}

/// Where the token comes from has the last word on whether this runner is needed.
enum Token {
    Given(String),
    /// Only the identity file can say who this is.
    Absent,
    NotNeeded,
}

async fn token(source: &JoinSource) -> Result<Token, Error> {
    let given = |text: &str| Token::Given(text.trim().to_owned());
    match source {
        JoinSource::Token(token) => Ok(given(token)),
        JoinSource::File(path) => match fs::read_to_string(path) {
            Ok(text) => Ok(given(&text)),
            // The file may be gone after the first join; the identity file then stands for it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Token::Absent),
            Err(source) => Err(Error::Folder { path: path.clone(), source }),
        },
        JoinSource::Stdin => {
            let failed = |source| Error::Folder { path: "/dev/stdin".into(), source };
            let line = first_line().await.map_err(failed)?;
            Ok(if line.trim().is_empty() { Token::NotNeeded } else { given(&line) })
        }
        JoinSource::Joined => Ok(Token::Absent),
    }
}

/// Reads on a thread of its own: the runtime need not wait for it when the runner is told to stop.
async fn first_line() -> std::io::Result<String> {
    let (tell, heard) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("join-token".to_owned()).spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().lock().take(TOKEN_BYTES_MAX).read_line(&mut line);
        // Nobody waits any more when the runner was told to stop.
        let _ = tell.send(read.map(|_| line));
    })?;
    heard.await.map_err(std::io::Error::other)?
}

/// Finds who this worker is, or joins; `None` when nobody needs it. `join` is what it says of itself; token and nonce
/// are filled in here.
pub(crate) async fn establish(
    data_folder: &Path,
    api_url: &str,
    source: &JoinSource,
    join: Join,
) -> Result<Option<Identity>, Error> {
    let token = match token(source).await? {
        Token::Given(token) => Some(token),
        Token::Absent => None,
        Token::NotNeeded => return Ok(None),
    };
    let token_sha256 =
        token.as_ref().map(|token| rgrid_core::submission::Sha256(Sha256::digest(token).into()).to_string());
    let known = read(data_folder).filter(|record| {
        record.api_url == api_url && (token.is_none() || record.token_sha256 == token_sha256)
    });
    if let Some(Record { worker_id: Some(worker_id), credential: Some(credential), .. }) = known {
        return Ok(Some(Identity { worker_id, credential }));
    }
    let token = token.ok_or(Error::NotJoined)?;
    let nonce = match known {
        Some(record) => record.nonce,
        None => {
            let mut bytes = [0u8; NONCE_BYTES];
            getrandom::fill(&mut bytes).map_err(|_| Error::NoRandomness)?;
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        }
    };
    let mut record =
        Record { api_url: api_url.to_owned(), token_sha256, nonce, worker_id: None, credential: None };
    write(data_folder, &record)?;
    let client = Client::new(api_url, "")?;
    let join = Join { token, nonce: record.nonce.clone(), ..join };
    let Joined { worker_id, credential } =
        retry::within(limits::JOIN_DEADLINE, || client.join(&join)).await.map_err(Error::JoinRefused)?;
    record.worker_id = Some(worker_id.clone());
    record.credential = Some(credential.clone());
    write(data_folder, &record)?;
    Ok(Some(Identity { worker_id, credential }))
}
