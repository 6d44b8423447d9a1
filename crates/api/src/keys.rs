//! API keys, and who one is.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything of its account, its keys included, and the workers.
    Admin,
    /// Executions and files of its account.
    Member,
    /// One worker's row: never made by hand.
    Worker,
}

impl Role {
    /// The one spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Worker => "worker",
        }
    }
}

/// The body of `POST /keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// A name for people.
    #[schema(min_length = 1, max_length = 256)]
    pub name: String,
    /// `admin` or `member`.
    pub role: Role,
}

/// A key without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Key {
    /// `key_...`
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last used, to within a minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// The answer to `POST /keys`: the only time the secret is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedKey {
    /// The key.
    pub key: Key,
    /// `rg_...`
    pub secret: String,
}

/// The answer to `GET /keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyList {
    /// Oldest first, revoked ones too.
    pub keys: Vec<Key>,
}

/// The answer to `GET /whoami`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Whoami {
    /// `account_...`
    pub account_id: String,
    /// The account's name.
    pub account: String,
    /// The key that asked.
    pub key: Key,
    /// `grid_...`
    pub grid_id: String,
    /// The server's version.
    pub version: String,
}
