//! The orchestrator and a provider that bills: the stand-in for the Hetzner Cloud API, whose servers the test plays.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use hetzner_sim::{Deed, Effect, Fault, Matching, Options, Pace, Stand};
use rgrid_core::execution::Status;
use rgrid_core::fleet::{Backing, FleetPolicy, ServerPolicy};
use rgrid_core::id::{ExecutionId, GridId, IntentId, WorkerId};
use rgrid_core::runtime::SandboxKind;
use rgrid_core::worker::{Capacity, WorkerStatus};
use rgrid_orchestrator::cloud::hetzner::{self, Boot, Hetzner, Token};
use rgrid_orchestrator::{Config, Period, Spending, run};
use rgrid_store::attempts::AttemptState;
use rgrid_store::claim::{Claimed, Poll};
use rgrid_store::directives::Held;
use rgrid_store::servers::{LedgerRow, server_name};
use rgrid_store::workers::HeartbeatRow;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::stage::{Grid, WHOLE, auth, finished, join_row, until};

/// The hour's edge, less the margin, and a little.
pub(crate) const TO_THE_EDGE: Duration = Duration::from_secs(3600 - 170);

/// A grid that buys, and whom it buys of.
pub(crate) struct Market {
    pub(crate) grid: Grid,
    pub(crate) stand: Stand,
    pub(crate) id: GridId,
}

/// The mark of a grid's server.
pub(crate) fn labels(grid: &str, intent: IntentId) -> BTreeMap<String, String> {
    let pairs = [
        (hetzner::GRID_LABEL, grid.to_owned()),
        (hetzner::INTENT_LABEL, intent.to_string()),
        (hetzner::WORKER_LABEL, WorkerId::new(1, [1; 10]).to_string()),
        (hetzner::EPOCH_LABEL, "1".to_owned()),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// An orchestrator at work.
pub(crate) struct Buyer {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), rgrid_orchestrator::Error>>,
}

impl Buyer {
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// As `kill -9` would.
    pub(crate) fn kill(self) {
        self.task.abort();
    }
}

impl Market {
    pub(crate) async fn new() -> Self {
        Self::over(Grid::new().await).await
    }

    /// The same for a grid that was made otherwise.
    pub(crate) async fn over(grid: Grid) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let pace = Pace::Running { speed: 1 };
        let stand = Stand::start(Options { pace, ..Options::default() }).await.unwrap();
        let id = grid.store.grid_id().await.unwrap();
        Self { grid, stand, id }
    }

    pub(crate) fn provider(&self, ssh_public_key: Option<String>) -> Hetzner {
        Hetzner::new(self.provider_config(ssh_public_key)).unwrap()
    }

    pub(crate) fn provider_config(&self, ssh_public_key: Option<String>) -> hetzner::Config {
        hetzner::Config {
            endpoint: self.stand.endpoint(),
            token: Token::new(self.stand.token()),
            grid: self.id,
            epoch: 1,
            image: "debian-13".to_owned(),
            ipv4: true,
            ipv6: true,
            network: None,
            ssh_keys: Vec::new(),
            ssh_public_key,
            boot: Boot {
                api_url: "https://grid.example.com".to_owned(),
                binary_sha256: "ab".repeat(32),
                sandbox: SandboxKind::Process,
                images: Vec::new(),
            },
            probe: Duration::from_millis(500),
        }
    }

    /// What an orchestrator of this grid is told.
    pub(crate) fn config(&self, holder: &str, period: Period) -> Config {
        let policy = FleetPolicy {
            backing: Backing::Server,
            workers_max: 3,
            servers: ServerPolicy {
                types: vec!["cpx12".to_owned()],
                locations: vec!["fsn1".to_owned(), "nbg1".to_owned()],
                ..ServerPolicy::default()
            },
            ..FleetPolicy::embedded(WHOLE, 2)
        };
        Config {
            holder: holder.to_owned(),
            policy,
            retire: CancellationToken::new(),
            spending: Spending::On,
            period,
        }
    }

    pub(crate) fn buyer(&self, holder: &str) -> Buyer {
        self.buyer_with(holder, Spending::On, |_| {})
    }

    pub(crate) fn buyer_with(
        &self,
        holder: &str,
        spending: Spending,
        change: impl FnOnce(&mut FleetPolicy),
    ) -> Buyer {
        self.buyer_of(self.provider(None), holder, spending, change)
    }

    pub(crate) fn buyer_of(
        &self,
        provider: Hetzner,
        holder: &str,
        spending: Spending,
        change: impl FnOnce(&mut FleetPolicy),
    ) -> Buyer {
        let period = Period { list: Duration::from_millis(100), catalog: Duration::from_secs(60) };
        let mut config = self.config(holder, period);
        change(&mut config.policy);
        config.spending = spending;
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(run(config, self.grid.store.clone(), provider, shutdown.clone()));
        Buyer { shutdown, task }
    }

    pub(crate) async fn until_servers(&self, count: usize) {
        until(&format!("{count} servers"), async || self.stand.servers().len() == count).await;
    }

    /// What the only server's runner does once it is up: it joins with the token in its user data.
    pub(crate) async fn join(&self) -> WorkerId {
        self.stand.step(Duration::from_secs(30));
        let server = self.stand.servers().remove(0);
        let token = server.user_data.lines().find_map(|line| line.trim().strip_prefix("rgj_")).unwrap();
        let row = join_row(format!("rgj_{token}"));
        let (worker, _) = self.grid.store.join(&row).await.unwrap();
        worker
    }

    /// A server that was bought for a submission, and the attempt that it holds.
    pub(crate) async fn at_work(&self) -> (WorkerId, Claimed) {
        self.grid.submit().await;
        self.until_servers(1).await;
        let worker = self.join().await;
        (worker, self.claim(worker).await)
    }

    /// Waits until the orchestrator knows which server came of an order.
    pub(crate) async fn known(&self) {
        let known = async || self.grid.store.servers().await.unwrap().iter().any(|row| row.server.is_some());
        until("the server is known", known).await;
    }

    pub(crate) async fn claim(&self, worker: WorkerId) -> Claimed {
        self.try_claim(worker).await.remove(0)
    }

    pub(crate) async fn try_claim(&self, worker_id: WorkerId) -> Vec<Claimed> {
        let free = Capacity { cpu_millis: 1000, memory_bytes: 1 << 30, disk_bytes: 10 << 30 };
        self.grid.store.claim(&[Poll { worker_id, slots: 1, free }]).await.unwrap()
    }

    pub(crate) async fn beat(&self, worker_id: WorkerId, held: &[&Claimed]) {
        let holding = held.iter().map(|claimed| Held {
            execution_id: claimed.attempt.execution_id,
            attempt: claimed.attempt.number,
            token: claimed.token.clone(),
            directive: 0,
        });
        let beat = HeartbeatRow { worker_id, holding: holding.collect() };
        self.grid.store.heartbeats(&[beat]).await.unwrap();
    }

    pub(crate) async fn finish(&self, worker_id: WorkerId, claimed: &Claimed) {
        let auth = auth(worker_id, claimed);
        assert_eq!(self.grid.store.finish(&auth, &finished(), [7; 32]).await.unwrap(), Status::Completed);
    }

    /// Our ledger.
    pub(crate) async fn lines(&self) -> Vec<LedgerRow> {
        let since = self.stand.now() - chrono::TimeDelta::days(400);
        self.grid.store.ledger(since).await.unwrap()
    }

    /// Both ledgers, in micro-euros.
    pub(crate) async fn ledgers(&self) -> (i64, i64) {
        let ours: i64 = self.lines().await.iter().map(|line| line.amount.0).sum();
        (ours, i64::try_from(self.stand.ledger().micros).unwrap())
    }

    /// Where executions stand, and how many of their attempts ended.
    pub(crate) async fn executions(&self, ids: &[ExecutionId]) -> Vec<(Status, usize)> {
        let account = self.grid.store.default_account().await.unwrap().id;
        let mut found = Vec::new();
        for id in ids {
            let status = self.grid.store.execution(account, *id).await.unwrap().status;
            let attempts = self.grid.store.attempts(account, *id).await.unwrap();
            let ended = attempts.iter().filter(|attempt| attempt.state == AttemptState::Ended).count();
            found.push((status, ended));
        }
        found
    }

    /// Nothing is left: no server, no open order, and both ledgers say the same.
    pub(crate) async fn settled(&self) {
        until("no server is left", async || self.stand.servers().is_empty()).await;
        until("no order is open", async || self.grid.store.servers().await.unwrap().is_empty()).await;
        let (ours, theirs) = self.ledgers().await;
        assert_eq!(ours, theirs);
    }

    pub(crate) fn creates(&self) -> usize {
        let requests = self.stand.requests(0);
        requests.iter().filter(|r| r.method == "POST" && r.path == "/servers").count()
    }

    pub(crate) fn deletes(&self) -> usize {
        self.stand.requests(0).iter().filter(|r| r.method == "DELETE").count()
    }

    fn fault(&self, method: &str, path: &str, effect: Effect) {
        self.stand.inject(Fault::once(Matching::request(method, path), effect)).unwrap();
    }

    /// So many listings have been answered from now on.
    pub(crate) async fn listings(&self, count: usize) {
        let seen = self.stand.requests(0).last().map_or(0, |request| request.number);
        let list =
            |r: &&hetzner_sim::Request| r.method == "GET" && r.path == "/servers" && r.status.is_some();
        until("listings", async || self.stand.requests(seen).iter().filter(list).count() >= count).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_grid_buys_a_server_uses_it_and_is_rid_of_it_at_the_hours_edge() {
    let market = Market::new().await;
    let buyer = market.buyer("a");
    market.listings(1).await;
    let (worker, claimed) = market.at_work().await;
    market.beat(worker, &[&claimed]).await;
    market.finish(worker, &claimed).await;
    market.beat(worker, &[]).await;
    market.listings(3).await;
    assert_eq!(market.grid.status(worker).await, WorkerStatus::Active, "its hour is paid");
    // EUR 0.0184, and 0.0008 for its address.
    until("its hour stands in the ledger", async || market.ledgers().await == (19_200, 19_200)).await;
    market.stand.step(TO_THE_EDGE);
    market.settled().await;
    // Its row says so a moment later.
    until("it is over", async || market.grid.status(worker).await == WorkerStatus::Terminated).await;
    assert_eq!((market.creates(), market.ledgers().await), (1, (19_200, 19_200)));
    buyer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_server_is_kept_over_the_edge_and_its_second_hour_is_in_the_ledger() {
    let market = Market::new().await;
    let buyer = market.buyer("a");
    let (worker, claimed) = market.at_work().await;
    market.beat(worker, &[&claimed]).await;
    market.stand.step(TO_THE_EDGE);
    market.listings(4).await;
    assert_eq!((market.grid.status(worker).await, market.deletes()), (WorkerStatus::Active, 0));
    market.stand.step(Duration::from_secs(600));
    until("two hours stand in the ledger", async || market.ledgers().await == (38_400, 38_400)).await;
    market.finish(worker, &claimed).await;
    market.beat(worker, &[]).await;
    market.stand.step(Duration::from_secs(3000));
    market.settled().await;
    assert_eq!(market.ledgers().await.0, 38_400);
    buyer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_whose_answer_is_lost_is_found_by_its_name_and_adopted() {
    let market = Market::new().await;
    for effect in [
        Effect::ResetAfter,
        Effect::Truncated,
        Effect::ErrorAfter { code: "server_error".to_owned() },
        Effect::ResetBefore,
        Effect::Html { status: 502 },
    ] {
        market.fault("POST", "/servers", effect.clone());
        market.grid.submit().await;
        let buyer = market.buyer("a");
        market.until_servers(1).await;
        market.known().await;
        let worker = market.join().await;
        let claimed = market.claim(worker).await;
        market.finish(worker, &claimed).await;
        assert_eq!(market.stand.servers().len(), 1, "{effect:?}");
        market.beat(worker, &[]).await;
        market.stand.step(TO_THE_EDGE);
        market.settled().await;
        buyer.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_is_carried_out_later_than_it_was_answered_is_adopted() {
    let market = Market::new().await;
    let later = Effect::DelayedCommit { seconds: 5 };
    let twice = Fault { times: Some(2), ..Fault::once(Matching::request("POST", "/servers"), later) };
    market.stand.inject(twice).unwrap();
    let buyer = market.buyer("a");
    market.grid.submit().await;
    until("it was asked for twice", async || market.creates() == 2).await;
    market.listings(3).await;
    assert_eq!(market.grid.store.servers().await.unwrap().len(), 1, "its place is kept");
    market.stand.step(Duration::from_secs(6));
    market.until_servers(1).await;
    market.known().await;
    market.join().await;
    assert_eq!((market.creates(), market.deletes()), (2, 0));
    buyer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_made_by_an_orchestrator_that_was_killed_is_taken_over() {
    let market = Market::new().await;
    market.fault("POST", "/servers", Effect::Latency { millis: 60_000 });
    let first = market.buyer("a");
    market.grid.submit().await;
    market.until_servers(1).await;
    first.kill();
    let second = market.buyer("b");
    market.known().await;
    let worker = market.join().await;
    let claimed = market.claim(worker).await;
    market.finish(worker, &claimed).await;
    assert_eq!((market.stand.servers().len(), market.creates()), (1, 1));
    market.beat(worker, &[]).await;
    market.stand.step(TO_THE_EDGE);
    market.settled().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_elses_server_is_touched_and_one_of_ours_without_an_order_is_deleted() {
    let market = Market::new().await;
    let (stray, theirs) = (IntentId::new(5, [5; 10]), IntentId::new(6, [6; 10]));
    let foreign = |name: String, labels| {
        market.stand.happen(Deed::ForeignServer { name, labels }).unwrap();
    };
    let ours = market.id.to_string();
    let another = GridId::new(9, [9; 10]).to_string();
    foreign(server_name(stray), labels(&ours, stray));
    foreign(server_name(theirs), labels(&another, theirs));
    foreign("rgrid-without-labels".to_owned(), BTreeMap::new());
    // Our grid's mark under a name that its intent does not give: somebody copied it.
    foreign("copied".to_owned(), labels(&ours, IntentId::new(7, [7; 10])));
    let buyer = market.buyer("a");
    until("the stray one is gone", async || {
        market.stand.servers().iter().all(|server| server.name != server_name(stray))
    })
    .await;
    market.listings(4).await;
    let requests = market.stand.requests(0);
    let before = requests.iter().take_while(|r| r.method != "DELETE");
    let sightings =
        before.filter(|r| r.path == "/servers" && r.query.iter().any(|q| q.0 == "label_selector"));
    assert!(sightings.count() >= 2, "one listing alone condemns nothing");
    let deleted: HashSet<_> = requests.iter().filter(|r| r.method == "DELETE").map(|r| &r.path).collect();
    assert_eq!((market.stand.servers().len(), deleted.len()), (3, 1), "{deleted:?}");
    buyer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_or_failed_listing_deletes_nothing() {
    let market = Market::new().await;
    let buyer = market.buyer("a");
    market.grid.submit().await;
    market.until_servers(1).await;
    market.known().await;
    let lists = |effect| Fault::sticky(Matching::request("GET", "/servers"), effect);
    for effect in [
        Effect::EmptyList,
        Effect::Stale { seconds: 3600 },
        Effect::Truncated,
        Effect::Html { status: 503 },
        Effect::Remove { pointer: "/servers/*/labels".to_owned() },
    ] {
        market.stand.inject(lists(effect)).unwrap();
        market.listings(4).await;
        market.stand.clear_faults();
    }
    let worker = market.join().await;
    assert_eq!((market.grid.status(worker).await, market.deletes()), (WorkerStatus::Active, 0));
    buyer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sold_out_at_one_place_is_bought_at_the_next() {
    let market = Market::new().await;
    let sold_out = Effect::Error { code: "resource_unavailable".to_owned(), status: None, message: None };
    let at = Matching { location: Some("fsn1".to_owned()), ..Matching::request("POST", "/servers") };
    market.stand.inject(Fault::sticky(at, sold_out)).unwrap();
    let buyer = market.buyer("a");
    market.grid.submit().await;
    market.until_servers(1).await;
    assert_eq!(market.stand.servers()[0].location, "nbg1");
    let open = market.grid.store.servers().await.unwrap();
    assert_eq!(open.len(), 1, "the refused order takes no place: {open:?}");
    buyer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_switch_off_nothing_is_created_and_nothing_deleted() {
    let market = Market::new().await;
    let off = Spending::Off("ORCHESTRATOR_ENABLED is not on".to_owned());
    let buyer = market.buyer_with("a", off, |_| {});
    market.grid.submit().await;
    until("it says why", async || market.grid.store.outlook().await.unwrap().is_some()).await;
    let said = market.grid.store.outlook().await.unwrap().unwrap();
    assert!(said.starts_with("no server is bought: ORCHESTRATOR_ENABLED is not on; "), "{said}");
    market.listings(5).await;
    assert_eq!((market.creates(), market.deletes()), (0, 0));
    assert!(market.grid.store.servers().await.unwrap().is_empty());
    buyer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_joins_is_deleted_though_it_is_locked_for_a_while() {
    let market = Market::new().await;
    let locked = Effect::Error { code: "locked".to_owned(), status: None, message: None };
    market
        .stand
        .inject(Fault { times: Some(2), ..Fault::sticky(Matching::request("DELETE", "/servers/*"), locked) })
        .unwrap();
    let buyer = market.buyer("a");
    market.grid.submit().await;
    market.until_servers(1).await;
    market.stand.step(Duration::from_secs(400));
    until("it was deleted", async || market.stand.ledger().lines.iter().any(|line| line.deleted.is_some()))
        .await;
    assert!(market.deletes() >= 3);
    until("it is billed", async || market.ledgers().await.0 >= 19_200).await;
    buyer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_spending_is_stopped_nothing_more_is_bought_and_idle_servers_go_at_once() {
    let market = Market::new().await;
    let buyer = market.buyer("a");
    let (worker, claimed) = market.at_work().await;
    market.grid.store.stop_spending(true).await.unwrap();
    until("it takes no new work", async || market.grid.status(worker).await == WorkerStatus::Draining).await;
    market.grid.submit().await;
    market.listings(3).await;
    assert_eq!((market.creates(), market.deletes()), (1, 0), "what it runs may finish");
    market.finish(worker, &claimed).await;
    market.settled().await;
    market.grid.store.stop_spending(false).await.unwrap();
    market.until_servers(1).await;
    buyer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_given_no_more_than_its_type_promises_and_less_bars_the_type() {
    let market = Market::new().await;
    let buyer = market.buyer("a");
    market.grid.submit().await;
    market.until_servers(1).await;
    let promised = market.grid.store.workers().await.unwrap().remove(0).capacity;
    let worker = market.join().await;
    let joined = market.grid.worker(worker).await;
    assert_eq!((joined.capacity, joined.slots), (promised, 1), "it said it had {WHOLE:?}");
    buyer.stop().await;
    let shortfalls = || async { market.grid.store.market("hetzner").await.unwrap().shortfalls };
    assert!(shortfalls().await.is_empty());
}
