//! Strangers who open connections and say nothing, little, or too much: they are closed or told, and keep nobody out.

use std::time::Duration;

use rgrid_server::Bounds;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{DEADLINE, Grid};

/// Connections of a stranger.
const IDLE: usize = 2_000;
/// Both ends of them are this process's, beside what it has anyway.
const DESCRIPTORS: u64 = 2 * IDLE as u64 + 500;
/// Where a test waits for a deadline to pass.
const SHORT: Duration = Duration::from_millis(300);

async fn open(grid: &Grid) -> TcpStream {
    TcpStream::connect(grid.url().strip_prefix("http://").unwrap()).await.unwrap()
}

/// What comes until the other side closes.
async fn to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset is an end too.
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("it is closed");
    String::from_utf8(answer).unwrap()
}

/// A request as text, with this many bytes of body announced.
fn head(grid: &Grid, method: &str, path: &str, length: usize) -> String {
    let key = &grid.key;
    format!(
        "{method} /api/v1{path} HTTP/1.1\r\nhost: grid\r\nauthorization: Bearer {key}\r\n\
         content-length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn a_head_that_never_ends_is_closed() {
    let grid = Grid::start_bounded(Bounds { head: SHORT, ..Bounds::default() }).await;
    let mut silent = open(&grid).await;
    let mut slow = open(&grid).await;
    slow.write_all(b"GET /api/v1/whoami HTTP/1.1\r\nhost: gr").await.unwrap();
    assert_eq!((to_end(&mut silent).await, to_end(&mut slow).await), (String::new(), String::new()));
    assert!(grid.client().whoami().await.is_ok());
}

#[tokio::test]
async fn a_body_that_stops_is_answered() {
    let grid = Grid::start_bounded(Bounds { body: SHORT, ..Bounds::default() }).await;
    let mut slow = open(&grid).await;
    slow.write_all(head(&grid, "POST", "/executions", 100).as_bytes()).await.unwrap();
    slow.write_all(b"{").await.unwrap();
    let answer = to_end(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("did not arrive within"), "{answer}");
}

#[tokio::test]
async fn a_part_that_stops_is_answered() {
    use rgrid_api::blobs::BlobsWanted;
    let grid = Grid::start_bounded(Bounds { pause: SHORT, ..Bounds::default() }).await;
    let blob = crate::harness::name(b"ten bytes.");
    let missing = grid.client().blobs_missing(&BlobsWanted { blobs: vec![blob] }).await.unwrap().missing;
    let url = missing[0].parts[0].url.strip_prefix("/api/v1").unwrap().to_owned();
    let mut slow = open(&grid).await;
    slow.write_all(head(&grid, "PUT", &url, 10).as_bytes()).await.unwrap();
    slow.write_all(b"ten").await.unwrap();
    let answer = to_end(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("broke off"), "{answer}");
}

#[tokio::test]
async fn who_asks_for_much_and_does_not_listen_is_closed() {
    use rgrid_api::blobs::BlobsWanted;
    // One connection is the client's, and one the stranger's.
    let grid = Grid::start_bounded(Bounds { unread: SHORT, all: 2, ..Bounds::default() }).await;
    // More than the buffers of two sockets hold.
    let much = vec![0; 16 << 20];
    let client = grid.client();
    let wanted = BlobsWanted { blobs: vec![crate::harness::name(&much)] };
    let upload = client.blobs_missing(&wanted).await.unwrap().missing.remove(0);
    crate::harness::put(&client, &upload, &much).await;
    client.commit_blobs(&crate::harness::commit(&upload)).await.unwrap();
    let mut deaf = open(&grid).await;
    deaf.write_all(head(&grid, "GET", &format!("/blobs/{}", upload.sha256), 0).as_bytes()).await.unwrap();
    deaf.readable().await.unwrap();
    let closed = async {
        loop {
            let mut next = open(&grid).await;
            next.write_all(b"GET /health HTTP/1.1\r\nhost: grid\r\nconnection: close\r\n\r\n").await.unwrap();
            if to_end(&mut next).await.starts_with("HTTP/1.1 200") {
                break;
            }
            tokio::time::sleep(SHORT / 10).await;
        }
    };
    tokio::time::timeout(DEADLINE, closed).await.expect("the deaf one makes room");
}

#[tokio::test]
async fn thousands_of_idle_connections_keep_nobody_out() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS.min(hard), hard).unwrap();
    let grid = Grid::start().await;
    let mut strangers = Vec::new();
    for _ in 0..IDLE {
        strangers.push(open(&grid).await);
    }
    assert!(grid.client().whoami().await.is_ok());
    assert_eq!(strangers.len(), IDLE);
}

#[tokio::test]
async fn one_connection_too_many_is_told_the_limit() {
    let grid = Grid::start_bounded(Bounds { all: 3, ..Bounds::default() }).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = open(&grid).await;
        // Once one was answered it is surely counted.
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: grid\r\n\r\n").await.unwrap();
        assert!(stream.read(&mut [0; 64]).await.unwrap() > 0);
        held.push(stream);
    }
    let answer = to_end(&mut open(&grid).await).await;
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after: 1"), "{answer}");
    assert!(answer.contains("\"limit_connections\":3"), "{answer}");
}
