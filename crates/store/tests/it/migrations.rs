//! The schema: it applies to an empty database, every query prepares against it, and its states are core's.

use rgrid_store::testing;

#[tokio::test]
async fn an_empty_database_gets_every_version_once() {
    let database = testing::empty_database().await;
    let store = database.store();
    assert!(!store.migrations_missing().await.unwrap().is_empty());
    let applied = store.migrate().await.unwrap();
    assert!(applied.is_sorted() && applied.starts_with(&[1, 2, 3, 4]));
    assert_eq!(store.migrations_missing().await.unwrap(), Vec::<i64>::new());
    let grid = store.grid_id().await.unwrap();
    assert_eq!(store.migrate().await.unwrap(), Vec::<i64>::new());
    assert_eq!(database.store().grid_id().await.unwrap(), grid);
    assert_eq!(store.default_account().await.unwrap().name, "default");
}
