//! HTTP around the world: connections, requests to calls, answers to bytes, and what faults do to a connection.

use std::convert::Infallible;
use std::io;
use std::net::TcpStream as Twin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::call::{Answer, Call};
use crate::control;
use crate::errors::ApiError;
use crate::stand::Shared;
use crate::world::{Reply, Wire};

/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Pieces of a slow body.
const PIECES: usize = 16;
/// How often events are looked for when real guests follow them.
const TICK: Duration = Duration::from_millis(50);
/// What a proxy says when nothing is behind it.
const HTML: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><center><h1>502 Bad Gateway</h1></center></body>\r\n</html>\r\n";

/// Lets events happen at their time though nobody asks.
pub(crate) async fn tick(shared: Arc<Shared>, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(TICK)).await.is_some() {
        shared.with(|_| ());
    }
}

pub(crate) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
) {
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        // A connection that is gone before it is taken is nobody's.
        let Ok((stream, _)) = accepted else { continue };
        let (shared, shutdown) = (shared.clone(), shutdown.clone());
        tasks.spawn(async move {
            if let Err(error) =
                shutdown.run_until_cancelled(connection(stream, shared)).await.unwrap_or(Ok(()))
            {
                tracing::debug!(%error, "a connection has ended");
            }
        });
    }
}

async fn connection(
    stream: TcpStream,
    shared: Arc<Shared>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let stream = stream.into_std()?;
    // The same connection once more, by which it can be reset while hyper has it.
    let twin = Arc::new(stream.try_clone()?);
    let service = service_fn(move |request| {
        let (shared, twin) = (shared.clone(), twin.clone());
        async move { answer(&shared, &twin, request).await }
    });
    let io = TokioIo::new(TcpStream::from_std(stream)?);
    Ok(http1::Builder::new().serve_connection(io, service).await?)
}

async fn answer(
    shared: &Arc<Shared>,
    twin: &Twin,
    request: Request<Incoming>,
) -> Result<Response<Body>, io::Error> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let field = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let mut call = Call {
        method: head.method.as_str().to_owned(),
        query: head.uri.query().map(read_query).unwrap_or_default(),
        token: field(header::AUTHORIZATION).and_then(bearer),
        base: format!("http://{}", field(header::HOST).unwrap_or("localhost")),
        ..Call::default()
    };
    let Ok(body) = to_bytes(Body::new(body), BODY_BYTES_MAX).await else {
        return Ok(send(ApiError::by_code("json_error").into(), &Wire::default()));
    };
    call.body = body.into();
    if let Some(rest) = path.strip_prefix("/_sim") {
        rest.clone_into(&mut call.path);
        return Ok(send(control::control(shared, &call), &Wire::default()));
    }
    let Some(rest) = path.strip_prefix("/v1").filter(|rest| rest.is_empty() || rest.starts_with('/')) else {
        return Ok(send(ApiError::by_code("not_found").into(), &Wire::default()));
    };
    rest.clone_into(&mut call.path);
    let Reply { answer, wire } = shared.with(|world| world.handle(&call));
    if wire.latency > Duration::ZERO {
        tokio::time::sleep(wire.latency).await;
    }
    if wire.reset {
        TcpStream::from_std(twin.try_clone()?)?.set_zero_linger()?;
        return Err(io::Error::from(io::ErrorKind::ConnectionReset));
    }
    Ok(send(answer, &wire))
}

fn bearer(text: &str) -> Option<String> {
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

fn send(answer: Answer, wire: &Wire) -> Response<Body> {
    let (kind, mut bytes) = match &answer.body {
        Some(body) => ("application/json", Bytes::from(body.to_string())),
        None if wire.html => ("text/html", Bytes::from_static(HTML.as_bytes())),
        None => ("", Bytes::new()),
    };
    if wire.truncated {
        bytes.truncate(bytes.len() / 2);
    }
    let body = match wire.pause {
        Some(pause) => slowly(bytes, pause),
        None => Body::from(bytes),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if !kind.is_empty() {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().append(HeaderName::from_static(name), value);
        }
    }
    response
}

fn slowly(bytes: Bytes, pause: Duration) -> Body {
    let piece = bytes.len().div_ceil(PIECES).max(1);
    Body::from_stream(stream::unfold(bytes, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let first = rest.split_to(piece.min(rest.len()));
        Some((Ok::<_, Infallible>(first), rest))
    }))
}

/// `a=1&b=2`, decoded, in order.
fn read_query(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (decoded(key), decoded(value))
        })
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let mut ahead = rest.clone();
                let digits = [ahead.next(), ahead.next()].map(|d| d.and_then(|d| char::from(d).to_digit(16)));
                if let [Some(high), Some(low)] = digits {
                    bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                    rest = ahead;
                } else {
                    bytes.push(byte);
                }
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded() {
        let read = read_query("label_selector=a%3Db%2C%21c&x+y=1&flag&bad=%zz");
        let pairs: Vec<(&str, &str)> = read.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("label_selector", "a=b,!c"), ("x y", "1"), ("flag", ""), ("bad", "%zz")]);
    }
}
