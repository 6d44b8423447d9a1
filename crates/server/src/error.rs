//! Everything that is not a success, in the one shape that every client reads.
//!
//! Handlers return [`Refused`]; what the store says is turned into the user's words here and nowhere else. Faults of
//! ours are logged with their causes and answered without them.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rgrid_api::error::{ApiError, ErrorBody, ErrorCode};

/// Why the server could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store refused what the server needs to start.
    #[error("the server cannot start without its store")]
    Store(#[from] rgrid_store::Error),
}

/// Seconds after which a caller is told to try again.
const RETRY_AFTER: &str = "1";

/// An error as it is answered.
#[derive(Debug)]
pub(crate) struct Refused(Box<ApiError>);

impl Refused {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(Box::new(ApiError::new(code, message)))
    }

    /// It reads well and asks for something that is not allowed; `field` as it is named on the wire.
    pub(crate) fn invalid(field: &str, reason: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::Invalid, format!("{field}: {reason}"))
            .details(serde_json::json!({ "field": field }))
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(ErrorCode::NotFound, format!("there is no such {what}"))
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self(Box::new(self.0.hint(hint)))
    }

    pub(crate) fn details(self, details: serde_json::Value) -> Self {
        Self(Box::new(self.0.details(details)))
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let code = self.0.code;
        let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(ErrorBody { error: *self.0 })).into_response();
        if code.is_passing() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        if code == ErrorCode::Unauthorized {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<rgrid_core::submission::Refusal> for Refused {
    fn from(refusal: rgrid_core::submission::Refusal) -> Self {
        Self::invalid(refusal.field, refusal.reason)
    }
}

impl From<rgrid_store::Error> for Refused {
    fn from(error: rgrid_store::Error) -> Self {
        use rgrid_store::Error as Store;
        match error {
            Store::NotFound { what, name } => {
                Self::new(ErrorCode::NotFound, format!("there is no {what} {name:?}")).hint(format!(
                    "`rgrid list` shows what there is; another account's {what}s are never shown"
                ))
            }
            Store::Ambiguous { what, text, candidates } => {
                Self::new(ErrorCode::Ambiguous, format!("{text:?} fits several {what}s"))
                    .hint(format!("type more of the id: {}", candidates.join(", ")))
                    .details(serde_json::json!({ "candidates": candidates }))
            }
            Store::Conflict { what, status } => {
                Self::new(ErrorCode::Conflict, format!("{what} is {status}, so this cannot be done"))
                    .details(serde_json::json!({ "status": status }))
            }
            Store::NotCurrent => {
                Self::new(ErrorCode::NotCurrent, "this attempt is not the current one any more")
                    .hint("end it: nothing it reports is taken")
            }
            Store::Unauthorized { what } => {
                Self::new(ErrorCode::Unauthorized, format!("the {what} is not valid"))
            }
            Store::IdempotencyMismatch => Self::new(
                ErrorCode::IdempotencyMismatch,
                "this idempotency key came before with another body",
            )
            .hint("use a new key for a new request, and the same body when you repeat one"),
            Store::TooLarge { what, limit } => {
                Self::new(ErrorCode::TooLarge, format!("{what} is more than the limit of {limit}"))
                    .details(serde_json::json!({ "what": what, "limit": limit }))
            }
            Store::Invalid { field, reason } => Self::invalid(field, reason),
            Store::MigrationsMissing { missing } => {
                tracing::error!(?missing, "the database lacks migrations");
                Self::new(ErrorCode::DatabaseUnavailable, "the database is older than this server")
                    .hint("run `rgrid migrate` on the server's host")
            }
            passing @ Store::Unavailable(_) => {
                tracing::warn!(error = %Causes(&passing), "the database is not available");
                Self::new(ErrorCode::DatabaseUnavailable, "the database does not answer")
                    .hint("try again in a moment; nothing that was acknowledged is lost")
            }
            Store::Objects(error) => from_objects(error),
            fault @ (Store::Corrupt { .. }
            | Store::NotLeader
            | Store::Migrate(_)
            | Store::Database(_)
            | Store::Vault(_)) => {
                tracing::error!(error = %Causes(&fault), "a request failed by a fault of ours");
                Self::new(ErrorCode::Internal, "the grid failed, and not by your doing")
                    .hint("the server's log says why; repeating the request is safe")
            }
        }
    }
}

fn from_objects(error: rgrid_store::objects::Error) -> Refused {
    use rgrid_store::objects::Error as Objects;
    match error {
        Objects::Full { wanted_bytes, free_bytes } => {
            tracing::error!(error = %Causes(&error), "the object store is full");
            Refused::new(
                ErrorCode::StoreFull,
                format!(
                    "the grid's object store has no room: {} MiB wanted, {} MiB free beyond its reserve",
                    wanted_bytes.div_ceil(1 << 20),
                    free_bytes >> 20
                ),
            )
            .hint("make room on the grid's disk, or remove what is not needed with `rgrid prune`; then try again")
            .details(serde_json::json!({ "wanted_bytes": wanted_bytes, "free_bytes": free_bytes }))
        }
        Objects::Busy => {
            Refused::new(ErrorCode::ObjectsUnavailable, "the same bytes are being sent by somebody else")
                .hint("try again in a moment")
        }
        Objects::Interrupted(_) => {
            Refused::new(ErrorCode::Malformed, "the body broke off").hint("send it again")
        }
        Objects::WrongLength { expected, received } => {
            Refused::new(ErrorCode::Malformed, format!("{received} bytes came and the part has {expected}"))
                .details(serde_json::json!({ "expected_bytes": expected, "received_bytes": received }))
        }
        Objects::WrongBytes => {
            Refused::new(ErrorCode::Malformed, error.to_string()).hint("hash the bytes again, and send those")
        }
        Objects::NotS3 { .. } => {
            tracing::error!(error = %Causes(&error), "the object store is none");
            Refused::new(ErrorCode::ObjectsUnavailable, error.to_string())
                .hint("the grid's operator can correct it; nothing was lost")
        }
        Objects::Missing(_) | Objects::Broken { .. } => {
            tracing::error!(error = %Causes(&error), "the object store failed");
            Refused::new(ErrorCode::ObjectsUnavailable, "the object store does not answer")
                .hint("try again in a moment; nothing that was acknowledged is lost")
        }
    }
}

/// An error with everything that caused it, for the log.
pub(crate) struct Causes<'a>(pub(crate) &'a dyn std::error::Error);

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
