//! Accounts: the owners of everything. Limits and prices of theirs come with the issues that use them.

use rgrid_core::Timestamp;
use rgrid_core::id::AccountId;

use crate::{Result, Store};

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

impl Store {
    /// The account that `migrate` made.
    pub async fn default_account(&self) -> Result<AccountRow> {
        todo!()
    }

    /// Makes an account; `Error::Invalid` when the name is taken.
    pub async fn create_account(&self, name: &str) -> Result<AccountRow> {
        let _ = name;
        todo!()
    }

    /// All of them, by name.
    pub async fn accounts(&self) -> Result<Vec<AccountRow>> {
        todo!()
    }
}
