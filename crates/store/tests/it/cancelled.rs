//! Callers that are dropped while the database answers, as a request is whose client hangs up: no connection stays behind
//! inside a transaction that nobody ends, in which what the next caller writes would never be committed.

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};

use crate::stage::Stage;

/// Calls that are dropped, each a little later in its life than the one before.
const CALLS: u32 = 400;
/// The first is dropped at once, and each after it so much later.
const STEP: Duration = Duration::from_micros(5);
/// What was begun is ended within this; PostgreSQL itself ends it after 10 s.
const DEADLINE: Duration = Duration::from_secs(5);

/// Connections to this database, besides the one that asks, that wait for the next statement of a transaction.
async fn idle_in_transaction(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "select count(*) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and state like 'idle in transaction%'",
    )
    .fetch_one(connection)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_is_dropped_leaves_no_transaction_open() {
    let stage = Stage::new().await;
    let mut connection = PgConnection::connect(&stage.database.url).await.unwrap();
    for call in 0..CALLS {
        let started = Instant::now();
        // The runtime's timer is too coarse to meet the moment between a statement and its answer.
        let moment = async {
            while started.elapsed() < STEP * call {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            _ = stage.store.fleet(Duration::ZERO) => {}
            () = moment => {}
        }
        let dropped = Instant::now();
        while idle_in_transaction(&mut connection).await > 0 {
            assert!(dropped.elapsed() < DEADLINE, "a transaction stays open, after {:?}", STEP * call);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
