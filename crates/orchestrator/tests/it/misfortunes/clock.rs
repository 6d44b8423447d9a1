//! A grid whose PostgreSQL has a clock that is stepped: deadlines, leases and leadership pass without anybody waiting.

use std::time::Duration;

use rgrid_core::id::WorkerId;
use rgrid_store::Store;
use rgrid_store::testing::empty_database;

use crate::stage::Grid;

/// `now()` and `clock_timestamp()` of this database, found before PostgreSQL's own, also by the defaults of columns.
const CLOCK: &str = "
    create table clock_ahead (seconds double precision not null);
    insert into clock_ahead values (0);
    create function now() returns timestamptz language sql stable as
        'select pg_catalog.now() + make_interval(secs => seconds) from public.clock_ahead';
    create function clock_timestamp() returns timestamptz language sql volatile as
        'select pg_catalog.clock_timestamp() + make_interval(secs => seconds) from public.clock_ahead';
    do $$ begin
        execute format('alter database %I set search_path = public, pg_catalog', current_database());
    end $$";

/// A grid on such a clock.
pub(super) async fn grid() -> Grid {
    let database = empty_database().await;
    database.execute(CLOCK).await;
    let store = Store::connect(&database.config()).await.unwrap();
    store.migrate().await.unwrap();
    Grid::over(database, store)
}

/// Time passes, in which those who live go on: the API's beats, these workers' heartbeats with the leases of what they
/// hold, and who leads, if it does.
pub(super) async fn pass(grid: &Grid, by: Duration, living: &[WorkerId], leads: bool) {
    let seconds = by.as_secs_f64();
    let later = format!("make_interval(secs => {seconds})");
    let living: Vec<String> = living.iter().map(|worker| format!("'{worker}'")).collect();
    let living = if living.is_empty() { "''".to_owned() } else { living.join(", ") };
    let mut statements = Vec::new();
    if leads {
        statements.push(format!("update leadership set deadline = deadline + {later}"));
    }
    statements.push(format!("update api_outage set last_beat_at = last_beat_at + {later}"));
    statements.push(format!(
        "update worker_heartbeats set last_heartbeat_at = last_heartbeat_at + {later} where worker_id in ({living})"
    ));
    statements.push(format!(
        "update attempts set lease_until = lease_until + {later} where state = 'running' and worker_id in ({living})"
    ));
    // Last: until then all of them have only come earlier than they were due.
    statements.push(format!("update clock_ahead set seconds = seconds + {seconds}"));
    // Each by itself: whoever works meanwhile takes the same rows in another order.
    let each = statements.iter().map(|statement| format!("begin; {statement}; commit;"));
    grid.database.execute(&each.collect::<String>()).await;
}

/// The clock alone jumps.
pub(super) async fn jump(grid: &Grid, by: Duration) {
    let seconds = by.as_secs_f64();
    grid.database.execute(&format!("update clock_ahead set seconds = seconds + {seconds}")).await;
}
