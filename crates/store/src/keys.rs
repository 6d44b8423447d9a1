//! API keys and workers' credentials. Only the SHA-256 of a secret is stored; it has 256 random bits, so no salt and
//! no slow hash is needed.

use std::fmt;
use std::str::FromStr;

use rgrid_core::Timestamp;
use rgrid_core::id::{AccountId, KeyId, WorkerId};
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::accounts::DEFAULT_ACCOUNT;
use crate::idempotency::{self, Idempotency};
use crate::row::Columns;
use crate::{Error, Result, Store, guards, secret};

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
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not a role"))
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

impl KeyRow {
    fn read(row: &PgRow) -> Result<Self> {
        Ok(Self {
            id: row.text("id")?,
            name: row.try_get("name")?,
            role: row.text("role")?,
            created_at: row.try_get("created_at")?,
            last_used_at: row.try_get("last_used_at")?,
            revoked_at: row.try_get("revoked_at")?,
        })
    }
}

/// What a person's secret begins with.
const KEY_PREFIX: &str = "rg_";
/// What a worker's credential begins with.
const CREDENTIAL_PREFIX: &str = "rgw_";
/// No secret of ours is longer; a longer text is not looked up.
const SECRET_BYTES_MAX: usize = 64;

/// Draws a worker's credential.
pub(crate) fn draw_credential() -> String {
    secret::draw(CREDENTIAL_PREFIX)
}

impl Store {
    /// Makes a key for people; the secret is shown here and never again.
    pub async fn create_key(&self, account: AccountId, name: &str, role: Role) -> Result<(KeyRow, String)> {
        self.create_key_once(account, name, role, None).await
    }

    /// The same, once per idempotency key. A repetition is a conflict: the secret was shown, and is not kept.
    pub async fn create_key_once(
        &self,
        account: AccountId,
        name: &str,
        role: Role,
        idempotency: Option<Idempotency>,
    ) -> Result<(KeyRow, String)> {
        match role {
            Role::Admin | Role::Member => {}
            Role::Worker => {
                let reason = "a worker's credential comes from joining".to_owned();
                return Err(Error::Invalid { field: "role", reason });
            }
        }
        let id = KeyId::new(secret::unix_ms(), secret::random()).to_string();
        let secret = secret::draw(KEY_PREFIX);
        let mut transaction = self.begin().await?;
        if let Some(key) = &idempotency
            && let Some(made) = idempotency::remember(&mut transaction, account, key, &id).await?
        {
            return Err(Error::Conflict {
                what: made,
                status: "made, and its secret was shown once".to_owned(),
            });
        }
        let row = sqlx::query(include_str!("../queries/keys/create.sql"))
            .bind(id)
            .bind(account.to_string())
            .bind(name)
            .bind(role.as_str())
            .bind(secret::hash(&secret).as_slice())
            .fetch_one(&mut *transaction)
            .await?;
        let row = KeyRow::read(&row)?;
        transaction.commit().await?;
        Ok((row, secret))
    }

    /// Whose secret this is; `None` when it is unknown or revoked, or its worker is gone.
    pub async fn authenticate(&self, secret: &str) -> Result<Option<Principal>> {
        if secret.len() > SECRET_BYTES_MAX {
            return Ok(None);
        }
        let hash = secret::hash(secret);
        if secret.starts_with(CREDENTIAL_PREFIX) {
            self.worker_of(hash).await
        } else {
            self.person_of(hash).await
        }
    }

    async fn person_of(&self, hash: [u8; 32]) -> Result<Option<Principal>> {
        let row = sqlx::query(guards::sql(
            &[&guards::KEY_REVOKED],
            include_str!("../queries/keys/authenticate.sql"),
        ))
        .bind(hash.as_slice())
        .fetch_optional(self.pool())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let key = KeyRow::read(&row)?;
        if row.try_get("touch")? {
            sqlx::query(include_str!("../queries/keys/touch.sql"))
                .bind(key.id.to_string())
                .execute(self.pool())
                .await?;
        }
        let (account_id, account_name) = (row.text("account_id")?, row.try_get("account_name")?);
        Ok(Some(Principal { account_id, account_name, role: key.role, key, worker: None }))
    }

    async fn worker_of(&self, hash: [u8; 32]) -> Result<Option<Principal>> {
        let row = sqlx::query(include_str!("../queries/keys/authenticate_worker.sql"))
            .bind(hash.as_slice())
            .bind(DEFAULT_ACCOUNT)
            .fetch_optional(self.pool())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let key = KeyRow {
            // A credential is no row of `api_keys`: it shows itself under the hash of its secret.
            id: KeyId::new(0, hash[..10].try_into().expect("a SHA-256 has more than ten bytes")),
            name: row.try_get("hostname")?,
            role: Role::Worker,
            created_at: row.try_get("created_at")?,
            last_used_at: None,
            revoked_at: None,
        };
        let (account_id, account_name) = (row.text("account_id")?, row.try_get("account_name")?);
        let worker = Some(row.text("worker_id")?);
        Ok(Some(Principal { account_id, account_name, key, role: Role::Worker, worker }))
    }

    /// The account's keys for people, oldest first, revoked ones too.
    pub async fn list_keys(&self, account: AccountId) -> Result<Vec<KeyRow>> {
        let rows = sqlx::query(include_str!("../queries/keys/list.sql"))
            .bind(account.to_string())
            .fetch_all(self.pool())
            .await?;
        rows.iter().map(KeyRow::read).collect()
    }

    /// Revokes a key, for good.
    pub async fn revoke_key(&self, account: AccountId, id: KeyId) -> Result<KeyRow> {
        let row = sqlx::query(include_str!("../queries/keys/revoke.sql"))
            .bind(account.to_string())
            .bind(id.to_string())
            .fetch_optional(self.pool())
            .await?;
        KeyRow::read(&row.ok_or_else(|| Error::not_found("key", id))?)
    }
}
