//! Idempotency keys: unique per account and route, inserted in the creating transaction with the body's hash.

use rgrid_core::id::AccountId;
use rgrid_core::limits;
use sqlx::{PgConnection, Row};

use crate::{Error, Result, guards, row};

/// The key that came with a creating request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// Which route, such as `POST /executions`.
    pub route: &'static str,
    /// The client's key.
    pub key: String,
    /// Hash of the request's body.
    pub body_sha256: [u8; 32],
}

/// Remembers in the creating transaction that `key` made `created`. `Some` is what it made before; a twin that has not
/// committed yet is waited for.
pub(crate) async fn remember(
    connection: &mut PgConnection,
    account: AccountId,
    key: &Idempotency,
    created: &str,
) -> Result<Option<String>> {
    let fresh = sqlx::query(include_str!("../queries/executions/remember.sql"))
        .bind(account.to_string())
        .bind(key.route)
        .bind(&key.key)
        .bind(key.body_sha256.as_slice())
        .bind(created)
        .bind(row::millis(limits::IDEMPOTENCY_KEPT))
        .fetch_optional(&mut *connection)
        .await?;
    if fresh.is_some() { Ok(None) } else { remembered(connection, account, key).await }
}

/// What `key` made before, if it came before.
pub(crate) async fn remembered(
    connection: &mut PgConnection,
    account: AccountId,
    key: &Idempotency,
) -> Result<Option<String>> {
    let before = sqlx::query(include_str!("../queries/executions/remembered.sql"))
        .bind(account.to_string())
        .bind(key.route)
        .bind(&key.key)
        .bind(row::millis(limits::IDEMPOTENCY_KEPT))
        .fetch_optional(connection)
        .await?;
    let Some(before) = before else { return Ok(None) };
    let same = before.try_get::<&[u8], _>("body_sha256")? == key.body_sha256;
    if !same && guards::holds(&guards::IDEMPOTENCY_BODY) {
        return Err(Error::IdempotencyMismatch);
    }
    Ok(Some(before.try_get("created_id")?))
}
