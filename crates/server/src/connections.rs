//! Connections: how many there may be, and how long each may take to say what it wants. A stranger who opens thousands
//! and says nothing, or one byte at a time, or does not listen, must not keep anybody else out.
//!
//! What comes before a request's head cannot be answered; a connection too many is, in the one shape, and closed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rgrid_api::error::{ApiError, ErrorBody, ErrorCode};
use rgrid_core::limits;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many and how slow connections may be.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// All together.
    pub all: usize,
    /// From one address that is not this machine: a proxy here speaks for everybody.
    pub of_address: usize,
    /// A request's head arrives within this; a connection without one is closed after it.
    pub head: Duration,
    /// A JSON body arrives within this.
    pub body: Duration,
    /// A part of an upload brings some bytes at least this often.
    pub pause: Duration,
    /// Who is answered takes some bytes at least this often; who does not is closed.
    pub unread: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            all: limits::CONNECTIONS_MAX,
            of_address: limits::CONNECTIONS_PER_ADDRESS_MAX,
            head: limits::REQUEST_HEAD_DEADLINE,
            body: limits::BODY_DEADLINE,
            pause: limits::PART_PAUSE_MAX,
            unread: limits::ANSWER_PAUSE_MAX,
        }
    }
}

/// An accept that fails (no descriptor is left) is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A connection that is refused is told so within this.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(1);
/// Refusals that are told at once; a connection beyond is closed without a word.
const REFUSALS_MAX: usize = 256;

/// Who is connected.
#[derive(Debug, Default)]
struct Doors(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    refusing: usize,
    of_address: HashMap<IpAddr, usize>,
}

/// A connection that is counted until this is dropped.
struct Counted {
    doors: Arc<Doors>,
    address: IpAddr,
}

/// What is too many: the limit, in words.
#[derive(Debug, PartialEq, Eq)]
struct TooMany(&'static str, usize);

impl Doors {
    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>, address: IpAddr, bounds: &Bounds) -> Result<Counted, TooMany> {
        let mut counts = self.counts();
        if counts.all >= bounds.all {
            return Err(TooMany("connections to this replica", bounds.all));
        }
        let here = counts.of_address.entry(address).or_default();
        if *here >= bounds.of_address && !address.to_canonical().is_loopback() {
            return Err(TooMany("connections from one address", bounds.of_address));
        }
        *here += 1;
        counts.all += 1;
        Ok(Counted { doors: Arc::clone(self), address })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.doors.counts();
        counts.all -= 1;
        if let Some(here) = counts.of_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                counts.of_address.remove(&self.address);
            }
        }
    }
}

/// Serves until `shutdown`; then no connection is taken any more, and it returns when the last request is answered.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    shutdown: CancellationToken,
) {
    let doors = Arc::new(Doors::default());
    let serving = TaskTracker::new();
    loop {
        let (stream, address) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => (stream, address.ip()),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        match doors.enter(address, &bounds) {
            Ok(counted) => {
                serving.spawn(serve_one(stream, counted, router.clone(), bounds, shutdown.clone()));
            }
            Err(too_many) => refuse(&doors, stream, &too_many),
        }
    }
    drop(listener);
    serving.close();
    serving.wait().await;
}

async fn serve_one(
    stream: TcpStream,
    _counted: Counted,
    router: Router,
    bounds: Bounds,
    shutdown: CancellationToken,
) {
    // Log lines are small and must not wait for each other's acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps its delay");
    }
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(bounds.unread));
    let service = TowerToHyperService::new(router);
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(bounds.head);
    let mut connection = pin!(http.serve_connection(TokioIo::new(Box::pin(stream)), service));
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

/// Tells one connection that it is too many, and closes it.
fn refuse(doors: &Arc<Doors>, mut stream: TcpStream, too_many: &TooMany) {
    let TooMany(what, limit) = too_many;
    ::metrics::counter!(crate::metrics::CONNECTIONS_REFUSED).increment(1);
    {
        let mut counts = doors.counts();
        if counts.refusing >= REFUSALS_MAX {
            return;
        }
        counts.refusing += 1;
    }
    let error = ApiError::new(ErrorCode::TooManyRequests, format!("more than {limit} {what}"))
        .hint("close those that are not used, and try again in a second")
        .details(serde_json::json!({ "limit_connections": limit }));
    let body = serde_json::to_string(&ErrorBody { error }).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 {} Too Many Requests\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        ErrorCode::TooManyRequests.status(),
        body.len()
    );
    let doors = Arc::clone(doors);
    tokio::spawn(async move {
        // One that does not listen is closed all the same.
        let told = async { stream.write_all(answer.as_bytes()).await.and(stream.shutdown().await) };
        let _ = tokio::time::timeout(REFUSAL_DEADLINE, told).await;
        doors.counts().refusing -= 1;
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_its_share_and_this_machine_speaks_for_everybody() {
        let doors = Arc::new(Doors::default());
        let bounds = Bounds { all: 5, of_address: 2, ..Bounds::default() };
        let (stranger, other): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let enter = |address: IpAddr| doors.enter(address, &bounds);
        let mut held: Vec<_> = [stranger, stranger].map(|address| enter(address).unwrap()).into();
        assert_eq!(enter(stranger).err(), Some(TooMany("connections from one address", 2)));
        let here: IpAddr = [127, 0, 0, 1].into();
        held.extend([other, here, here].map(|address| enter(address).unwrap()));
        assert_eq!(enter(here).err(), Some(TooMany("connections to this replica", 5)));
        drop(held.swap_remove(0));
        assert!(enter(stranger).is_ok());
        drop(held);
        assert!(doors.counts().of_address.is_empty() && doors.counts().all == 0);
    }
}
