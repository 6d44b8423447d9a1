//! The numbered migrations, embedded, and what `rgrid migrate` makes beside tables: the grid's id and the default
//! account. Migrations only go forward and are never edited once released.

use rgrid_core::id::{AccountId, GridId};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Connection, PgConnection, SqlStr};

use crate::accounts::DEFAULT_ACCOUNT;
use crate::{Error, Result, Store, row, secret};

/// Version, name, text.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "accounts", include_str!("../migrations/0001_accounts.sql")),
    (2, "executions", include_str!("../migrations/0002_executions.sql")),
    (3, "workers", include_str!("../migrations/0003_workers.sql")),
    (4, "attempts", include_str!("../migrations/0004_attempts.sql")),
    (5, "blobs", include_str!("../migrations/0005_blobs.sql")),
    (6, "logs", include_str!("../migrations/0006_logs.sql")),
    (7, "stdin", include_str!("../migrations/0007_stdin.sql")),
    (8, "discarded objects", include_str!("../migrations/0008_discarded_objects.sql")),
    (9, "multipart uploads", include_str!("../migrations/0009_multipart_uploads.sql")),
    (10, "dependencies", include_str!("../migrations/0010_dependencies.sql")),
    (11, "preparing", include_str!("../migrations/0011_preparing.sql")),
    (13, "docker", include_str!("../migrations/0013_docker.sql")),
    (14, "image of attempt", include_str!("../migrations/0014_image_of_attempt.sql")),
    (15, "combined cache", include_str!("../migrations/0015_combined_cache.sql")),
    (16, "servers", include_str!("../migrations/0016_servers.sql")),
    (17, "environment logs", include_str!("../migrations/0017_environment_logs.sql")),
    (20, "running generation", include_str!("../migrations/0020_running_generation.sql")),
    (21, "waiting generation", include_str!("../migrations/0021_waiting_generation.sql")),
    (22, "provider clocks", include_str!("../migrations/0022_provider_clocks.sql")),
];

/// SQLSTATE of a table that is not there: sqlx's own, before the first migration.
const UNDEFINED_TABLE: &str = "42P01";

fn migrator() -> Migrator {
    let migration = |(version, name, text): &(i64, &'static str, &'static str)| {
        Migration::new(*version, (*name).into(), MigrationType::Simple, SqlStr::from_static(text), false)
    };
    Migrator::with_migrations(MIGRATIONS.iter().map(migration).collect())
}

impl Store {
    /// Applies every migration that is missing, and makes the grid's id and the default account when they are.
    /// Answers the versions that were applied.
    pub async fn migrate(&self) -> Result<Vec<i64>> {
        // A connection of its own: a migration may take longer than any statement of a role.
        let options = self.pool().connect_options().as_ref().clone().options([("statement_timeout", "0")]);
        let mut connection = PgConnection::connect_with(&options).await?;
        let before = applied(&mut connection).await?;
        migrator().run(&mut connection).await.map_err(Error::Migrate)?;
        let new = |version: &i64| !before.contains(version);
        let versions = applied(&mut connection).await?.into_iter().filter(new).collect();
        let grid_id = GridId::new(secret::unix_ms(), secret::random());
        sqlx::query(include_str!("../queries/grid/make.sql"))
            .bind(grid_id.to_string())
            .execute(&mut connection)
            .await?;
        let account_id = AccountId::new(secret::unix_ms(), secret::random());
        sqlx::query(include_str!("../queries/accounts/make_default.sql"))
            .bind(account_id.to_string())
            .bind(DEFAULT_ACCOUNT)
            .execute(&mut connection)
            .await?;
        connection.close().await?;
        Ok(versions)
    }

    /// Versions that this binary knows and the database lacks.
    pub async fn migrations_missing(&self) -> Result<Vec<i64>> {
        let applied = applied(&mut *self.pool().acquire().await?).await?;
        let known = MIGRATIONS.iter().map(|(version, _, _)| *version);
        Ok(known.filter(|version| !applied.contains(version)).collect())
    }

    pub(crate) async fn read_grid_id(&self) -> Result<GridId> {
        let text: String =
            sqlx::query_scalar(include_str!("../queries/grid/id.sql")).fetch_one(self.pool()).await?;
        row::parsed("grid id", &text)
    }
}

async fn applied(connection: &mut PgConnection) -> Result<Vec<i64>> {
    let read = sqlx::query_scalar(include_str!("../queries/grid/versions.sql")).fetch_all(connection).await;
    match read {
        Err(sqlx::Error::Database(refusal)) if refusal.code().as_deref() == Some(UNDEFINED_TABLE) => {
            Ok(Vec::new())
        }
        other => Ok(other?),
    }
}
