//! Two replicas: runners and followers spread over both, and one replica that ends without a word.

use std::time::Duration;

use futures_util::StreamExt;
use rgrid_api::logs::Stream;
use rgrid_api::outcome::CancelledByBody;
use rgrid_api::workers::{Heartbeat, LeaseRequest};
use rgrid_server::Bounds;
use rgrid_store::Store;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::harness::{
    CAPACITY, DEADLINE, Followed, Grid, VERSION, attempt_of, client, finish, module, submit,
};

/// Longer than any test waits: an answer that comes earlier came for a reason.
const LONG: Duration = Duration::from_secs(20);
/// A replica that is ended is gone within this.
const END: Duration = Duration::from_secs(10);

/// A replica on threads of its own, which can end as one that is killed does: nothing is drained or handed back, and
/// its connections break.
struct Doomed {
    url: String,
    runtime: Option<Runtime>,
}

impl Doomed {
    async fn start(grid: &Grid) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let database = grid.database.config();
        let bound = runtime.spawn(async move {
            let store = Store::connect(&database).await.unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let config = rgrid_server::Config {
                public_url: None,
                version: VERSION.to_owned(),
                bounds: Bounds::default(),
                largest_type: None,
                images: rgrid_core::runtime::Images::Own,
                sandbox: rgrid_core::runtime::SandboxKind::Process,
                docker: rgrid_server::Docker::OfWorkers,
            };
            tokio::spawn(rgrid_server::run(config, store, listener, CancellationToken::new()));
            url
        });
        Self { url: bound.await.unwrap(), runtime: Some(runtime) }
    }

    /// Nothing of it runs any more when this returns.
    async fn kill(mut self) {
        let runtime = self.runtime.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(END)).await.unwrap();
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[tokio::test]
async fn runners_and_followers_are_served_by_either_replica() {
    let grid = Grid::start().await;
    let other = grid.another_replica().await;
    let urls = [grid.url(), other.url.as_str()];
    // Each waits at one replica for what is submitted at the other.
    for (here, there) in [(urls[0], urls[1]), (urls[1], urls[0])] {
        let (me, runner) = (client(here, &grid.key), grid.runner().await.at(there));
        let poll = tokio::spawn(async move { (runner.lease().await, runner) });
        let id = submit(&me, &module()).await.execution.id;
        let (lease, runner) = poll.await.unwrap();
        assert_eq!((lease.execution_id.as_str(), lease.attempt), (id.as_str(), 1));

        let attempt = attempt_of(&lease);
        let followers = urls.map(|url| {
            let (client, id) = (client(url, &grid.key), id.clone());
            tokio::spawn(async move { Followed::to_end(&client, &id).await })
        });
        let elsewhere = runner.at(here);
        let mut written = Vec::new();
        for round in 0..20u8 {
            let line = vec![b'a' + round; usize::from(round) * 7 + 1];
            let runner = if round % 2 == 0 { &runner } else { &elsewhere };
            runner.push(&attempt, Stream::Stdout, written.len() as u64, &line).await;
            written.extend(line);
        }
        elsewhere.client.finish(&attempt, &finish(0, written.len() as u64, 0)).await.unwrap();
        for follower in followers {
            let followed = follower.await.unwrap();
            assert_eq!(followed.stdout, written);
            assert_eq!(followed.end.unwrap().status, "completed");
        }
    }
}

#[tokio::test]
async fn a_replica_that_is_killed_takes_no_poll_and_no_byte_with_it() {
    let grid = Grid::start().await;
    let doomed = Doomed::start(&grid).await;
    let there = client(&doomed.url, &grid.key);
    let here = grid.client();

    let id = submit(&there, &module()).await.execution.id;
    let runner = grid.runner().await;
    let attempt = attempt_of(&runner.at(&doomed.url).lease().await);
    let mut followers = Vec::new();
    for client in [&there, &there, &here] {
        followers.push((client.follow(&id, Default::default()).await.unwrap(), Followed::default()));
    }
    let line = |round: u8| vec![b'a' + round; 1000];
    runner.push(&attempt, Stream::Stdout, 0, &line(0)).await;
    for (events, seen) in &mut followers {
        seen.until(events, |seen| seen.stdout.len() == 1000).await;
    }
    let waits = grid.runner().await;
    let polling = waits.at(&doomed.url);
    let poll = tokio::spawn(async move {
        let request =
            LeaseRequest { slots: 1, free: CAPACITY, holding: Vec::new(), wait_ms: LONG.as_millis() as u64 };
        polling.client.lease(&request).await
    });
    // Who pushes through the replica while it ends does not know what was kept, and repeats it.
    let broken = runner.at(&doomed.url);
    let chunk = crate::harness::chunk(attempt.attempt, Stream::Stdout, 1000, &line(1));
    let body = rgrid_api::attempts::PushLogs { chunks: vec![chunk] };
    let (_, ()) = tokio::join!(broken.client.push_logs(&attempt, &body), doomed.kill());
    assert!(poll.await.unwrap().is_err(), "the poll broke");
    assert!(there.whoami().await.is_err(), "the replica is gone");

    // The poller asks the other one, and gets what comes then, once.
    let next = submit(&here, &module()).await.execution.id;
    let lease = waits.lease().await;
    assert_eq!((lease.execution_id.as_str(), lease.attempt), (next.as_str(), 1));
    assert!(runner.poll(1, Vec::new(), Duration::ZERO).await.leases.is_empty());

    runner.push(&attempt, Stream::Stdout, 1000, &line(1)).await;
    runner.push(&attempt, Stream::Stdout, 2000, &line(2)).await;
    runner.client.finish(&attempt, &finish(0, 3000, 0)).await.unwrap();
    for (mut events, mut seen) in followers {
        // What was on its way may still come; then the stream ends, or breaks, and the follower goes on by its cursor.
        while let Some(Ok(event)) = tokio::time::timeout(DEADLINE, events.next()).await.unwrap() {
            seen.take(event);
        }
        if seen.end.is_none() {
            seen.read(&here, &id, |_| false).await;
        }
        assert_eq!(seen.stdout, [line(0), line(1), line(2)].concat());
        let end = seen.end.unwrap();
        assert_eq!((end.status.as_str(), end.attempt), ("completed", 1));
    }
}

#[tokio::test]
async fn a_heartbeat_at_either_replica_keeps_a_worker_alive() {
    let grid = Grid::start().await;
    let doomed = Doomed::start(&grid).await;
    let id = submit(&grid.client(), &module()).await.execution.id;
    let runner = grid.runner().await;
    let lease = runner.lease().await;
    let beat = Heartbeat { holding: vec![attempt_of(&lease).held(lease.directive.version)] };
    let worker = runner.worker_id.parse().unwrap();
    let term = grid.store.lead("test").await.unwrap().expect("nobody else leads");
    let last = async || grid.store.workers().await.unwrap()[0].last_heartbeat_at;
    let silent = async |seen| grid.store.mark_dead(&term, worker, seen, "it is silent").await.unwrap();
    let at = |url: &str| runner.at(url);

    at(&doomed.url).client.heartbeat(&beat).await.unwrap();
    let mut seen = last().await;
    for url in [grid.url(), doomed.url.as_str(), grid.url()] {
        at(url).client.heartbeat(&beat).await.unwrap();
        assert!(!silent(seen).await, "a newer heartbeat came by the other replica");
        seen = last().await;
    }
    doomed.kill().await;
    at(grid.url()).client.heartbeat(&beat).await.unwrap();
    assert!(!silent(seen).await, "a newer heartbeat came by the replica that is left");
    let execution = grid.client().execution(&id).await.unwrap();
    assert_eq!((execution.status.as_str(), execution.attempt), ("running", 1));
    assert!(silent(last().await).await, "and none after the newest");
}

#[tokio::test]
async fn a_cancel_at_one_replica_reaches_the_runner_that_polls_at_the_other() {
    let grid = Grid::start().await;
    let other = grid.another_replica().await;
    for (here, there) in [(grid.url(), other.url.as_str()), (other.url.as_str(), grid.url())] {
        let me = client(here, &grid.key);
        let id = submit(&me, &module()).await.execution.id;
        let runner = grid.runner().await.at(there);
        let lease = runner.lease().await;
        let held = attempt_of(&lease).held(lease.directive.version);
        let poll = tokio::spawn(async move { runner.poll(1, vec![held], LONG).await });
        assert!(me.cancel(&id).await.unwrap().cancel_requested);
        let answer = poll.await.unwrap();
        let [directive] = answer.directives.as_slice() else { panic!("one directive: {answer:?}") };
        assert_eq!(directive.cancel, Some(CancelledByBody::User));
    }
}
