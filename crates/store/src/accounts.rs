//! Accounts: the owners of everything. Limits and prices of theirs come with the issues that use them.

use rgrid_core::Timestamp;
use rgrid_core::id::AccountId;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::row::Columns;
use crate::{Error, Result, Store, secret};

/// The account that `migrate` makes: the embedded grid's, and the first of a server grid.
pub const DEFAULT_ACCOUNT: &str = "default";

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRow {
    /// Its id.
    pub id: AccountId,
    /// Its name, which no other has.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl AccountRow {
    fn read(row: &PgRow) -> Result<Self> {
        Ok(Self { id: row.text("id")?, name: row.try_get("name")?, created_at: row.try_get("created_at")? })
    }
}

impl Store {
    /// The account that `migrate` made.
    pub async fn default_account(&self) -> Result<AccountRow> {
        self.account(DEFAULT_ACCOUNT).await
    }

    /// The account of this name.
    pub async fn account(&self, name: &str) -> Result<AccountRow> {
        let row = sqlx::query(include_str!("../queries/accounts/by_name.sql"))
            .bind(name)
            .fetch_optional(self.pool())
            .await?;
        AccountRow::read(&row.ok_or_else(|| Error::not_found("account", name))?)
    }

    /// Makes an account; `Error::Invalid` when the name is taken.
    pub async fn create_account(&self, name: &str) -> Result<AccountRow> {
        let id = AccountId::new(secret::unix_ms(), secret::random());
        let row = sqlx::query(include_str!("../queries/accounts/create.sql"))
            .bind(id.to_string())
            .bind(name)
            .fetch_optional(self.pool())
            .await?;
        let taken = || Error::Invalid { field: "name", reason: format!("the name {name:?} is taken") };
        AccountRow::read(&row.ok_or_else(taken)?)
    }

    /// All of them, by name.
    pub async fn accounts(&self) -> Result<Vec<AccountRow>> {
        let rows = sqlx::query(include_str!("../queries/accounts/list.sql")).fetch_all(self.pool()).await?;
        rows.iter().map(AccountRow::read).collect()
    }
}
