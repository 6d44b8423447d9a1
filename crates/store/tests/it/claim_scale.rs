//! The claim when much waits (SEMANTICS section 2, DESIGN section 12): a queue of 10,000 rows against one of 1,000,000; then
//! a batch of 1,000,000 at its limit ahead of 10,000 open batches and of another account's jobs, with 64 claimers at once
//! and one old snapshot open. CI tries a tenth; `cargo xtask soak --claims` all of it, for 10 minutes.
//!
//! What is asserted is read from the attempts afterwards, never from what the claim itself counts. Times are printed.
#![expect(clippy::print_stdout, reason = "what was measured is printed")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rgrid_core::id::{AccountId, ExecutionId, WorkerId};
use rgrid_core::outcome::Outcome;
use rgrid_core::{Timestamp, limits};
use rgrid_store::claim::Claimed;
use rgrid_store::{Store, StoreConfig};
use sqlx::PgConnection;
use tokio::sync::mpsc;

use crate::crew::{auth, finish, poll};
use crate::queued::numbered;
use crate::stage::{Stage, submission};

/// Attempts that one poll asks for.
const SLOTS: u32 = 4;
/// What the batch of the many may run at once.
const CAPPED: u32 = 10;
/// Connections besides the claimers'.
const CONNECTIONS_BESIDE: u32 = 16;
/// The claimers look over their limits this often, from outside.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The other account submits one so often, once its last one was claimed.
const OTHER_EVERY: Duration = Duration::from_millis(50);
/// Whatever was not claimed by then never will be.
const DEADLINE: Duration = Duration::from_secs(120);
/// Times are printed for each of so many parts of the time in which the snapshot is open.
const PARTS: u32 = 10;

struct Size {
    few: u32,
    many: u32,
    batches: u32,
    claimers: usize,
    /// Claims of each claimer while the two queues are compared.
    claims: usize,
    /// How long the old snapshot stays open.
    lasting: Duration,
}

fn size() -> Size {
    let claimers = limits::CLAIM_POLLS_MAX;
    if std::env::var_os("RGRID_SOAK").is_some() {
        let minutes = std::env::var("RGRID_SOAK_MINUTES").map_or(10, |minutes| minutes.parse().unwrap());
        let lasting = Duration::from_secs(60 * minutes);
        return Size { few: 10_000, many: 1_000_000, batches: 10_000, claimers, claims: 30, lasting };
    }
    Size { few: 4_000, many: 100_000, batches: 1_000, claimers, claims: 6, lasting: Duration::from_secs(12) }
}

/// What the claimers share.
struct Ground {
    store: Store,
    /// Nothing more will be queued, and all that may be was claimed.
    over: AtomicBool,
    /// Executions that were claimed, without those that are told.
    claimed: AtomicU64,
    /// Each claimed execution of this account is told.
    told: Option<(AccountId, mpsc::UnboundedSender<ExecutionId>)>,
}

/// What one claimer saw.
#[derive(Default)]
struct Tally {
    /// When each claim was answered, and what it took.
    times: Vec<(Instant, Duration)>,
    claimed: Vec<ExecutionId>,
}

/// Claims until it is over, and finishes what it got one claim later, so that something runs at any time.
async fn claimer(ground: Arc<Ground>, worker: WorkerId, claims: usize) -> Tally {
    let mut tally = Tally::default();
    let mut held: Vec<Claimed> = Vec::new();
    while tally.times.len() < claims && !ground.over.load(Ordering::Relaxed) {
        let from = Instant::now();
        let claimed = ground.store.claim(&[poll(worker, SLOTS)]).await.unwrap();
        tally.times.push((Instant::now(), from.elapsed()));
        tally.claimed.extend(claimed.iter().map(|claimed| claimed.attempt.execution_id));
        for claimed in &claimed {
            match &ground.told {
                Some((account, told)) if *account == claimed.account_id => {
                    told.send(claimed.attempt.execution_id).unwrap();
                }
                Some(_) | None => {
                    ground.claimed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        for ended in std::mem::replace(&mut held, claimed) {
            let ended = auth(&ended);
            ground.store.finish(&ended, &finish(Outcome::Exited { code: 0 }), [0; 32]).await.unwrap();
        }
        tokio::task::yield_now().await;
    }
    for ended in held {
        ground.store.finish(&auth(&ended), &finish(Outcome::Exited { code: 0 }), [0; 32]).await.unwrap();
    }
    tally
}

/// A store with a connection for each claimer.
async fn wide_store(stage: &Stage, claimers: usize) -> Store {
    let max_connections = u32::try_from(claimers).unwrap() + CONNECTIONS_BESIDE;
    Store::connect(&StoreConfig { max_connections, ..stage.database.config() }).await.unwrap()
}

/// Starts so many claimers.
async fn start(
    stage: &Stage,
    ground: &Arc<Ground>,
    claimers: usize,
    claims: usize,
) -> Vec<tokio::task::JoinHandle<Tally>> {
    let mut started = Vec::new();
    for _ in 0..claimers {
        let worker = stage.joined().await;
        started.push((ground.clone(), worker));
    }
    started.into_iter().map(|(ground, worker)| tokio::spawn(claimer(ground, worker, claims))).collect()
}

/// p50 and p99 in milliseconds.
fn percentiles(times: impl Iterator<Item = Duration>) -> (f64, f64) {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    (at(50), at(99))
}

/// Claims from a queue of so many rows of one account.
async fn queue_of(size: &Size, rows: u32) -> (f64, f64) {
    let stage = Stage::new().await;
    stage.queue(stage.account, None, rows).await;
    stage.execute("vacuum analyze").await;
    let store = wide_store(&stage, size.claimers).await;
    let ground = Arc::new(Ground { store, over: false.into(), claimed: 0.into(), told: None });
    let mut times = Vec::new();
    for claimer in start(&stage, &ground, size.claimers, size.claims).await {
        times.extend(claimer.await.unwrap().times);
    }
    let measured = percentiles(times.into_iter().map(|(_, took)| took));
    println!("queue of {rows:>9} rows: claim p50 {:>7.1} ms, p99 {:>7.1} ms", measured.0, measured.1);
    ground.store.close().await;
    measured
}

/// Jobs of another account, one after the other, each with the moment from which it could be claimed.
async fn other_account(
    ground: Arc<Ground>,
    account: AccountId,
    mut told: mpsc::UnboundedReceiver<ExecutionId>,
    until: Instant,
) -> Vec<(ExecutionId, Timestamp)> {
    let mut accepted = Vec::new();
    let mut pace = tokio::time::interval(OTHER_EVERY);
    while Instant::now() < until {
        pace.tick().await;
        let created =
            ground.store.create_execution(account, &submission(&[], false), false, None).await.unwrap();
        let id = created.execution.id;
        accepted.push((id, ground.store.now().await.unwrap()));
        let claimed = tokio::time::timeout(DEADLINE, told.recv()).await;
        assert_eq!(claimed.expect("the other account's job was not claimed"), Some(id));
    }
    accepted
}

/// Looks at what runs, beside everybody, and answers how often. Not through all that ever ran: that would be as dear, with
/// the old snapshot open, as all claims. What it would miss is found afterwards, from when attempts began and ended.
async fn look_over(mut connection: PgConnection, ground: Arc<Ground>) -> u32 {
    let mut looks = 0;
    let mut pace = tokio::time::interval(LOOK_EVERY);
    while !ground.over.load(Ordering::Relaxed) {
        pace.tick().await;
        let beyond: i64 = sqlx::query_scalar(
            "select count(*)
            from (
                select batch_id, count(*) from attempts
                where state = 'running' and generation >= (select number - 1 from running_generation)
                group by batch_id
            ) running
            join batches b on b.id = running.batch_id
            where running.count > b.parallel",
        )
        .fetch_one(&mut connection)
        .await
        .unwrap();
        assert_eq!(beyond, 0, "batches ran beyond their limits");
        looks += 1;
    }
    looks
}

/// The most that ran at once beyond a batch's limit, of all moments, from when attempts began and ended. An attempt's end
/// stands in its row a little before it counts as ended, and its beginning a little after it was counted: no mistake.
const BEYOND: &str = "
select coalesce(max(running - parallel), 0)
from (
    select b.parallel, sum(change) over (partition by b.id order by at, change) as running
    from batches b
    join (
        select batch_id, claimed_at as at, 1 as change from attempts
        union all
        select batch_id, ended_at, -1 from attempts where ended_at is not null
    ) changes on changes.batch_id = b.id
) moments";

/// The most attempts that were begun between the moment at which another account's job could be claimed and its claim.
const PASSED: &str = "
select coalesce(max((
    select count(*) from attempts a where a.claimed_at > o.accepted and a.claimed_at < b.claimed_at
)), 0)
from unnest($1::text[], $2::timestamptz[]) o (id, accepted)
join attempts b on b.execution_id = o.id";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_at_scale_hold_every_limit_and_starve_nobody() {
    let size = size();
    let few = queue_of(&size, size.few).await;
    let many = queue_of(&size, size.many).await;
    let crowd = crowd(&size).await;
    for (what, measured) in [("the long queue", many), ("all at once, to the end", crowd)] {
        let ratio = (measured.0 / few.0, measured.1 / few.1);
        println!("{what} against the short queue: p50 {:.2}x, p99 {:.2}x", ratio.0, ratio.1);
    }
}

/// All at once. Answers what a claim took in the last tenth of it.
async fn crowd(size: &Size) -> (f64, f64) {
    let stage = Stage::new().await;
    stage.make_batches(stage.account, 0, 1, &CAPPED.to_string()).await;
    stage.execute("update batches set name = 'the many'").await;
    let sample = stage.sample().await;
    stage.queue_in_lanes(&sample, &format!("l.batch_id = '{}'", numbered(0)), size.many).await;
    stage.make_batches(stage.account, 1, size.batches, "1 + n % 5").await;
    let initial = 4;
    stage.queue_in_lanes(&sample, &format!("l.batch_id > '{}'", numbered(0)), initial).await;
    stage.execute("vacuum analyze").await;
    let other = stage.store.create_account("other").await.unwrap().id;
    let (tell, told) = mpsc::unbounded_channel();
    let store = wide_store(&stage, size.claimers).await;
    let ground = Arc::new(Ground { store, over: false.into(), claimed: 0.into(), told: Some((other, tell)) });
    // The capped batch is the oldest: the first claim takes of it what may run, and never gives it back.
    let hog = stage.joined().await;
    assert_eq!(ground.store.claim(&[poll(hog, CAPPED)]).await.unwrap().len() as u32, CAPPED);
    let mut snapshot = stage.sql().await;
    sqlx::raw_sql("begin isolation level repeatable read; select count(*) from accounts")
        .execute(&mut snapshot)
        .await
        .unwrap();
    let from = Instant::now();
    let until = from + size.lasting;
    let claimers = start(&stage, &ground, size.claimers, usize::MAX).await;
    let others = tokio::spawn(other_account(ground.clone(), other, told, until));
    let looks = tokio::spawn(look_over(stage.sql().await, ground.clone()));
    feed(&stage, &ground, size, &sample, initial, snapshot, until).await;
    let others = others.await.unwrap();
    ground.over.store(true, Ordering::Relaxed);
    let looks = looks.await.unwrap();
    let (mut ids, mut times) = (Vec::new(), Vec::new());
    for claimer in claimers {
        let tally = claimer.await.unwrap();
        times.extend(tally.times);
        ids.extend(tally.claimed);
    }
    println!(
        "{} claimers, {} rows of a capped batch, {} batches with limits, a snapshot of {} s:",
        size.claimers,
        size.many,
        size.batches,
        size.lasting.as_secs()
    );
    let mut measured = (0.0, 0.0);
    for part in 0..PARTS {
        let (begin, end) = (from + size.lasting * part / PARTS, from + size.lasting * (part + 1) / PARTS);
        let within: Vec<Duration> =
            times.iter().filter(|(at, _)| (begin..end).contains(at)).map(|(_, took)| *took).collect();
        measured = percentiles(within.iter().copied());
        println!(
            "  until {:>3} s: {:>6} claims, p50 {:>7.1} ms, p99 {:>7.1} ms",
            (end - from).as_secs(),
            within.len(),
            measured.0,
            measured.1
        );
    }
    check(&stage, &ids, &others).await;
    println!(
        "{} claimed, each once; {} of another account; limits looked over {looks} times",
        ids.len(),
        others.len()
    );
    ground.store.close().await;
    measured
}

/// Queues more into the batches, in turns, until it is time to end, and waits until all of it was claimed.
async fn feed(
    stage: &Stage,
    ground: &Ground,
    size: &Size,
    sample: &str,
    initial: u32,
    mut snapshot: PgConnection,
    until: Instant,
) {
    let enough = u64::from(size.batches * initial / 2);
    let mut queued = u64::from(size.batches * initial);
    let (mut turn, turns) = (0_u32, 10);
    while Instant::now() < until {
        if queued.saturating_sub(ground.claimed.load(Ordering::Relaxed)) < enough {
            let lanes = format!("l.batch_id > '{}' and l.batch_id like '%{turn}'", numbered(0));
            stage.queue_in_lanes(sample, &lanes, 2).await;
            queued += u64::from(size.batches / turns * 2);
            turn = (turn + 1) % turns;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    sqlx::raw_sql("rollback").execute(&mut snapshot).await.unwrap();
    let (mut last, mut since) = (0, Instant::now());
    while last < queued {
        let claimed = ground.claimed.load(Ordering::Relaxed);
        if claimed > last {
            (last, since) = (claimed, Instant::now());
        }
        assert!(since.elapsed() < DEADLINE, "{} of them are never claimed", queued - last);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Each execution claimed once, no limit passed, nobody starved.
async fn check(stage: &Stage, ids: &[ExecutionId], others: &[(ExecutionId, Timestamp)]) {
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "claimed twice");
    let attempts = stage.count("select count(*) from attempts where number = 1").await;
    assert_eq!(attempts, ids.len() as i64 + i64::from(CAPPED));
    assert_eq!(stage.count("select count(*) from attempts where number > 1").await, 0);
    let unclaimed = "select count(*) from executions e join batches b on b.id = e.batch_id
        where e.status = 'queued' and b.name is null";
    assert_eq!(stage.count(unclaimed).await, 0);
    assert_eq!(stage.count(BEYOND).await, 0, "beyond a limit");
    stage.execute("create index on attempts (claimed_at)").await;
    let passed: i64 = sqlx::query_scalar(PASSED)
        .bind(others.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>())
        .bind(others.iter().map(|(_, accepted)| *accepted).collect::<Vec<_>>())
        .fetch_one(&mut stage.sql().await)
        .await
        .unwrap();
    // The claim that was under way, and what the next one places beside it.
    assert!(passed < i64::from(2 * SLOTS), "{passed} were claimed before the other account's job");
    println!("at most {passed} attempts were begun between another account's submission and its claim");
}
