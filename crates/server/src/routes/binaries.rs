//! `GET /binaries/{sha256}`: this very program, for servers that are to become workers. They are told its hash, and so get
//! it and no other.

use std::path::Path as FilePath;

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use rgrid_api::error::ErrorCode;
use rgrid_core::submission::Sha256;
use sha2::Digest;
use tokio::io::AsyncReadExt;
use tokio::sync::OnceCell;
use tokio_util::io::ReaderStream;

use crate::error::Refused;

/// The program that runs, even when another lies in its place by now.
const PROGRAM: &str = "/proc/self/exe";
/// Bytes that are hashed at once.
const BLOCK: usize = 1 << 20;

/// Fetch the grid's own program
///
/// By its SHA-256 in hexadecimal. It is no secret, and needs no key.
#[utoipa::path(get, path = "/binaries/{sha256}", tag = "runner", security(()),
    params(("sha256" = String, Path, pattern = "^[0-9a-f]{64}$")),
    responses((status = 200, content_type = "application/octet-stream", description = "the program")))]
pub(crate) async fn show(Path(sha256): Path<String>) -> Result<Response, Refused> {
    static OURS: OnceCell<Sha256> = OnceCell::const_new();
    let wanted: Sha256 =
        sha256.parse().map_err(|_| Refused::invalid("sha256", "has 64 hexadecimal digits"))?;
    let internal = |error: std::io::Error| {
        tracing::error!(error = &error as &dyn std::error::Error, "this program cannot be read");
        Refused::new(ErrorCode::Internal, "this program cannot be read")
    };
    let ours = OURS.get_or_try_init(|| hash(FilePath::new(PROGRAM))).await.map_err(internal)?;
    if wanted != *ours {
        return Err(Refused::new(
            ErrorCode::NotFound,
            format!("this grid runs another program than {sha256:?}"),
        )
        .hint("a worker is told the hash of the program when its server is created"));
    }
    let file = tokio::fs::File::open(PROGRAM).await.map_err(internal)?;
    let length = file.metadata().await.map_err(internal)?.len();
    let mut response = Body::from_stream(ReaderStream::new(file)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(response)
}

async fn hash(path: &FilePath) -> std::io::Result<Sha256> {
    let mut file = tokio::fs::File::open(path).await?;
    let mut hasher = sha2::Sha256::new();
    let mut block = vec![0; BLOCK];
    loop {
        let read = file.read(&mut block).await?;
        if read == 0 {
            return Ok(Sha256(hasher.finalize().into()));
        }
        hasher.update(&block[..read]);
    }
}
