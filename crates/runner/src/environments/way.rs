//! The only way out of a build: a socket in its workspace, behind which we connect it to where it may go. The build has no
//! network; its script offers the socket to uv as a proxy (`build.py`).
//!
//! Whoever is inside may send whatever it likes here. Where a build may go is decided in `reach`.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use reqwest::Url;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::reach::Reach;

/// The socket's name in its folder.
pub(crate) const SOCKET: &str = "way";
/// Connections of one build at once. uv keeps at most 50 downloads going.
const CONNECTIONS_MAX: usize = 128;
/// The head of a request is no longer than this,
const HEAD_BYTES_MAX: usize = 32 << 10;
/// has no more lines than this,
const HEADERS_MAX: usize = 100;
/// and is there within this.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// A connection stands within this.
const CONNECT_DEADLINE: Duration = Duration::from_secs(20);

/// The way out of one build; closed when this goes.
#[derive(Debug)]
pub(crate) struct Way {
    _serving: JoinSet<()>,
}

impl Way {
    /// Opens it in a folder.
    pub(crate) fn open(folder: &Path, reach: Arc<Reach>) -> io::Result<Self> {
        // Through a descriptor: the name of a socket is short, and that of a workspace may be long.
        let place = std::fs::File::open(folder)?;
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/{SOCKET}", place.as_raw_fd()))?;
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let upstream = Arc::new(Matcher::from_env());
            let mut connections = JoinSet::new();
            loop {
                while connections.len() >= CONNECTIONS_MAX {
                    connections.join_next().await;
                }
                let Ok((stream, _)) = listener.accept().await else { return };
                while connections.try_join_next().is_some() {}
                let (reach, upstream) = (Arc::clone(&reach), Arc::clone(&upstream));
                connections.spawn(async move {
                    if let Err(error) = serve(stream, &reach, &upstream).await {
                        tracing::debug!(%error, "a connection of a build ended early");
                    }
                });
            }
        });
        Ok(Self { _serving: serving })
    }
}

/// What is asked of a proxy.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// A connection, whatever goes through it.
    Connect { host: String, port: u16 },
    /// A request that is passed on.
    Request { url: Url, method: String, headers: Vec<u8> },
}

async fn serve(mut stream: UnixStream, reach: &Reach, upstream: &Matcher) -> io::Result<()> {
    let read = tokio::time::timeout(HEAD_DEADLINE, head(&mut stream)).await;
    let Some((asked, rest)) = read.map_err(|_| io::ErrorKind::TimedOut)?? else {
        return answer(&mut stream, "400 Bad Request", "this is no request to a proxy").await;
    };
    let (host, port) = match &asked {
        Asked::Connect { host, port } => (host.clone(), *port),
        Asked::Request { url, .. } => {
            (url.host_str().unwrap_or_default().to_owned(), url.port_or_known_default().unwrap_or(80))
        }
    };
    if !reach.allows(&host, port).await {
        let words =
            format!("{host} is none of the indexes and addresses of the lock: a build reaches no other");
        return answer(&mut stream, "403 Forbidden", &words).await;
    }
    let onwards = tokio::time::timeout(CONNECT_DEADLINE, onwards(&asked, &host, port, reach, upstream));
    let mut onwards = match onwards.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(onwards) => onwards,
        Err(error) => return answer(&mut stream, "502 Bad Gateway", &format!("{host}: {error}")).await,
    };
    if matches!(asked, Asked::Connect { .. }) {
        stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await?;
    }
    onwards.write_all(&rest).await?;
    tokio::io::copy_bidirectional(&mut stream, &mut onwards).await.map(drop)
}

async fn answer(stream: &mut UnixStream, status: &str, words: &str) -> io::Result<()> {
    let length = words.len() + 1;
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n");
    stream.write_all(format!("{head}connection: close\r\n\r\n{words}\n").as_bytes()).await
}

/// The head of a request, and what came after it; `None` when it is none that a proxy understands.
async fn head(stream: &mut UnixStream) -> io::Result<Option<(Asked, Vec<u8>)>> {
    let mut bytes = Vec::new();
    while bytes.len() < HEAD_BYTES_MAX {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
        match parse(&bytes) {
            Ok(Some((asked, length))) => return Ok(Some((asked, bytes.split_off(length)))),
            Ok(None) => {}
            Err(()) => return Ok(None),
        }
    }
    Ok(None)
}

/// A whole head with its length; `None` when more of it is to come.
fn parse(bytes: &[u8]) -> Result<Option<(Asked, usize)>, ()> {
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut lines);
    let length = match request.parse(bytes).map_err(|_| ())? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    if method == "CONNECT" {
        let url = Url::parse(&format!("https://{target}")).map_err(|_| ())?;
        let host = url.host_str().ok_or(())?.to_owned();
        let port = url.port_or_known_default().ok_or(())?;
        return Ok(Some((Asked::Connect { host, port }, length)));
    }
    let url = Url::parse(target).map_err(|_| ())?;
    if url.scheme() != "http" {
        return Err(());
    }
    let mut headers = Vec::new();
    let ours = ["connection", "proxy-connection", "proxy-authorization", "keep-alive"];
    for line in
        request.headers.iter().filter(|line| ours.iter().all(|name| !line.name.eq_ignore_ascii_case(name)))
    {
        headers.extend_from_slice(line.name.as_bytes());
        headers.extend_from_slice(b": ");
        headers.extend_from_slice(line.value);
        headers.extend_from_slice(b"\r\n");
    }
    Ok(Some((Asked::Request { url, method: method.to_owned(), headers }, length)))
}

/// A connection to what was asked for, or to this machine's own proxy, to which the head has been sent.
async fn onwards(
    asked: &Asked,
    host: &str,
    port: u16,
    reach: &Reach,
    upstream: &Matcher,
) -> io::Result<TcpStream> {
    let scheme = match asked {
        Asked::Connect { .. } => "https",
        Asked::Request { .. } => "http",
    };
    let to = format!("{scheme}://{host}:{port}/").parse().map_err(io::Error::other)?;
    let proxy = upstream.intercept(&to);
    let mut stream = match &proxy {
        Some(proxy) => TcpStream::connect(address_of(proxy)?).await?,
        None => TcpStream::connect(reach.addresses_of(host, port).await?.as_slice()).await?,
    };
    let authorization = proxy
        .as_ref()
        .and_then(Intercept::basic_auth)
        .map_or_else(Vec::new, |value| [b"proxy-authorization: ", value.as_bytes(), b"\r\n"].concat());
    match asked {
        Asked::Connect { .. } if proxy.is_some() => {
            let head = format!("CONNECT {host}:{port} HTTP/1.1\r\nhost: {host}:{port}\r\n");
            stream.write_all(&[head.as_bytes(), &authorization, b"\r\n"].concat()).await?;
            connected(&mut stream).await?;
        }
        Asked::Connect { .. } => {}
        Asked::Request { url, method, headers } => {
            let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
            let before = if proxy.is_some() { format!("http://{host}:{port}") } else { String::new() };
            let head = format!("{method} {before}{}{query} HTTP/1.1\r\nconnection: close\r\n", url.path());
            stream.write_all(&[head.as_bytes(), headers, &authorization, b"\r\n"].concat()).await?;
        }
    }
    Ok(stream)
}

/// Where a proxy listens.
fn address_of(proxy: &Intercept) -> io::Result<(String, u16)> {
    let uri = proxy.uri();
    if uri.scheme_str().is_some_and(|scheme| scheme != "http") {
        return Err(io::Error::other(
            "the proxy of this worker is of a kind that builds cannot use: it needs http://",
        ));
    }
    let host = uri.host().ok_or_else(|| io::Error::other("the proxy of this worker has no host"))?;
    Ok((host.trim_matches(['[', ']']).to_owned(), uri.port_u16().unwrap_or(80)))
}

/// Waits until a proxy has connected us.
async fn connected(stream: &mut TcpStream) -> io::Result<()> {
    let mut bytes = Vec::new();
    while bytes.len() < HEAD_BYTES_MAX {
        // One byte at a time: what follows the head is not ours.
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        bytes.push(byte[0]);
        if bytes.ends_with(b"\r\n\r\n") {
            let line = String::from_utf8_lossy(&bytes);
            let line = line.lines().next().unwrap_or_default();
            return match line.split(' ').nth(1) {
                Some(status) if status.starts_with('2') => Ok(()),
                Some(_) | None => Err(io::Error::other(format!("the proxy of this worker says {line}"))),
            };
        }
    }
    Err(io::Error::other("the proxy of this worker says too much"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_to_a_proxy_are_understood_and_no_others() {
        let (asked, length) =
            parse(b"CONNECT pypi.test:443 HTTP/1.1\r\nhost: pypi.test:443\r\n\r\nrest").unwrap().unwrap();
        assert_eq!((asked, length), (Asked::Connect { host: "pypi.test".into(), port: 443 }, 55));
        let text = b"GET http://index.example:8080/simple/?a=b HTTP/1.1\r\nHost: index.example\r\nProxy-Connection: x\r\n\r\n";
        let Asked::Request { url, method, headers } = parse(text).unwrap().unwrap().0 else { panic!() };
        assert_eq!((url.as_str(), method.as_str()), ("http://index.example:8080/simple/?a=b", "GET"));
        assert_eq!(headers, b"Host: index.example\r\n");
        assert_eq!(parse(b"CONNECT pypi.test:443 HTTP/1.1\r\nhost:"), Ok(None));
        for other in ["GET /simple HTTP/1.1\r\n\r\n", "GET ftp://x/ HTTP/1.1\r\n\r\n", "\0\0\0\0\r\n\r\n"] {
            assert_eq!(parse(other.as_bytes()), Err(()), "{other:?}");
        }
    }
}
