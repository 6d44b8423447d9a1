//! What a grid says of itself.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The answer to `GET /health`: 200, or 503 with a true status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok (db: connected)` or what is wrong.
    pub status: String,
    /// The server's version.
    pub version: String,
    /// The server's clock.
    pub timestamp: DateTime<Utc>,
}

/// The answer to `GET /ready`: 200 when all three hold, else 503.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ready {
    /// All three hold.
    pub ready: bool,
    /// `ok`, or what is wrong with the database.
    pub database: String,
    /// `ok`, or what is wrong with the object store.
    pub objects: String,
    /// `ok`, or which migrations are missing.
    pub migrations: String,
}

/// The answer to `POST /prune`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pruned {
    /// Blobs that no execution needs and that are gone now.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Executions beyond their retention that are gone now.
    pub executions: u64,
}
