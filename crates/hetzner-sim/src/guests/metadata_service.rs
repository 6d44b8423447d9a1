//! The metadata service as a server's guest finds it: plain HTTP, no token, and nothing there while the power is off.

use std::io;
use std::net::SocketAddr;
use std::sync::Weak;

use axum::body::Body;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::stand::Shared;

/// Serves those whom `whose` knows by their address, as project and server, until it is dropped.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Weak<Shared>,
    whose: impl Fn(SocketAddr) -> Option<(usize, i64)> + Clone + Send + Sync + 'static,
) {
    loop {
        let Ok((stream, peer)) = listener.accept().await else { continue };
        let (shared, whose) = (shared.clone(), whose.clone());
        tokio::spawn(async move {
            if let Err(error) = connection(stream, shared, whose(peer)).await {
                tracing::debug!(%error, %peer, "no metadata");
            }
        });
    }
}

async fn connection(
    stream: TcpStream,
    shared: Weak<Shared>,
    whose: Option<(usize, i64)>,
) -> Result<(), hyper::Error> {
    let service = service_fn(move |request: Request<Incoming>| {
        let told = answer(&shared, whose, request.uri().path());
        async move { told }
    });
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
}

/// An error closes the connection: there is no such service for this guest now.
fn answer(shared: &Weak<Shared>, whose: Option<(usize, i64)>, path: &str) -> io::Result<Response<Body>> {
    let nobody = || io::Error::from(io::ErrorKind::ConnectionReset);
    let (project, server) = whose.ok_or_else(nobody)?;
    let shared = shared.upgrade().ok_or_else(nobody)?;
    let world = shared.world();
    if !world.has_metadata(project, server) {
        return Err(nobody());
    }
    let told = world.metadata(project, server, path);
    let status = if told.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    let mut response = Response::new(Body::from(told.unwrap_or_else(|| "not found".to_owned())));
    *response.status_mut() = status;
    Ok(response)
}
