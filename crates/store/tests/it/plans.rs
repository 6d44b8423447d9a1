//! How PostgreSQL reaches the rows of every hot query, on tables as an old and busy grid has them: by an index, whatever
//! the settings. The store runs with `enable_seqscan = off`, which would hide a missing index, so plans are made with it
//! on as well; both are generic plans, as a connection that lives long uses them.
//!
//! The snapshot holds, for each query, the scans of its plan (as the store runs it) with their index conditions. After a
//! change of a query: `INSTA_UPDATE=always cargo test -p rgrid-store --test it plans`, and look at what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::stage::Stage;

/// Called for each execution or attempt, by every heartbeat, poll, flush or round, or once for each request of a client.
const HOT: [(&str, &str); 21] = [
    ("artifacts", "a page or a file of an execution's results is asked for"),
    ("attempts", "an attempt begins and ends"),
    ("blobs", "inputs and outputs come and go"),
    ("census", "an idle embedded grid asks it again and again, and so does monitoring"),
    ("claim", "every claim"),
    ("combined_cache", "an execution completes, or asks for one that did"),
    ("dependency_cache", "a worker lacks the environment of an attempt"),
    ("directives", "every heartbeat"),
    ("durations", "every round of an orchestrator that buys"),
    ("environment_logs", "an attempt gets its packages"),
    ("executions", "every submission and every page of a list"),
    ("fleet", "every round of the orchestrator"),
    ("follows", "followers are served each 50 ms"),
    ("ledger", "every hour of every server, and the month's sum in every round"),
    ("logs", "every push and every read of a log"),
    ("market", "every round of an orchestrator that buys"),
    ("queue", "everything that is queued"),
    ("retention", "it runs beside everything else, for ever"),
    ("servers", "every round of an orchestrator that buys"),
    ("stdin", "every push and every read of stdin"),
    ("uploads", "every part of every upload"),
];

/// Queries of other folders that are as hot.
const HOT_BESIDE: [(&str, &str); 9] = [
    ("grid/state", "every round of an orchestrator that buys"),
    ("keys/authenticate", "every request of a client"),
    ("keys/authenticate_worker", "every request of a worker"),
    ("keys/touch", "once a minute for each key"),
    ("leadership/check", "every write of the orchestrator"),
    ("leadership/lead", "every second"),
    ("outages/beat", "every flush of heartbeats"),
    ("outages/read", "every round of the orchestrator"),
    ("workers/heartbeat", "every flush of heartbeats"),
];

/// Asked now and then by people, or once in a life.
const COLD: [(&str, &str); 32] = [
    ("accounts/by_name", "an operator's command"),
    ("accounts/create", "an operator's command"),
    ("accounts/list", "an operator's command"),
    ("accounts/make_default", "once in the life of a grid"),
    ("executions/waiting", "one person asks why one execution waits; it counts what is ahead of it"),
    ("grid/id", "once in the life of a process"),
    ("grid/make", "once in the life of a grid"),
    ("grid/now", "reads no table"),
    ("grid/ping", "reads no table"),
    ("grid/restored", "an operator's command"),
    ("grid/stop_spending", "an operator's command"),
    ("grid/versions", "once in the life of a process"),
    ("keys/create", "an operator's command"),
    ("keys/list", "an operator's command"),
    ("keys/revoke", "an operator's command"),
    ("ledger/attempts", "a person asks what was spent on what"),
    ("ledger/hours", "a person asks what was spent on what"),
    ("ledger/lines", "a person asks what was spent"),
    ("leadership/resign", "once in the life of an orchestrator"),
    ("retention/blob_bytes", "the sum over all blobs, each ten minutes, in an embedded grid only"),
    ("workers/join", "once in the life of a worker"),
    ("workers/leaving", "once a second at most in a replica"),
    ("workers/list", "an operator's command"),
    ("workers/lock_token", "once in the life of a worker"),
    ("workers/make_static", "once in the life of a worker"),
    ("workers/make_token", "once in the life of a worker"),
    ("workers/promised", "once in the life of a worker"),
    ("workers/docker", "only submissions that run in an image ask it, of as many rows as there are workers"),
    ("workers/sizes", "once a second at most, and only while submissions name sizes"),
    ("workers/unlogged_commit", "reads no table"),
    ("workers/use_token", "once in the life of a worker"),
    ("queue/make_lane", "once in the life of a lane"),
];

/// Tables of a row, or of a row a replica: an index would cost more than it gives.
const TINY: [&str; 11] = [
    "grid",
    "api_outage",
    "api_beats",
    "leadership",
    "order_pauses",
    "order_refusals",
    "outlook",
    "provider_clocks",
    "running_generation",
    "type_shortfalls",
    "waiting_generation",
];

/// Walks from the start of a table or of an index that is not a partial one: query, what it walks through, and why that
/// is short.
const WALKS: [(&str, &str, &str); 10] = [
    ("census/take", "queue", "it counts what waits, once in each reading of the metrics"),
    ("census/take", "queue_pkey", "the same"),
    ("claim/nothing_queued", "queue", "one row is enough"),
    ("claim/nothing_queued", "queue_pkey", "one row is enough"),
    ("fleet/activity", "queue", "it counts to a limit"),
    ("fleet/activity", "queue_pkey", "it counts to a limit"),
    ("fleet/activity", "executions_pkey", "the newest one, from the end"),
    (
        "fleet/demand",
        "lanes",
        "it reads all lanes that wait: narrow rows, and as the store runs it by their index",
    ),
    ("retention/stdin", "stdin_streams", "it holds what has not ended, and a little more"),
    ("retention/stdin", "stdin_streams_pkey", "it holds what has not ended, and a little more"),
];

/// A scan of a plan: table, index, and the condition by which the index is entered.
type Scan = (String, Option<String>, Option<String>);

/// The scans of a plan in text.
fn scans(plan: &[String]) -> BTreeSet<Scan> {
    let mut found: Vec<Scan> = Vec::new();
    // The index of a bitmap stands below its table: the table is the last one that was named.
    let mut table = String::new();
    for line in plan {
        let line = line.trim_start().trim_start_matches("->").trim_start();
        if let Some(condition) = line.strip_prefix("Index Cond: ") {
            found.last_mut().unwrap().2 = Some(condition.to_owned());
        } else if let Some((_, at)) = line.split_once(" Scan on ").filter(|(kind, _)| kind.contains("Seq")) {
            found.push((first_word(at), None, None));
        } else if let Some((_, at)) = line.split_once(" Heap Scan on ") {
            table = first_word(at);
        } else if let Some(at) = line.strip_prefix("Bitmap Index Scan on ") {
            found.push((table.clone(), Some(first_word(at)), None));
        } else if let Some((_, at)) = line.split_once(" using ").filter(|(kind, _)| kind.contains("Index")) {
            let (index, at) = at.split_once(" on ").unwrap();
            found.push((first_word(at), Some(index.to_owned()), None));
        }
    }
    found.into_iter().collect()
}

fn first_word(text: &str) -> String {
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Every query of the folder, by its noun and verb.
fn queries() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("queries");
    let mut queries = BTreeMap::new();
    for noun in fs::read_dir(&root).unwrap() {
        for verb in fs::read_dir(noun.unwrap().path()).unwrap() {
            let path = verb.unwrap().path();
            let name = path.strip_prefix(&root).unwrap().with_extension("");
            queries.insert(name.to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap());
        }
    }
    queries
}

/// The generic plan of a query.
async fn plan(connection: &mut PgConnection, query: &str) -> Vec<String> {
    sqlx::raw_sql(AssertSqlSafe(format!("prepare hot as {query}"))).execute(&mut *connection).await.unwrap();
    let parameters: i32 = sqlx::query_scalar(
        "select cardinality(parameter_types) from pg_prepared_statements where name = 'hot'",
    )
    .fetch_one(&mut *connection)
    .await
    .unwrap();
    let nulls = vec!["null"; usize::try_from(parameters).unwrap()].join(", ");
    let call = if nulls.is_empty() { "hot".to_owned() } else { format!("hot ({nulls})") };
    let explain = AssertSqlSafe(format!("explain (costs off) execute {call}"));
    let plan = sqlx::query_scalar(explain).persistent(false).fetch_all(&mut *connection).await.unwrap();
    sqlx::raw_sql("deallocate hot").execute(connection).await.unwrap();
    plan
}

async fn session(stage: &Stage, sequential: &str) -> PgConnection {
    let mut connection = PgConnection::connect(&stage.database.url).await.unwrap();
    let settings = format!(
        "set enable_seqscan = {sequential}; set jit = off; set plan_cache_mode = force_generic_plan;
        set max_parallel_workers_per_gather = 0"
    );
    sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut connection).await.unwrap();
    connection
}

#[tokio::test]
async fn every_hot_query_reaches_its_rows_by_an_index() {
    let stage = Stage::new().await;
    let sample = stage.submit(&[], false).await;
    stage.end_execution(sample, 0).await;
    stage.execute(include_str!("plans/rows.sql").replace("SAMPLE", &sample.to_string())).await;
    let partial: Vec<String> =
        sqlx::query_scalar("select indexrelid::regclass::text from pg_index where indpred is not null")
            .fetch_all(&mut stage.sql().await)
            .await
            .unwrap();
    let mut as_run = session(&stage, "off").await;
    let mut as_chosen = session(&stage, "on").await;
    let (mut text, mut wrong) = (String::new(), String::new());
    for (name, query) in queries() {
        if COLD.iter().any(|(cold, _)| *cold == name) {
            continue;
        }
        let plans = [plan(&mut as_run, &query).await, plan(&mut as_chosen, &query).await];
        for plan in &plans {
            for (table, index, condition) in scans(plan) {
                let walk = condition.is_none() && index.as_ref().is_none_or(|index| !partial.contains(index));
                let what = index.as_ref().unwrap_or(&table);
                let known = WALKS.iter().any(|(query, walked, _)| *query == name && walked == what);
                if walk && !known && !TINY.contains(&table.as_str()) {
                    writeln!(wrong, "{name} walks through {table}:\n{}", plan.join("\n")).unwrap();
                }
            }
        }
        writeln!(text, "{name}").unwrap();
        for (table, index, condition) in scans(&plans[0]) {
            let index = index.unwrap_or_else(|| "nothing".to_owned());
            writeln!(text, "    {table} by {index} {}", condition.unwrap_or_default()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    insta::assert_snapshot!(text);
}

#[test]
fn every_query_is_known_as_hot_or_cold() {
    let queries = queries();
    let hot = |name: &str| {
        HOT_BESIDE.iter().any(|(hot, _)| *hot == name)
            || HOT.iter().any(|(noun, _)| name.split('/').next() == Some(noun))
    };
    let cold = |name: &str| COLD.iter().any(|(cold, _)| *cold == name);
    let unknown: Vec<&String> = queries.keys().filter(|name| !hot(name) && !cold(name)).collect();
    assert!(unknown.is_empty(), "say whether these are hot: {unknown:?}");
    let listed = HOT_BESIDE.iter().chain(&COLD).map(|(name, _)| *name);
    let gone: Vec<&str> = listed.filter(|name| !queries.contains_key(*name)).collect();
    assert!(gone.is_empty(), "no such queries: {gone:?}");
}
