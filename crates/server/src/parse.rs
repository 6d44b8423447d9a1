//! The door: bodies, queries, paths and headers as typed values, or an error in the one shape.
//!
//! axum's own extractors answer in plain text; these wrap them so that a client always reads JSON. Every body has
//! a size limit and a deadline, so that a slow sender cannot hold a connection for ever.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use rgrid_api::IDEMPOTENCY_KEY;
use rgrid_api::error::ErrorCode;
use rgrid_core::limits;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::error::Refused;
use crate::state::App;

/// Bytes of an idempotency key.
pub(crate) const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// A JSON body, and the hash of its bytes for whoever needs to know whether it came before.
pub(crate) struct Body<T> {
    pub(crate) value: T,
    pub(crate) sha256: [u8; 32],
}

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refused> {
        let bytes = read_body(request, limits::BODY_BYTES_MAX, app.bounds.body).await?;
        let value = serde_json::from_slice(&bytes).map_err(|error| {
            Refused::new(ErrorCode::Malformed, format!("the body cannot be read: {error}"))
                .hint("/docs lists the fields of every body")
        })?;
        Ok(Self { value, sha256: Sha256::digest(&bytes).into() })
    }
}

/// Reads a body of at most `bytes_max` bytes that arrives within `deadline`.
pub(crate) async fn read_body(
    request: Request,
    bytes_max: usize,
    deadline: Duration,
) -> Result<Bytes, Refused> {
    let announced = content_length(request.headers())?;
    if announced.is_some_and(|length| length > bytes_max as u64) {
        return Err(too_large(bytes_max));
    }
    let read = axum::body::to_bytes(request.into_body(), bytes_max);
    match tokio::time::timeout(deadline, read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        // The body's reader has one error for "too long" and "the connection broke"; only the first can be answered.
        Ok(Err(_)) => Err(too_large(bytes_max)),
        Err(_) => {
            Err(Refused::new(ErrorCode::Malformed, format!("the body did not arrive within {deadline:?}")))
        }
    }
}

fn too_large(bytes_max: usize) -> Refused {
    Refused::new(ErrorCode::TooLarge, format!("the body has more than {bytes_max} bytes"))
        .details(serde_json::json!({ "limit_bytes": bytes_max }))
}

/// The announced length of the body; `None` when it is not announced.
pub(crate) fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Refused> {
    let Some(value) = headers.get(header::CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| Refused::new(ErrorCode::Malformed, "content-length is not a number"))
}

/// The query, parsed.
pub(crate) struct Parameters<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        Query::<T>::from_request_parts(parts, state).await.map(|Query(value)| Self(value)).map_err(
            |rejection| {
                Refused::new(
                    ErrorCode::Malformed,
                    format!("the query cannot be read: {}", rejection.body_text()),
                )
            },
        )
    }
}

/// The named parts of the path, decoded and parsed.
pub(crate) struct Named<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        Path::<T>::from_request_parts(parts, state).await.map(|Path(value)| Self(value)).map_err(
            |rejection| {
                Refused::new(
                    ErrorCode::Malformed,
                    format!("the path cannot be read: {}", rejection.body_text()),
                )
            },
        )
    }
}

/// The `Idempotency-Key` header, when there is one.
pub(crate) struct IdempotencyKey(pub(crate) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refused> {
        let Some(value) = parts.headers.get(IDEMPOTENCY_KEY) else { return Ok(Self(None)) };
        // Header texts are visible ASCII: no NUL can reach the database from here.
        match value.to_str() {
            Ok(text)
                if (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&text.len())
                    && text.bytes().all(|byte| byte.is_ascii_graphic()) =>
            {
                Ok(Self(Some(text.to_owned())))
            }
            Ok(_) | Err(_) => Err(Refused::new(
                ErrorCode::Malformed,
                format!("an idempotency key is 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible characters"),
            )),
        }
    }
}

/// The number of items of a page: what was asked for, if it may be asked for.
pub(crate) fn page_items(asked: Option<u32>, default: u32) -> Result<u32, Refused> {
    match asked {
        None => Ok(default),
        Some(items) if (1..=limits::PAGE_ITEMS_MAX).contains(&items) => Ok(items),
        Some(items) => Err(Refused::invalid(
            "limit",
            format!("{items} items were asked for, and a page has 1 to {}", limits::PAGE_ITEMS_MAX),
        )),
    }
}

/// A text from a query that goes to the database, which cannot hold a NUL.
pub(crate) fn without_nul(field: &'static str, text: Option<String>) -> Result<Option<String>, Refused> {
    match text {
        Some(text) if text.contains('\0') => Err(Refused::invalid(field, "it holds a NUL byte")),
        other => Ok(other),
    }
}
