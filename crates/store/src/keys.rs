//! API keys and workers' credentials. Only the SHA-256 of a secret is stored; it has 256 random bits, so no salt and
//! no slow hash is needed.

use std::fmt;
use std::str::FromStr;

use rgrid_core::Timestamp;
use rgrid_core::id::{AccountId, KeyId, WorkerId};

use crate::{Result, Store};

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything of its account, its keys included, and the workers.
    Admin,
    /// Executions and files of its account.
    Member,
    /// One worker's row: never made by hand.
    Worker,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Member, Self::Worker];

    /// The one spelling, in rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Worker => "worker",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| format!("{text:?} is not a role"))
    }
}

/// A key without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Its id.
    pub id: KeyId,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, to within a minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Who stands behind a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The account it acts for. A worker of all accounts acts for the default one.
    pub account_id: AccountId,
    /// The account's name.
    pub account_name: String,
    /// The key.
    pub key: KeyRow,
    /// What it may do.
    pub role: Role,
    /// The one worker whose row it may touch; only with `Role::Worker`.
    pub worker: Option<WorkerId>,
}

impl Store {
    /// Makes a key for people; the secret is shown here and never again.
    pub async fn create_key(&self, account: AccountId, name: &str, role: Role) -> Result<(KeyRow, String)> {
        let _ = (account, name, role);
        todo!()
    }

    /// Whose secret this is; `None` when it is unknown or revoked, or its worker is gone.
    pub async fn authenticate(&self, secret: &str) -> Result<Option<Principal>> {
        let _ = secret;
        todo!()
    }

    /// The account's keys for people, oldest first, revoked ones too.
    pub async fn list_keys(&self, account: AccountId) -> Result<Vec<KeyRow>> {
        let _ = account;
        todo!()
    }

    /// Revokes a key, for good.
    pub async fn revoke_key(&self, account: AccountId, id: KeyId) -> Result<KeyRow> {
        let _ = (account, id);
        todo!()
    }
}
