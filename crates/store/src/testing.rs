//! A throwaway database per test.

use crate::Store;

/// A database that ends with its value.
#[derive(Debug)]
pub struct TestDatabase {
    /// How to reach it.
    pub url: String,
    store: Store,
}

impl TestDatabase {
    /// A store on it, migrated, with a folder of its own for objects.
    pub fn store(&self) -> Store {
        self.store.clone()
    }
}

/// Makes one.
pub async fn database() -> TestDatabase {
    todo!()
}
