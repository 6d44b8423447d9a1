//! Garbage collection without a pause while the same few blobs are uploaded, named, finished with and forgotten over and
//! over. Time is made short by moving the times of rows, all the while: a second is a month. CI does it for seconds; `cargo xtask soak --gc`
//! for 10 minutes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rgrid_core::execution::Status;
use rgrid_core::id::ExecutionId;
use rgrid_store::Error;

use crate::stage::{Stage, sha256, submission};

/// Who submits at once.
const SUBMITTERS: usize = 4;
/// The blobs that all of them name.
const BLOBS: usize = 3;
/// Rounds of the collection at the end, each a month after the one before: rows go, then their objects.
const LAST_ROUNDS: u32 = 4;

fn lasting() -> Duration {
    if std::env::var_os("RGRID_SOAK").is_none() {
        return Duration::from_secs(8);
    }
    let minutes = std::env::var("RGRID_SOAK_MINUTES").map_or(10, |minutes| minutes.parse().unwrap());
    Duration::from_secs(60 * minutes)
}

/// What happened.
#[derive(Default)]
struct Tally {
    /// Submissions that were acknowledged with all their blobs here.
    complete: AtomicU64,
    /// Those that had to upload.
    uploaded: AtomicU64,
    collected: AtomicU64,
    over: AtomicBool,
}

/// Submits, and uploads what is missing until the execution is queued, as a client does.
async fn bring(stage: &Stage, content: &[u8], tally: &Tally) -> ExecutionId {
    let wanted = submission(&[content], false);
    let created = stage.store.create_execution(stage.account, &wanted, false, None).await.unwrap();
    let id = created.execution.id;
    let complete = created.execution.status == Status::Queued;
    assert_eq!(complete, created.missing.is_empty(), "told wrongly what is missing");
    if complete {
        tally.complete.fetch_add(1, Ordering::Relaxed);
        return id;
    }
    tally.uploaded.fetch_add(1, Ordering::Relaxed);
    while stage.store.execution(stage.account, id).await.unwrap().status == Status::Pending {
        match stage.try_upload(content).await {
            // Ours became too old while time flew, or somebody else's came first: it asks again.
            Ok(()) | Err(Error::NotFound { .. } | Error::Conflict { .. } | Error::Invalid { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    id
}

/// One who submits: from its acknowledgement until its end, an execution's blob is there and whole.
async fn submitter(stage: Arc<Stage>, number: usize, tally: Arc<Tally>) {
    let mut turn = number;
    while !tally.over.load(Ordering::Relaxed) {
        turn += 1;
        let content = content(turn);
        let id = bring(&stage, &content, &tally).await;
        for _ in 0..3 {
            assert!(stage.read_blob(sha256(&content)).await.unwrap() == content, "a blob is garbled");
            tokio::task::yield_now().await;
        }
        // It ends so long ago that the next round takes it.
        stage.end_execution(id, 31).await;
    }
}

fn content(turn: usize) -> Vec<u8> {
    crate::stage::content(u8::try_from(turn % BLOBS).unwrap(), 10_000)
}

/// Collects. A second is a month meanwhile: what happened before the last second is old.
async fn collector(stage: Arc<Stage>, tally: Arc<Tally>) {
    while !tally.over.load(Ordering::Relaxed) {
        stage
            .execute(
                "update blobs set last_used_at = last_used_at - interval '31 days'
                where last_used_at < now() - interval '1 second';
                update uploads set touched_at = touched_at - interval '31 days'
                where touched_at < now() - interval '1 second';
                update discarded_objects set delete_after = delete_after - interval '31 days'
                where delete_after < now() + interval '24 hours' - interval '1 second'",
            )
            .await;
        tally.collected.fetch_add(stage.collect().await.blobs, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_named_is_never_collected_and_all_else_is() {
    let stage = Arc::new(Stage::new().await);
    let tally = Arc::new(Tally::default());
    let submitters: Vec<_> =
        (0..SUBMITTERS).map(|number| tokio::spawn(submitter(stage.clone(), number, tally.clone()))).collect();
    let collector = tokio::spawn(collector(stage.clone(), tally.clone()));
    let until = Instant::now() + lasting();
    while Instant::now() < until && !submitters.iter().any(tokio::task::JoinHandle::is_finished) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tally.over.store(true, Ordering::Relaxed);
    for submitter in submitters {
        submitter.await.unwrap();
    }
    collector.await.unwrap();
    let kept = stage.submit(&[&content(0)], false).await;
    let is_here = stage.store.execution(stage.account, kept).await.unwrap().status == Status::Queued;
    for _ in 0..LAST_ROUNDS {
        stage.age(31).await;
        stage.collect().await;
    }
    assert_eq!(stage.read_blob(sha256(&content(0))).await.is_ok(), is_here);
    assert_eq!(stage.object_files(), usize::from(is_here), "objects that nothing names");
    assert_eq!(stage.count("select count(*) from blobs").await, i64::from(is_here));
    assert_eq!(stage.count("select count(*) from uploads").await, 0);
    assert_eq!(stage.count("select count(*) from discarded_objects").await, 0);
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    println!(
        "{} submissions found their blob here, {} uploaded it; {} blobs were collected meanwhile",
        of(&tally.complete),
        of(&tally.uploaded),
        of(&tally.collected)
    );
    assert!(of(&tally.complete) > 0 && of(&tally.uploaded) > 0 && of(&tally.collected) > 0);
}
