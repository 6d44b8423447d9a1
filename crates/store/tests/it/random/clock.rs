//! A clock for PostgreSQL that stands still until a test moves it. The database's sessions find `now` and
//! `clock_timestamp` in a schema of ours before they find the server's own: every lease is then exact, and a slow
//! machine changes nothing.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::model::Ms;

/// Where the test's time begins.
const EPOCH: &str = "timestamptz '2030-01-01 00:00:00+00'";

const INSTALL: &str = "
create schema frozen;
create table frozen.clock (at timestamptz not null);
create function frozen.now() returns timestamptz stable language sql as 'select at from frozen.clock';
create function frozen.clock_timestamp() returns timestamptz stable language sql as 'select at from frozen.clock';
do $$
declare
    c record;
begin
    for c in select table_name, column_name from information_schema.columns
        where table_schema = 'public' and column_default = 'now()'
    loop
        execute format('alter table public.%I alter column %I set default frozen.now()', c.table_name, c.column_name);
    end loop;
    execute format('alter database %I set search_path = frozen, pg_catalog, public', current_database());
end $$;";

/// Empties every table but those that are made once.
const EMPTY: &str = "
set session_replication_role = replica;
do $$
declare
    t record;
begin
    for t in select tablename from pg_tables where schemaname = 'public'
        and tablename not in ('_sqlx_migrations', 'grid', 'accounts', 'batches', 'api_outage', 'leadership',
            'running_generation', 'waiting_generation')
    loop
        execute format('delete from public.%I', t.tablename);
    end loop;
end $$;
set session_replication_role = origin;
update api_outage set last_beat_at = null, last_gap_end = null;
update leadership set holder = null, term = 0, deadline = '-infinity'";

/// The clock of one database.
#[derive(Debug)]
pub(crate) struct Clock {
    /// A session for what no call of the store does.
    pub(crate) admin: PgConnection,
}

impl Clock {
    /// Only sessions that begin after this go by it.
    pub(crate) async fn install(url: &str) -> Self {
        let mut installer = PgConnection::connect(url).await.unwrap();
        let start = format!("{INSTALL} insert into frozen.clock values ({EPOCH});");
        sqlx::raw_sql(AssertSqlSafe(start)).execute(&mut installer).await.unwrap();
        installer.close().await.unwrap();
        Self { admin: PgConnection::connect(url).await.unwrap() }
    }

    pub(crate) async fn set(&mut self, now: Ms) {
        self.execute(format!("update frozen.clock set at = {}", literal(now))).await;
    }

    /// Nothing has happened yet.
    pub(crate) async fn empty(&mut self) {
        self.execute(EMPTY.to_owned()).await;
    }

    pub(crate) async fn execute(&mut self, statements: String) {
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut self.admin).await.unwrap();
    }
}

/// A moment as SQL spells it.
pub(crate) fn literal(at: Ms) -> String {
    format!("({EPOCH} + interval '1 millisecond' * {at})")
}
