//! How long a claim takes when much waits: 10,000 queued rows against 1,000,000, a capped batch of 1,000,000 ahead of
//! another account's job, and 10,000 open batches. DESIGN section 12 has the target: at most twice as long.
//!
//! `cargo bench -p rgrid-store --bench claim [-- PART OF A NAME]`; `RGRID_BENCH_SNAPSHOT=1` holds an old snapshot open meanwhile.
#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::time::{Duration, Instant};

use rgrid_core::id::{AccountId, WorkerId};
use rgrid_core::submission::{Draft, Program};
use rgrid_core::worker::{Capacity, LimitGrade};
use rgrid_store::claim::Poll;
use rgrid_store::testing::{self, TestDatabase};
use rgrid_store::workers::{JoinRow, SandboxRow};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

const CLAIMS: usize = 200;
const WHOLE: Capacity = Capacity { cpu_millis: 64_000, memory_bytes: 1 << 40, disk_bytes: 1 << 40 };

#[tokio::main]
async fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    println!("{:<56} {:>9} {:>9} {:>9}", "queue", "p50 ms", "p99 ms", "rows/s");
    for (name, rows, batches, parallel) in [
        ("10,000 rows", 10_000, 0, 0),
        ("1,000,000 rows", 1_000_000, 0, 0),
        ("1,000,000 rows of one capped batch, another account", 1_000_000, 1, 10),
        ("10,000 batches of 10 rows", 100_000, 10_000, 5),
    ] {
        if wanted.as_ref().is_none_or(|part| name.contains(part)) {
            measure(name, rows, batches, parallel).await;
        }
    }
}

async fn measure(name: &str, rows: u64, batches: u64, parallel: u32) {
    let database = testing::database().await;
    let account = database.store().default_account().await.expect("migrate made it").id;
    fill(&database, account, rows, batches, parallel).await;
    if batches == 1 {
        let other = database.store().create_account("other").await.expect("its name is free").id;
        fill(&database, other, 10_000, 0, 0).await;
    }
    let mut snapshot = PgConnection::connect(&database.url).await.expect("the test server answers");
    if std::env::var_os("RGRID_BENCH_SNAPSHOT").is_some() {
        let hold = "begin isolation level repeatable read; select count(*) from accounts";
        sqlx::raw_sql(hold).execute(&mut snapshot).await.expect("a snapshot can be taken");
    }
    let worker = join(&database).await;
    let mut times = Vec::with_capacity(CLAIMS);
    let mut claimed = 0;
    let started = Instant::now();
    for _ in 0..CLAIMS {
        let poll = Poll { worker_id: worker, slots: 8, free: WHOLE };
        let from = Instant::now();
        claimed += database.store().claim(&[poll]).await.expect("a claim succeeds").len();
        times.push(from.elapsed());
    }
    let rate = claimed as f64 / started.elapsed().as_secs_f64();
    times.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let (p50, p99) = (ms(times[CLAIMS / 2]), ms(times[CLAIMS * 99 / 100]));
    println!("{name:<56} {p50:>9.2} {p99:>9.2} {rate:>9.0}");
}

async fn join(database: &TestDatabase) -> WorkerId {
    let store = database.store();
    let token = store.create_join_token(None, Duration::from_secs(60)).await.expect("a token can be made");
    let sandbox = SandboxRow {
        kind: "process".to_owned(),
        network: "veth".to_owned(),
        limits: LimitGrade::Hard,
        disk: LimitGrade::Hard,
    };
    let join = JoinRow {
        token,
        nonce: "n".to_owned(),
        version: "0".to_owned(),
        hostname: "bench".to_owned(),
        slots: 1_000_000,
        capacity: WHOLE,
        sandbox,
        docker: false,
    };
    store.join(&join).await.expect("a fresh token is good").0
}

/// Queues rows as copies of one submission.
async fn fill(database: &TestDatabase, account: AccountId, rows: u64, batches: u64, parallel: u32) {
    let draft = Draft {
        name: None,
        program: Program::Module("m".to_owned()),
        args: Vec::new(),
        cwd: "/tmp".parse().expect("it is absolute"),
        project_root: "/tmp".parse().expect("it is absolute"),
        inputs: Vec::new(),
        runtime: rgrid_core::runtime::DEFAULT_RUNTIME,
        interpreter: None,
        interpreter_state: None,
        environment: Default::default(),
        stdin: false,
        wanted: Default::default(),
        timeout: Duration::from_secs(60),
        grace: Duration::from_secs(10),
        retries: 2,
        retry_on: Vec::new(),
        network: true,
        output_roots: Vec::new(),
        outputs: Vec::new(),
        priority: 0,
        metadata: Default::default(),
        umask: rgrid_core::submission::UMASK,
        dependencies: None,
    };
    let sample = draft.parse().expect("the draft is right");
    let sample =
        database.store().create_execution(account, &sample, false, None).await.expect("it is accepted");
    let sample = sample.execution.id;
    let statements = format!(
        "create sequence if not exists filled;
        insert into batches (id, account_id, parallel)
        select 'batch_' || lpad(n::text, 26, '0'), '{account}', {parallel} from generate_series(1, {batches}) n;
        insert into lanes (account_id, batch_id, priority, cpu_millis, memory_bytes, disk_bytes, sandbox, head_age)
        select account_id, id, 0, 0, 0, 0, 'process', now() from batches where account_id = '{account}';
        create temporary table lane as
        select id, batch_id, row_number() over (order by id) - 1 as number
        from lanes where account_id = '{account}' and (batch_id is null) = ({batches} = 0);
        create index on lane (number);
        with made as (
            insert into executions (id, account_id, batch_id, lane_id, status, program_kind, program, args, cwd,
                project_root, runtime, environment_names, stdin, timeout_ms, grace_ms, retries, retry_on, network,
                output_roots, outputs, priority, metadata)
            select 'exec_7' || lpad(nextval('filled')::text, 25, '0'), '{account}', l.batch_id, l.id, 'queued',
                e.program_kind, e.program, e.args, e.cwd, e.project_root, e.runtime, e.environment_names, e.stdin,
                e.timeout_ms, e.grace_ms, e.retries, e.retry_on, e.network, e.output_roots, e.outputs, e.priority,
                e.metadata
            from generate_series(1, {rows}) n
            join lane l on l.number = n % greatest({batches}, 1)
            join executions e on e.id = '{sample}'
            returning id, lane_id, created_at
        )
        insert into queue (execution_id, lane_id, age) select id, lane_id, created_at from made;
        drop table lane;
        vacuum analyze;"
    );
    let mut connection = PgConnection::connect(&database.url).await.expect("the test server answers");
    for statement in statements.split_inclusive(';') {
        let filled = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await;
        filled.expect("rows can be inserted");
    }
}
