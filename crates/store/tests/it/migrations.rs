//! The schema: it applies to an empty database, every query prepares against it, and its states are core's.

use std::collections::BTreeSet;
use std::path::Path;

use rgrid_core::environment::EnvironmentOrigin;
use rgrid_core::execution::Status;
use rgrid_core::outcome::CancelledBy;
use rgrid_core::worker::{LimitGrade, WorkerStatus};
use rgrid_store::artifacts::ArtifactKind;
use rgrid_store::attempts::AttemptState;
use rgrid_store::keys::Role;
use rgrid_store::testing;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqlSafeStr};

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

#[tokio::test]
async fn a_version_between_those_that_a_grid_has_is_applied_there_too() {
    let database = testing::database().await;
    let store = database.store();
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql(
        "drop table environment_logs, environment_log_texts; delete from _sqlx_migrations where version = 17",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    assert_eq!(store.migrations_missing().await.unwrap(), [17]);
    assert_eq!(store.migrate().await.unwrap(), [17]);
}

/// Every file below `queries/`, by its path there.
fn queries() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("queries");
    let mut queries = Vec::new();
    for folder in std::fs::read_dir(&root).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let name = path.strip_prefix(&root).unwrap().display().to_string();
            queries.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
    queries.sort();
    queries
}

#[tokio::test]
async fn every_query_prepares() {
    let database = testing::database().await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let mut broken = Vec::new();
    for (name, text) in queries() {
        assert!(text.starts_with("-- "), "{name} does not begin with its purpose");
        if let Err(error) = connection.prepare(AssertSqlSafe(text).into_sql_str()).await {
            broken.push(format!("{name}: {error}"));
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

/// The values that a CHECK constraint allows a column to have.
async fn allowed(connection: &mut PgConnection, table: &str, column: &str) -> BTreeSet<String> {
    let definitions: Vec<String> = sqlx::query_scalar(
        "select pg_get_constraintdef(oid) from pg_constraint where conrelid = $1::text::regclass and contype = 'c'",
    )
    .bind(table)
    .fetch_all(connection)
    .await
    .unwrap();
    let start = format!("CHECK (({column} = ANY (ARRAY[");
    let definition = definitions.iter().find(|text| text.starts_with(&start)).expect(column);
    definition.split('\'').skip(1).step_by(2).map(str::to_owned).collect()
}

fn texts<T: Copy>(all: &[T], text: impl Fn(T) -> &'static str) -> BTreeSet<String> {
    all.iter().map(|item| text(*item).to_owned()).collect()
}

#[tokio::test]
async fn the_states_in_the_schema_are_those_of_the_types() {
    let database = testing::database().await;
    let mut c = PgConnection::connect(&database.url).await.unwrap();
    assert_eq!(allowed(&mut c, "executions", "status").await, texts(&Status::ALL, Status::as_str));
    assert_eq!(allowed(&mut c, "workers", "status").await, texts(&WorkerStatus::ALL, WorkerStatus::as_str));
    assert_eq!(allowed(&mut c, "attempts", "state").await, texts(&AttemptState::ALL, AttemptState::as_str));
    assert_eq!(allowed(&mut c, "artifacts", "kind").await, texts(&ArtifactKind::ALL, ArtifactKind::as_str));
    assert_eq!(
        allowed(&mut c, "environment_logs", "origin").await,
        texts(&EnvironmentOrigin::ALL, EnvironmentOrigin::as_str)
    );
    assert_eq!(
        allowed(&mut c, "executions", "cancel_requested_by").await,
        texts(&[CancelledBy::User, CancelledBy::Operator], CancelledBy::as_str)
    );
    assert_eq!(
        allowed(&mut c, "workers", "limits_grade").await,
        texts(&[LimitGrade::Watched, LimitGrade::Hard], LimitGrade::as_str)
    );
    assert_eq!(allowed(&mut c, "api_keys", "role").await, texts(&[Role::Admin, Role::Member], Role::as_str));
}

#[tokio::test]
async fn the_runbooks_queries_hold() {
    let database = testing::database().await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    for query in [
        "SELECT * FROM workers;",
        "SELECT * FROM worker_heartbeats ORDER BY last_heartbeat_at DESC;",
        "SELECT COUNT(*) FROM executions WHERE status = 'queued';",
    ] {
        sqlx::query(query).fetch_all(&mut connection).await.unwrap();
    }
}
