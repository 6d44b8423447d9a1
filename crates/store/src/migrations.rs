//! The numbered migrations, embedded, and what `rgrid migrate` makes beside tables: the grid's id and the default account.

use rgrid_core::id::GridId;

use crate::{Result, Store};

impl Store {
    /// Applies every migration that is missing, and makes the grid's id and the default account when they are.
    /// Answers the versions that were applied.
    pub async fn migrate(&self) -> Result<Vec<i64>> {
        todo!()
    }

    /// Versions that this binary knows and the database lacks.
    pub async fn migrations_missing(&self) -> Result<Vec<i64>> {
        todo!()
    }

    pub(crate) async fn read_grid_id(&self) -> Result<GridId> {
        todo!()
    }
}
