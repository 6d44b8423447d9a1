//! Seeded misfortunes over the real orchestrator and the stand-in: whatever the provider, the network and the operator's
//! hosts do, at the end no server is alive that nobody owns, nobody else's was touched, no busy one was deleted, every
//! execution is completed once, and the ledgers are equal.
//!
//! CI plays the first seeds and those that once found something (`KILLERS`); `cargo xtask soak --cloud` plays 500. One seed
//! is played again with `RGRID_SEED=n`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hetzner_sim::{Deed, Effect, Fate, Fault, Guest, Matching, Pace};
use rgrid_core::execution::Status;
use rgrid_core::id::{ExecutionId, GridId, IntentId, WorkerId};
use rgrid_orchestrator::Spending;
use rgrid_orchestrator::cloud::hetzner;
use rgrid_store::attempts::AttemptAuth;
use rgrid_store::claim::Claimed;
use rgrid_store::servers::server_name;

use crate::bought::{Buyer, Market};
use crate::stage::{auth, finished, join_row};

/// Seeds that CI plays.
const SEEDS_CI: u64 = 12;
/// Seeds of the full run.
const SEEDS_FULL: u64 = 500;
/// Seeds that once found something.
const KILLERS: [u64; 1] = [24];
/// Scenarios that are played at once.
const AT_ONCE: usize = 6;
/// Executions of a scenario.
const EXECUTIONS: usize = 4;
/// Misfortunes of a scenario.
const MISFORTUNES: usize = 4;
/// Each kind must really have hit so often in a full run.
const HITS_MIN: u64 = 10;
/// A scenario that has not settled within this never will.
const DEADLINE: Duration = Duration::from_secs(150);

/// What can happen, by name.
const KINDS: [&str; 27] = [
    "answer-lost",
    "reset-before",
    "delayed-commit",
    "server-error-after",
    "bad-gateway",
    "unavailable",
    "truncated",
    "rate-limited",
    "budget-drained",
    "sold-out",
    "quota",
    "locked",
    "conflict",
    "create-fails",
    "create-sticks",
    "start-fails",
    "never-boots",
    "dies",
    "partition",
    "deleted-behind",
    "foreign-servers",
    "stale-list",
    "repeated-list",
    "empty-list",
    "killed",
    "two-at-once",
    "database-down",
];

/// A small generator: the same numbers for the same seed, always.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

/// How often each kind hit and each rule was looked at.
type Counts = BTreeMap<&'static str, u64>;

/// A guest as the test plays it.
#[derive(Default)]
struct Runner {
    worker: Option<WorkerId>,
    held: Vec<Claimed>,
}

/// One scenario at play.
struct Play {
    market: Market,
    dice: Dice,
    buyers: Vec<Buyer>,
    holders: u32,
    runners: HashMap<i64, Runner>,
    executions: Vec<ExecutionId>,
    /// Numbers of the faults, and their kinds.
    faults: Vec<(u64, &'static str)>,
    foreign: HashSet<String>,
    deleted_behind: u64,
    hits: Counts,
    checks: Counts,
}

fn error(code: &str) -> Effect {
    Effect::Error { code: code.to_owned(), status: None, message: None }
}

impl Play {
    async fn new(seed: u64) -> Self {
        let market = Market::new().await;
        market.stand.set_pace(Pace::Running { speed: 20 });
        let mut play = Self {
            market,
            dice: Dice(seed),
            buyers: Vec::new(),
            holders: 0,
            runners: HashMap::new(),
            executions: Vec::new(),
            faults: Vec::new(),
            foreign: HashSet::new(),
            deleted_behind: 0,
            hits: Counts::new(),
            checks: Counts::new(),
        };
        play.start_buyer();
        play
    }

    fn start_buyer(&mut self) {
        self.holders += 1;
        let holder = format!("holder-{}", self.holders);
        self.buyers.push(self.market.buyer_with(&holder, Spending::On, |_| {}));
    }

    fn hit(&mut self, kind: &'static str) {
        *self.hits.entry(kind).or_default() += 1;
    }

    /// Sets a fault that hits so many requests.
    fn fault(&mut self, kind: &'static str, on: Matching, effect: Effect, times: u32) {
        let fault = Fault { on, effect, times: Some(times), for_seconds: None };
        let number = self.market.stand.inject(fault).unwrap();
        self.faults.push((number, kind));
    }

    fn happen(&mut self, kind: &'static str) {
        let times = 1 + u32::try_from(self.dice.below(2)).unwrap();
        let post = || Matching::request("POST", "/servers");
        let list = || Matching::request("GET", "/servers");
        let delete = || Matching::request("DELETE", "/servers/*");
        let doom = |fate| Effect::Doom { fates: vec![fate] };
        let code = || "action_failed".to_owned();
        match kind {
            "answer-lost" => self.fault(kind, post(), Effect::ResetAfter, times),
            "reset-before" => self.fault(kind, post(), Effect::ResetBefore, times),
            "delayed-commit" => self.fault(kind, post(), Effect::DelayedCommit { seconds: 30 }, times),
            "server-error-after" => {
                self.fault(kind, post(), Effect::ErrorAfter { code: "server_error".to_owned() }, times);
            }
            "bad-gateway" => self.fault(kind, Matching::default(), Effect::Html { status: 502 }, times),
            "unavailable" => self.fault(kind, delete(), error("unavailable"), times),
            "truncated" => self.fault(kind, Matching::default(), Effect::Truncated, times),
            "rate-limited" => self.fault(kind, Matching::default(), error("rate_limit_exceeded"), times),
            "budget-drained" => self.fault(kind, list(), Effect::Drain { left: 3 }, 1),
            "sold-out" => self.fault(kind, post(), error("resource_unavailable"), times),
            "quota" => self.fault(kind, post(), error("resource_limit_exceeded"), 1),
            "locked" => self.fault(kind, delete(), error("locked"), times),
            "conflict" => self.fault(kind, Matching::default(), error("conflict"), times),
            "create-fails" => self.fault(kind, post(), doom(Fate::CreateFails { code: code() }), 1),
            "create-sticks" => self.fault(kind, post(), doom(Fate::CreateSticks), 1),
            "start-fails" => self.fault(kind, post(), doom(Fate::StartFails { code: code() }), 1),
            "never-boots" => self.fault(kind, post(), doom(Fate::NeverBoots), 1),
            "dies" => self.fault(kind, post(), doom(Fate::DiesAfter { seconds: 20 }), 1),
            "partition" => self.fault(kind, post(), doom(Fate::CutOffAfter { seconds: 20 }), 1),
            "stale-list" => self.fault(kind, list(), Effect::Stale { seconds: 60 }, 2 * times),
            "repeated-list" => self.fault(kind, list(), Effect::Repeats, 2 * times),
            "empty-list" => self.fault(kind, list(), Effect::EmptyList, 3 * times),
            "deleted-behind" => {
                let ours = self.market.stand.servers().into_iter().find(|s| !self.foreign.contains(&s.name));
                if let Some(server) = ours {
                    self.market.stand.happen(Deed::DeleteServer { server: server.name }).unwrap();
                    self.deleted_behind += 1;
                    self.hit(kind);
                }
            }
            "foreign-servers" => self.foreigners(),
            "killed" => {
                if let Some(buyer) = self.buyers.pop() {
                    buyer.kill();
                    self.hit(kind);
                }
                self.start_buyer();
            }
            "two-at-once" => {
                self.start_buyer();
                self.hit(kind);
            }
            other => panic!("{other} is no kind"),
        }
    }

    /// Servers with our kind of name, of another grid, and with a mark that is not whole.
    fn foreigners(&mut self) {
        let bytes = [0; 10].map(|_: u8| self.dice.below(256) as u8);
        let intent = IntentId::new(self.dice.next() >> 20, bytes);
        let label = |key: &str, value: String| (key.to_owned(), value);
        let another = BTreeMap::from([
            label(hetzner::GRID_LABEL, GridId::new(1, bytes).to_string()),
            label(hetzner::INTENT_LABEL, intent.to_string()),
            label(hetzner::WORKER_LABEL, WorkerId::new(1, bytes).to_string()),
            label(hetzner::EPOCH_LABEL, "1".to_owned()),
        ]);
        let half = BTreeMap::from([label(hetzner::GRID_LABEL, self.market.id.to_string())]);
        for (name, labels) in [(server_name(intent), another), (format!("own-{}", self.dice.next()), half)] {
            if self.market.stand.happen(Deed::ForeignServer { name: name.clone(), labels }).is_ok() {
                self.foreign.insert(name);
                self.hit("foreign-servers");
            }
        }
    }

    /// What the guests do in a moment: join, heartbeat, claim, finish. A server that vanished is held against its worker.
    async fn guests(&mut self) {
        let servers = self.market.stand.servers();
        let store = self.market.grid.store.clone();
        for server in servers.iter().filter(|s| s.guest == Guest::Up && !s.cut_off && !s.user_data.is_empty())
        {
            let runner = self.runners.entry(server.id).or_default();
            let Some(worker) = runner.worker else {
                let token = server.user_data.lines().find(|line| line.trim().starts_with("rgj_"));
                let Some(token) = token else { continue };
                runner.worker =
                    store.join(&join_row(token.trim().to_owned())).await.ok().map(|(worker, _)| worker);
                continue;
            };
            self.market.beat(worker, &runner.held.iter().collect::<Vec<_>>()).await;
            if runner.held.is_empty() {
                runner.held = self.market.try_claim(worker).await;
            } else if self.dice.below(3) == 0 {
                let claimed = runner.held.remove(0);
                let auth: AttemptAuth = auth(worker, &claimed);
                // One that is not current any more was taken away, and runs elsewhere.
                let _ = store.finish(&auth, &finished(), [7; 32]).await;
            }
        }
        let alive: HashSet<i64> = servers.iter().map(|server| server.id).collect();
        let behind = self.deleted_behind > 0;
        for (id, runner) in &mut self.runners {
            if alive.contains(id) {
                continue;
            }
            let Some(worker) = runner.worker else { continue };
            for claimed in runner.held.drain(..) {
                *self.checks.entry("no busy server is deleted").or_default() += 1;
                let current = store.check_attempt(&auth(worker, &claimed)).await.is_ok();
                assert!(!current || behind, "server {id} was deleted while its attempt was current");
            }
        }
    }

    /// Deadlines that are counted by PostgreSQL's clock pass at once: this much time has gone by for what waits.
    async fn age(&self) {
        self.market
            .grid
            .database
            .execute(
                "update order_pauses set paused_at = paused_at - interval '20 minutes';
                 update order_refusals set refused_at = refused_at - interval '20 minutes';
                 update workers set created_at = created_at - interval '3 minutes' where status = 'provisioning';
                 update workers set status_since = status_since - interval '2 hours' where joined_at is null",
            )
            .await;
    }

    async fn play(&mut self) {
        for _ in 0..EXECUTIONS {
            self.executions.push(self.market.grid.submit().await);
        }
        for _ in 0..MISFORTUNES {
            let kind = KINDS[self.dice.below(KINDS.len())];
            if kind == "database-down" {
                self.market.grid.database.goes_away().await;
                tokio::time::sleep(Duration::from_millis(500)).await;
                self.market.grid.database.back().await;
                self.hit(kind);
            } else {
                self.happen(kind);
            }
            for _ in 0..4 + self.dice.below(8) {
                self.guests().await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            if self.dice.below(3) == 0 {
                // The hosts slept, or an hour passed with nothing to see.
                self.market.stand.step(Duration::from_secs(60 * (1 + self.dice.below(50) as u64)));
            }
        }
    }

    /// No misfortune any more: everything ends as it should.
    async fn settle(&mut self, seed: u64) {
        for standing in self.market.stand.faults() {
            if let Some((_, kind)) = self.faults.iter().find(|(number, _)| *number == standing.number) {
                *self.hits.entry(kind).or_default() += standing.hits;
            }
        }
        self.market.stand.clear_faults();
        let started = Instant::now();
        loop {
            self.guests().await;
            self.age().await;
            let rows = self.market.executions(&self.executions).await;
            let done = rows.iter().all(|(status, _)| *status == Status::Completed);
            let ours = self.market.stand.servers().iter().filter(|s| !self.foreign.contains(&s.name)).count();
            let open = self.market.grid.store.servers().await.unwrap();
            if done && ours == 0 && open.is_empty() {
                break;
            }
            if done {
                self.market.stand.step(Duration::from_secs(60));
            }
            assert!(
                started.elapsed() < DEADLINE,
                "seed {seed} does not settle: {rows:?}, {ours} servers, open: {open:#?}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What must hold at the end.
    async fn judge(&mut self, seed: u64) {
        let checks = &mut self.checks;
        let mut check = |rule: &'static str, holds: bool| {
            *checks.entry(rule).or_default() += 1;
            assert!(holds, "seed {seed}: {rule}");
        };
        let alive: HashSet<String> =
            self.market.stand.servers().into_iter().map(|server| server.name).collect();
        check("nobody else's server is touched, and none of ours is left", alive == self.foreign);
        let ends = self.market.executions(&self.executions).await;
        check("every execution is completed", ends.iter().all(|(status, _)| *status == Status::Completed));
        check("none is completed twice", ends.iter().all(|(_, ended)| *ended == 1));
        let deletes = self.market.stand.requests(0);
        let starved = |r: &&hetzner_sim::Request| {
            r.method == "DELETE" && r.code.as_deref() == Some("rate_limit_exceeded") && r.faults.is_empty()
        };
        check("a delete always finds a call left", deletes.iter().filter(starved).count() == 0);
        let (ours, theirs) = self.market.ledgers_without(&self.foreign).await;
        if self.deleted_behind == 0 {
            check("the ledgers are equal", ours == theirs);
        } else {
            // Of one that somebody else deleted the end is known when it is missed.
            check("no hour is missing where somebody else deleted", ours >= theirs);
        }
    }
}

async fn scenario(seed: u64) -> (Counts, Counts) {
    let mut play = Play::new(seed).await;
    play.play().await;
    play.settle(seed).await;
    play.judge(seed).await;
    for buyer in std::mem::take(&mut play.buyers) {
        buyer.stop().await;
    }
    (play.hits, play.checks)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_nothing_is_leaked_lost_or_billed_wrongly() {
    let full = std::env::var_os("RGRID_SOAK").is_some();
    let seeds: Vec<u64> = match std::env::var("RGRID_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => KILLERS.into_iter().chain(1..=if full { SEEDS_FULL } else { SEEDS_CI }).collect(),
    };
    let next = Arc::new(Mutex::new(seeds.clone().into_iter()));
    let mut players = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let next = next.clone();
        players.spawn(async move {
            let mut sums = (Counts::new(), Counts::new());
            loop {
                let Some(seed) = next.lock().unwrap().next() else { return sums };
                let (hits, checks) = scenario(seed).await;
                for (sum, counts) in [(&mut sums.0, hits), (&mut sums.1, checks)] {
                    for (what, count) in counts {
                        *sum.entry(what).or_default() += count;
                    }
                }
            }
        });
    }
    let (mut hits, mut checks) = (Counts::new(), Counts::new());
    while let Some(sums) = players.join_next().await {
        let sums = sums.unwrap();
        for (sum, counts) in [(&mut hits, sums.0), (&mut checks, sums.1)] {
            for (what, count) in counts {
                *sum.entry(what).or_default() += count;
            }
        }
    }
    let report = format!("{} scenarios\nhits: {hits:#?}\nchecks: {checks:#?}", seeds.len());
    writeln!(std::io::stderr(), "{report}").unwrap();
    if full {
        for kind in KINDS {
            assert!(hits.get(kind).copied().unwrap_or(0) >= HITS_MIN, "{kind} hit too rarely: {hits:?}");
        }
    }
}
