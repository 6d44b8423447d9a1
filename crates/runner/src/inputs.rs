//! Brings the blobs of a lease to this worker: what the cache lacks is fetched, several at once, hashed on the way.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use rgrid_api::client::{Client, ClientError, TRANSFER_SILENCE};
use rgrid_api::error::ErrorCode;
use rgrid_api::executions::InputBody;
use rgrid_api::workers::Lease;
use rgrid_core::limits;
use rgrid_core::submission::Sha256;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::arriving::Arriving;
use crate::blob_cache::{BlobCache, BlobKey, Incoming, Pins, Whole};
use crate::retry::{self, Pauses};

/// Downloads of one attempt that run at once.
const DOWNLOADS: usize = 8;
/// Pieces of a download that wait for the disk.
const PIECES_WAITING: usize = 16;
/// A blob whose bytes were wrong is fetched again this often: a worker's cache in between may be at fault.
const CORRUPT_TRIES: u32 = 2;

/// Why the inputs are not here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// The grid does not have it, or has other bytes.
    #[error("input {path} is {}", if *.corrupt { "damaged" } else { "missing" })]
    Missing { path: String, corrupt: bool },
    /// The attempt is not current any more.
    #[error("the attempt is not current any more")]
    Stale,
    /// It did not come in time; another worker, or fresh addresses, may have more luck.
    #[error("input {path} cannot be fetched")]
    Unreachable { path: String, source: ClientError },
    /// This worker's disk fails.
    #[error("this worker's cache cannot be written")]
    Disk(#[from] std::io::Error),
}

/// What one execution's inputs need.
struct Wanted<'a> {
    key: BlobKey,
    size_bytes: u64,
    path: &'a str,
}

/// Fetches one blob only once when several attempts of one account want it at the same time.
#[derive(Default)]
pub(crate) struct Flights(Mutex<HashMap<BlobKey, Arc<tokio::sync::Mutex<()>>>>);

impl Flights {
    fn of(&self, key: BlobKey) -> Arc<tokio::sync::Mutex<()>> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody waits for are dropped here, so the table holds no more than what is in the air.
        flights.retain(|_, flight| Arc::strong_count(flight) > 1);
        flights.entry(key).or_default().clone()
    }
}

/// Makes sure that every blob of the lease lies in the cache, and pins them there.
pub(crate) async fn fetch(
    client: &Client,
    cache: &BlobCache,
    flights: &Flights,
    lease: &Lease,
    arriving: &Arriving,
) -> Result<Pins, InputError> {
    let mut pins = cache.pins();
    let Ok(account) = lease.account_id.parse() else {
        // The grid made this id; without it nothing can be cached apart.
        return Err(InputError::Missing { path: lease.cwd.clone(), corrupt: true });
    };
    let mut missing: BTreeMap<Sha256, Wanted<'_>> = BTreeMap::new();
    for input in &lease.inputs {
        let InputBody::File { path, sha256, size_bytes, .. } = input else { continue };
        let sha256 = sha256.parse().map_err(|_| InputError::Missing { path: path.clone(), corrupt: true })?;
        let key = BlobKey { account, sha256 };
        if !missing.contains_key(&sha256) && !pins.pin(key, *size_bytes) {
            missing.insert(sha256, Wanted { key, size_bytes: *size_bytes, path });
        }
    }
    if missing.is_empty() {
        return Ok(pins);
    }
    let downloads: Vec<_> = missing
        .into_values()
        .map(|wanted| {
            let url = lease.urls.get(&wanted.key.sha256.to_string()).map(String::as_str);
            arriving.expect(wanted.size_bytes);
            one(client, cache, flights, (url, arriving), wanted)
        })
        .collect();
    let fetched: Vec<Pins> = stream::iter(downloads).buffer_unordered(DOWNLOADS).try_collect().await?;
    fetched.into_iter().for_each(|more| pins.join(more));
    Ok(pins)
}

/// Makes sure that a blob lies in the cache which is no input, and pins it there.
pub(crate) async fn fetch_blob(
    client: &Client,
    cache: &BlobCache,
    flights: &Flights,
    (key, size_bytes): (BlobKey, u64),
    url: &str,
) -> Result<Pins, InputError> {
    let wanted = Wanted { key, size_bytes, path: "the packed environment" };
    one(client, cache, flights, (Some(url), &Arriving::default()), wanted).await
}

async fn one(
    client: &Client,
    cache: &BlobCache,
    flights: &Flights,
    (url, arriving): (Option<&str>, &Arriving),
    wanted: Wanted<'_>,
) -> Result<Pins, InputError> {
    let flight = flights.of(wanted.key);
    let _alone = flight.lock().await;
    let mut pins = cache.pins();
    if pins.pin(wanted.key, wanted.size_bytes) {
        arriving.come(wanted.size_bytes);
        return Ok(pins);
    }
    let missing = |corrupt| InputError::Missing { path: wanted.path.to_owned(), corrupt };
    let url = url.ok_or_else(|| missing(false))?;
    for _ in 0..CORRUPT_TRIES {
        let whole = download(client, cache, (url, arriving), &wanted).await?;
        if whole.sha256 == wanted.key.sha256 && whole.size_bytes == wanted.size_bytes {
            cache.keep(wanted.key.account, whole, &mut pins)?;
            return Ok(pins);
        }
        tracing::warn!(path = wanted.path, "an input's bytes are not what its hash says");
    }
    Err(missing(true))
}

/// Fetches the bytes, going on where a cut connection left off.
async fn download(
    client: &Client,
    cache: &BlobCache,
    (url, arriving): (&str, &Arriving),
    wanted: &Wanted<'_>,
) -> Result<Whole, InputError> {
    let mut incoming = cache.incoming()?;
    let mut pauses = Pauses::new();
    let mut deadline = Instant::now() + limits::RUNNER_PATIENCE;
    loop {
        let before = incoming.size_bytes();
        let (written, result) = piece(client, (url, arriving), incoming).await?;
        incoming = written;
        match result {
            Ok(()) => return Ok(incoming.finish()),
            Err(error) => match retry::code(&error) {
                Some(ErrorCode::NotFound) => {
                    return Err(InputError::Missing { path: wanted.path.to_owned(), corrupt: false });
                }
                Some(ErrorCode::NotCurrent) => return Err(InputError::Stale),
                _ if error.is_passing() && Instant::now() < deadline => {
                    if incoming.size_bytes() > before {
                        pauses.reset();
                        deadline = Instant::now() + limits::RUNNER_PATIENCE;
                    }
                    tokio::time::sleep(pauses.next()).await;
                }
                _ => return Err(InputError::Unreachable { path: wanted.path.to_owned(), source: error }),
            },
        }
    }
}

type Piece = (Incoming, Result<(), ClientError>);

/// Reads one answer to its end, or to where it is cut. Writing and hashing have a thread of their own, so that a
/// slow disk stalls nothing but this download.
async fn piece(
    client: &Client,
    (url, arriving): (&str, &Arriving),
    mut incoming: Incoming,
) -> Result<Piece, InputError> {
    let from = incoming.size_bytes();
    let response = match within_silence(client.get_blob(url, from)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Ok((incoming, Err(error))),
        Err(()) => return Ok((incoming, Err(silent(client)))),
    };
    let (pieces, mut waiting) = mpsc::channel::<bytes::Bytes>(PIECES_WAITING);
    let writer = tokio::task::spawn_blocking(move || {
        while let Some(bytes) = waiting.blocking_recv() {
            incoming.write(&bytes)?;
        }
        Ok::<_, std::io::Error>(incoming)
    });
    let mut body = response.bytes_stream();
    let result = loop {
        match within_silence(body.next()).await {
            Ok(Some(Ok(bytes))) => {
                arriving.come(bytes.len() as u64);
                if pieces.send(bytes).await.is_err() {
                    // The writer is gone; its own error says why.
                    break Ok(());
                }
            }
            Ok(Some(Err(source))) => {
                break Err(ClientError::Unreachable {
                    url: client.url().to_owned(),
                    source: source.without_url(),
                });
            }
            Ok(None) => break Ok(()),
            Err(()) => break Err(silent(client)),
        }
    };
    drop(pieces);
    let incoming = writer.await.map_err(std::io::Error::other)??;
    Ok((incoming, result))
}

async fn within_silence<T>(future: impl Future<Output = T>) -> Result<T, ()> {
    let silence: Duration = TRANSFER_SILENCE;
    tokio::time::timeout(silence, future).await.map_err(|_| ())
}

/// A transfer that stalls is treated as an answer that no grid gives: it passes, and is tried again.
fn silent(client: &Client) -> ClientError {
    const GATEWAY_TIMEOUT: u16 = 504;
    ClientError::NotAGrid { url: client.url().to_owned(), status: GATEWAY_TIMEOUT }
}
