//! The one shape of an error, and the closed set of its codes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What went wrong, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The body, a header or a parameter cannot be read.
    Malformed,
    /// It reads well, and asks for something that is not allowed.
    Invalid,
    /// No key, or one that is not known, or revoked.
    Unauthorized,
    /// The key is known and may not do this.
    Forbidden,
    /// There is no such thing, or it is another account's.
    NotFound,
    /// A shortened id fits several things.
    Ambiguous,
    /// It cannot be done in the state the thing is in.
    Conflict,
    /// The same idempotency key came with another body.
    IdempotencyMismatch,
    /// An attempt that is no longer the current one: the caller must end it.
    NotCurrent,
    /// More bytes, files or names than a limit allows.
    TooLarge,
    /// More requests than a limit allows.
    TooManyRequests,
    /// The version of the client or worker is not served any more.
    VersionRefused,
    /// The method is not defined for this path.
    MethodNotAllowed,
    /// The database does not answer.
    DatabaseUnavailable,
    /// The object store does not answer, or is not one.
    ObjectsUnavailable,
    /// The object store has no room for what is to be written. Room comes by retention, or by a person.
    StoreFull,
    /// A fault of ours.
    Internal,
}

impl ErrorCode {
    /// The HTTP status that goes with it.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Invalid | Self::IdempotencyMismatch => 422,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Ambiguous | Self::Conflict | Self::NotCurrent => 409,
            Self::TooLarge => 413,
            Self::TooManyRequests => 429,
            Self::VersionRefused => 426,
            Self::MethodNotAllowed => 405,
            Self::DatabaseUnavailable | Self::ObjectsUnavailable => 503,
            Self::StoreFull => 507,
            Self::Internal => 500,
        }
    }

    /// True when the same request may succeed later, unchanged.
    pub fn is_passing(self) -> bool {
        matches!(
            self,
            Self::TooManyRequests
                | Self::DatabaseUnavailable
                | Self::ObjectsUnavailable
                | Self::StoreFull
                | Self::Internal
        )
    }
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// The error.
    pub error: ApiError,
}

/// An error, for programs and people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What went wrong, for programs.
    pub code: ErrorCode,
    /// What went wrong, for people.
    pub message: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    /// Which field, limit or id it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub details: Option<serde_json::Value>,
}

impl ApiError {
    /// An error without hint and details.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, details: None }
    }

    /// The same with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with details for programs.
    #[must_use]
    pub fn details(mut self, details: serde_json::Value) -> Self {
        self.details = Some(details);
        self
    }
}
