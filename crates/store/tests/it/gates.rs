//! What happens between a statement's snapshot and its locks: the statement is stopped there, by a `now()` of ours that
//! waits at a gate. It is volatile, or the planner would ask it before there is a snapshot.

use std::pin::pin;
use std::time::{Duration, Instant};

use rgrid_core::execution::Status;
use rgrid_store::{Store, StoreConfig};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::stage::{Stage, sha256, submission};

/// Whoever waits for a gate longer than this waits for ever.
const DEADLINE: Duration = Duration::from_secs(30);

/// Who is not held off in this time is through: only without the guard.
const HELD_OFF: Duration = Duration::from_secs(3);

/// Statements of sessions that begin after this stop at their first `now()` while the gate is shut.
const GATE: &str = "
create schema gate;
create function gate.now() returns timestamptz volatile language plpgsql as $$
begin
    perform pg_advisory_xact_lock_shared(42);
    return pg_catalog.now();
end $$;
do $$ begin
    execute format('alter database %I set search_path = gate, pg_catalog, public', current_database());
end $$";

async fn wait_until_somebody_stands_at_the_gate(connection: &mut PgConnection) {
    let started = Instant::now();
    let waiting =
        "select count(*) > 0 from pg_locks where locktype = 'advisory' and objid = 42 and not granted";
    while !sqlx::query_scalar::<_, bool>(waiting).fetch_one(&mut *connection).await.unwrap() {
        assert!(started.elapsed() < DEADLINE, "nobody came to the gate");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_blob_that_was_named_after_the_collection_looked_stays() {
    let stage = Stage::new().await;
    stage.upload(b"wanted").await;
    let execution = stage.submit(&[], false).await;
    stage.execute("update blobs set last_used_at = now() - interval '31 days'").await;
    stage.execute(GATE).await;
    let config = StoreConfig { application_name: "collector".to_owned(), ..stage.database.config() };
    let collector = Store::connect(&config).await.unwrap();
    let mut gate = stage.sql().await;
    sqlx::raw_sql("select pg_advisory_lock(42)").execute(&mut gate).await.unwrap();
    let collecting = tokio::spawn(async move { collector.shrink_blobs(0).await.unwrap().blobs });
    wait_until_somebody_stands_at_the_gate(&mut gate).await;
    // What a submission writes before its transaction ends, without the touch that comes after it.
    let statements = format!(
        "begin; select from blobs for key share;
        insert into artifacts (execution_id, kind, path, entry, sha256)
            select '{execution}', 'input', '/x', 'file', sha256 from blobs;
        commit; select pg_advisory_unlock(42)"
    );
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut gate).await.unwrap();
    assert_eq!(collecting.await.unwrap(), 0);
    assert_eq!(stage.read_blob(sha256(b"wanted")).await.unwrap(), b"wanted");
}

#[tokio::test]
async fn an_input_that_arrives_while_its_submission_is_written_is_not_missed() {
    let stage = Stage::new().await;
    stage.upload(b"before").await; // its session knows no gate
    stage.execute(GATE).await;
    let config = StoreConfig { application_name: "submitter".to_owned(), ..stage.database.config() };
    let submitter = Store::connect(&config).await.unwrap();
    let mut gate = stage.sql().await;
    sqlx::raw_sql("select pg_advisory_lock(42)").execute(&mut gate).await.unwrap();
    let (account, wanted) = (stage.account, submission(&[b"wanted"], false));
    let submitting = tokio::spawn(async move {
        submitter.create_execution(account, &wanted, false, None).await.unwrap().execution.id
    });
    // It has seen that the blob is missing, and has not written itself yet.
    wait_until_somebody_stands_at_the_gate(&mut gate).await;
    let opens = async {
        let held = "select count(*) > 0 from pg_locks
            where locktype = 'advisory' and classid = x'72670002'::int::oid and not granted";
        let is_done =
            async { while !sqlx::query_scalar::<_, bool>(held).fetch_one(&mut gate).await.unwrap() {} };
        // Held off, or through already.
        let _ = tokio::time::timeout(HELD_OFF, is_done).await;
        sqlx::raw_sql("select pg_advisory_unlock(42)").execute(&mut gate).await.unwrap();
    };
    tokio::join!(stage.upload(b"wanted"), opens);
    let execution = submitting.await.unwrap();
    let row = stage.store.execution(stage.account, execution).await.unwrap();
    assert_eq!(row.status, Status::Queued);
}

#[tokio::test]
async fn two_commits_of_one_upload_at_once_keep_its_object() {
    let stage = Stage::new().await;
    // Who makes a blob stops before its row is there: what it saw when it began is old when it goes on.
    stage
        .execute(
            "create function stop() returns trigger language plpgsql as $$
            begin
                perform pg_advisory_xact_lock_shared(42);
                return new;
            end $$;
            create trigger stop before insert on blobs for each row execute function stop()",
        )
        .await;
    let mut gate = stage.sql().await;
    sqlx::raw_sql("select pg_advisory_lock(42)").execute(&mut gate).await.unwrap();
    let opens = async {
        // One at the gate, and the other there too, or held off by the first.
        let waiting = "select count(distinct l.pid) = 2 from pg_locks l join pg_stat_activity a using (pid)
            where not l.granted and a.datname = current_database()";
        let started = Instant::now();
        while !sqlx::query_scalar::<_, bool>(waiting).fetch_one(&mut gate).await.unwrap() {
            assert!(started.elapsed() < DEADLINE, "the two never met");
        }
        sqlx::raw_sql("select pg_advisory_unlock(42)").execute(&mut gate).await.unwrap();
    };
    let upload = stage.sent(b"wanted").await;
    let (one, other, ()) =
        tokio::join!(stage.commit(upload.id, upload.sha256), stage.commit(upload.id, upload.sha256), opens);
    assert_eq!((one, other), (Vec::new(), Vec::new()));
    assert_eq!(stage.read_blob(sha256(b"wanted")).await.unwrap(), b"wanted");
}

#[tokio::test]
async fn a_submission_that_cannot_be_queued_leaves_nothing() {
    let stage = Stage::new().await;
    stage
        .execute(
            "create function fail() returns trigger language plpgsql as $$
            begin raise exception 'the disk is full'; end $$;
            create trigger fail before insert on queue for each row execute function fail()",
        )
        .await;
    let sent = submission(&[], false);
    assert!(stage.store.create_execution(stage.account, &sent, false, None).await.is_err());
    assert_eq!(stage.count("select count(*) from executions").await, 0);
    stage.execute("drop trigger fail on queue").await;
    stage.store.create_execution(stage.account, &sent, false, None).await.unwrap();
    assert_eq!(stage.count("select count(*) from executions join queue on execution_id = id").await, 1);
}

/// Lets `leaving` go on once the claim lock holds it off; fails when it does not.
async fn held_off_by_a_claim(
    stage: &Stage,
    leaving: impl Future<Output = rgrid_store::Result<bool>>,
) -> bool {
    let mut claim = stage.sql().await;
    sqlx::raw_sql("begin; select pg_advisory_xact_lock(x'72670001'::integer, 0)")
        .execute(&mut claim)
        .await
        .unwrap();
    let waiting = "select count(*) > 0 from pg_locks l join pg_stat_activity a using (pid)
        where l.locktype = 'advisory' and not l.granted and a.datname = current_database()";
    let mut leaving = pin!(leaving);
    loop {
        tokio::select! {
            left = &mut leaving => panic!("it left while work was claimed: {left:?}"),
            held_off = sqlx::query_scalar::<_, bool>(waiting).fetch_one(&mut claim) => {
                if held_off.unwrap() {
                    break;
                }
            }
        }
    }
    sqlx::raw_sql("commit").execute(&mut claim).await.unwrap();
    leaving.await.unwrap()
}

#[tokio::test]
async fn no_worker_leaves_while_work_is_claimed() {
    let stage = Stage::new().await;
    let term = stage.store.lead("a").await.unwrap().unwrap();
    let worker = stage.joined().await;
    assert!(held_off_by_a_claim(&stage, stage.store.mark_draining(&term, worker, "idle")).await);
    assert!(held_off_by_a_claim(&stage, stage.store.mark_terminating(&term, worker, "drained")).await);
}
