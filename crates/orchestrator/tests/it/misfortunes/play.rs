//! One scenario at play: work comes in, things go wrong, guests do their work, time is stepped; then everything must come
//! to its end.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use hetzner_sim::{Guest, Request, ServerView};
use rgrid_core::execution::Status;
use rgrid_core::id::{ExecutionId, WorkerId};
use rgrid_core::limits;
use rgrid_core::money::paid_until;
use rgrid_store::attempts::AttemptAuth;
use rgrid_store::claim::Claimed;

use super::kinds::{KINDS, Then};
use super::process::Process;
use super::{Counts, Dice, clock, say};
use crate::bought::Market;
use crate::stage::{auth, finished, join_row};

/// Executions that come with each misfortune, right after it.
const EXECUTIONS: usize = 2;
/// Misfortunes of a scenario.
const MISFORTUNES: usize = 4;
/// Orchestrators there are at once, paused ones included.
const PROCESSES_MAX: usize = 3;
/// Servers there may be.
const SERVERS_MAX: usize = 3;
/// An orchestrator that asks for nothing within this has a reason not to.
const QUIET: Duration = Duration::from_secs(1);
/// So often it is waited for quiet: a delete may be refused again and again.
const QUIET_MAX: u32 = 10;
/// Listings after which everybody knows what time it is at the provider.
const CLOCK_KNOWN: usize = 3;
/// Steps in which nothing changes, after which time is stepped faster: something rests for long.
const STUCK: u32 = 8;
/// A scenario that has not settled in so many steps never will.
const STEPS_MAX: u32 = 400;
/// A connection that broke while the database was away is found broken when it is used next; a pool has so many at most.
const SUBMIT_TRIES: u32 = 50;
/// Steps in which a server is bought for what waits, unless something is in the way.
const STEPS_TO_A_SERVER: u32 = 12;

/// A guest as the test plays it.
#[derive(Default)]
struct Runner {
    worker: Option<WorkerId>,
    held: Vec<Claimed>,
}

pub(super) struct Play {
    pub(super) market: Market,
    /// What happens and when: the same for a seed, whatever the guests do.
    pub(super) dice: Dice,
    /// When guests come to an end.
    whims: Dice,
    /// What has happened so far.
    happened: Vec<&'static str>,
    processes: Vec<Process>,
    holders: u32,
    /// Nobody renews what the leader had: it was killed or stopped.
    abandoned: bool,
    runners: HashMap<i64, Runner>,
    /// Workers that are heard of.
    heard: Vec<WorkerId>,
    executions: Vec<ExecutionId>,
    /// Numbers of the faults, and their kinds.
    pub(super) faults: Vec<(u64, &'static str)>,
    /// Faults at whose hit the orchestrator is killed or stopped.
    pub(super) ambushes: Vec<(u64, Then)>,
    pub(super) foreign: HashSet<String>,
    /// Servers of ours that somebody else deleted.
    pub(super) behind: HashSet<String>,
    pub(super) hits: Counts,
    pub(super) checks: Counts,
    seed: u64,
}

impl Play {
    pub(super) async fn new(seed: u64) -> Self {
        let market = Market::over(clock::grid().await).await;
        let mut play = Self {
            market,
            dice: Dice(seed),
            whims: Dice(!seed),
            happened: Vec::new(),
            processes: Vec::new(),
            holders: 0,
            abandoned: false,
            runners: HashMap::new(),
            heard: Vec::new(),
            executions: Vec::new(),
            faults: Vec::new(),
            ambushes: Vec::new(),
            foreign: HashSet::new(),
            behind: HashSet::new(),
            hits: Counts::new(),
            checks: Counts::new(),
            seed,
        };
        play.start_process();
        play
    }

    pub(super) fn hit(&mut self, kind: &'static str) {
        *self.hits.entry(kind).or_default() += 1;
    }

    fn check(&mut self, rule: &'static str, holds: bool) {
        *self.checks.entry(rule).or_default() += 1;
        assert!(holds, "seed {}: {rule}; after {:?}:\n{}", self.seed, self.happened, self.story());
    }

    /// What was made and ended at the provider.
    fn story(&self) -> String {
        let told = |request: &Request| {
            let (method, path, status) = (&request.method, &request.path, request.status);
            let (name, code) = (&request.body["name"], &request.code);
            format!("{} {method} {path} {name} {status:?} {code:?} faults {:?}\n", request.at, request.faults)
        };
        self.market.stand.requests(0).iter().filter(|request| request.method != "GET").map(told).collect()
    }

    pub(super) fn start_process(&mut self) {
        self.holders += 1;
        let holder = format!("holder-{}", self.holders);
        self.processes.push(Process::start(&self.market, &holder));
        while self.processes.len() > PROCESSES_MAX {
            self.processes.remove(0).kill();
            self.abandoned = true;
        }
    }

    /// Kills every orchestrator, and starts another.
    pub(super) fn kill(&mut self) {
        self.processes.drain(..).for_each(Process::kill);
        self.abandoned = true;
        self.start_process();
    }

    /// Stops every orchestrator as by SIGSTOP, and starts another. They go on at the end of the misfortunes at the latest.
    pub(super) fn pause(&mut self) {
        self.processes.iter_mut().filter(|process| !process.is_paused()).for_each(Process::pause);
        self.abandoned = true;
        self.start_process();
    }

    fn go_on(&mut self) {
        self.processes.iter_mut().for_each(Process::go_on);
    }

    /// What waits for its fault to hit.
    fn spring(&mut self) {
        if self.ambushes.is_empty() {
            return;
        }
        let standing = self.market.stand.faults();
        let hit = |number: &u64| standing.iter().any(|s| s.number == *number && s.hits > 0);
        let (sprung, rest) = std::mem::take(&mut self.ambushes).into_iter().partition(|(n, _)| hit(n));
        self.ambushes = rest;
        let sprung: Vec<(u64, Then)> = sprung;
        for (_, then) in sprung {
            match then {
                Then::Kill => self.kill(),
                Then::Pause => self.pause(),
            }
        }
    }

    /// Waits until a request that is like this was answered; false when none was for long.
    pub(super) async fn answered(&mut self, like: impl Fn(&Request) -> bool) -> bool {
        let seen = self.market.stand.requests(0).last().map_or(0, |request| request.number);
        self.answered_since(seen, 1, like).await
    }

    async fn answered_since(&mut self, seen: u64, count: usize, like: impl Fn(&Request) -> bool) -> bool {
        let started = Instant::now();
        while started.elapsed() < QUIET {
            self.spring();
            if self.market.stand.requests(seen).iter().filter(|request| like(request)).count() >= count {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    }

    /// So many rounds of an orchestrator have been made: each asks what there is.
    async fn rounds(&mut self, count: usize) {
        let seen = self.market.stand.requests(0).last().map_or(0, |request| request.number);
        let list = |request: &Request| request.method == "GET" && request.path == "/servers";
        self.answered_since(seen, count, list).await;
    }

    fn ours(&self) -> Vec<ServerView> {
        let all = self.market.stand.servers();
        all.into_iter().filter(|server| !self.foreign.contains(&server.name)).collect()
    }

    /// What the guests do in a moment: join, heartbeat, claim, finish. A server that vanished is held against its worker.
    async fn guests(&mut self) {
        let servers = self.market.stand.servers();
        let store = self.market.grid.store.clone();
        self.heard.clear();
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
            self.heard.push(worker);
            self.market.beat(worker, &runner.held.iter().collect::<Vec<_>>()).await;
            if runner.held.is_empty() {
                runner.held = self.market.try_claim(worker).await;
            } else if self.whims.below(3) == 0 {
                let claimed = runner.held.remove(0);
                let auth: AttemptAuth = auth(worker, &claimed);
                // One that is not current any more was taken away, and runs elsewhere.
                let _ = store.finish(&auth, &finished(), [7; 32]).await;
                self.market.beat(worker, &runner.held.iter().collect::<Vec<_>>()).await;
            }
        }
        let alive: HashSet<i64> = servers.iter().map(|server| server.id).collect();
        let gone: Vec<i64> = self.runners.keys().filter(|id| !alive.contains(id)).copied().collect();
        for runner in gone.iter().filter_map(|id| self.runners.remove(id)).collect::<Vec<_>>() {
            let Some(worker) = runner.worker else { continue };
            let mut busy = false;
            for claimed in runner.held {
                busy |= store.check_attempt(&auth(worker, &claimed)).await.is_ok();
            }
            self.check("no busy server is deleted", !busy || !self.behind.is_empty());
        }
        let within = servers.iter().filter(|s| !self.foreign.contains(&s.name)).count() <= SERVERS_MAX;
        self.check("no more servers than are allowed", within);
    }

    /// Time passes for everybody.
    async fn pass(&mut self, by: Duration) {
        let leads = !std::mem::take(&mut self.abandoned);
        // Whoever was killed or stopped is missed, and what it had begun is looked at before an hour passes.
        let by = if leads { by } else { limits::LEADER_TTL + Duration::from_secs(1) };
        clock::pass(&self.market.grid, by, &self.heard, leads).await;
        self.market.stand.step(by);
    }

    /// A step of the scenario: what guests do, a round at least of an orchestrator, and some time.
    async fn step(&mut self, by: Duration) {
        self.guests().await;
        self.rounds(1).await;
        let long = by > Duration::from_secs(60);
        if long {
            self.quiet().await;
        }
        self.pass(by).await;
        if long {
            self.rounds(CLOCK_KNOWN).await;
            self.quiet().await;
        }
    }

    /// Nothing is being bought or deleted any more: an hour that passes in the middle of a call is a misfortune of its own.
    async fn quiet(&mut self) {
        for _ in 0..QUIET_MAX {
            let seen = self.market.stand.requests(0).last().map_or(0, |request| request.number);
            self.rounds(2).await;
            let at_rest = self.market.stand.requests(seen).iter().all(|request| request.method == "GET");
            if at_rest && !self.ended_unseen().await {
                return;
            }
            if at_rest {
                // Too few calls are left to look: some come back.
                self.pass(Duration::from_secs(5)).await;
            }
        }
    }

    /// Whether a server is gone that our rows have still: that it went is seen as soon as anybody looks.
    async fn ended_unseen(&self) -> bool {
        let Ok(open) = self.market.grid.store.servers().await else { return false };
        let there: HashSet<String> =
            self.market.stand.servers().into_iter().map(|server| server.name).collect();
        open.iter()
            .any(|row| row.server.is_some() && !there.contains(&row.name) && !self.behind.contains(&row.name))
    }

    /// Waits until a server of ours is there, for work that is submitted for it if need be.
    pub(super) async fn one_of_ours(&mut self) -> Option<ServerView> {
        self.submit().await;
        for _ in 0..STEPS_TO_A_SERVER {
            if let Some(server) = self.ours().into_iter().next() {
                return Some(server);
            }
            self.step(Duration::from_secs(5)).await;
        }
        None
    }

    async fn submit(&mut self) {
        // As a client does when the database was away.
        let mut tries = 0..SUBMIT_TRIES;
        let id = loop {
            match self.market.grid.try_submit().await {
                Ok(id) => break id,
                Err(rgrid_store::Error::Unavailable(_)) if tries.next().is_some() => {}
                Err(error) => panic!("{error}"),
            }
        };
        self.executions.push(id);
    }

    pub(super) async fn play(&mut self) {
        for number in 0..MISFORTUNES {
            // Each kind is the first one in turn, while the grid is empty and must buy: so none hits by luck alone.
            let chance = self.dice.below(KINDS.len());
            let first = usize::try_from(self.seed).unwrap() % KINDS.len();
            let kind = KINDS[if number == 0 { first } else { chance }];
            self.happened.push(kind);
            self.happen(kind).await;
            for _ in 0..EXECUTIONS {
                self.submit().await;
            }
            for _ in 0..3 + self.dice.below(5) {
                let seconds = 2 + self.dice.below(12) as u64;
                self.step(Duration::from_secs(seconds)).await;
            }
            if self.dice.below(3) != 0 {
                // On to where servers are given back, so that the next misfortune finds some that are deleted and bought.
                for _ in 0..2 {
                    let by = self.to_the_edge(&self.ours());
                    self.step(by).await;
                }
            }
            if self.dice.below(2) == 0 {
                self.go_on();
            }
        }
    }

    /// No misfortune any more: everything ends as it should.
    pub(super) async fn settle(&mut self) {
        self.spring();
        for standing in self.market.stand.faults() {
            if let Some((_, kind)) = self.faults.iter().find(|(number, _)| *number == standing.number) {
                *self.hits.entry(kind).or_default() += standing.hits;
            }
        }
        self.ambushes.clear();
        self.market.stand.clear_faults();
        self.go_on();
        let (mut stuck, mut before) = (0, None);
        for step in 0.. {
            let rows = self.market.executions(&self.executions).await;
            let done = rows.iter().all(|(status, _)| *status == Status::Completed);
            let ours = self.ours();
            let open = self.market.grid.store.servers().await.unwrap();
            if done && ours.is_empty() && open.is_empty() {
                return;
            }
            assert!(
                step < STEPS_MAX,
                "seed {} does not settle after {:?}: {rows:?}, {} servers, outlook {:?}, open: {open:#?}",
                self.seed,
                self.happened,
                ours.len(),
                self.market.grid.store.outlook().await
            );
            let state = Some((rows, ours.len(), open.len(), self.heard.len()));
            stuck = if state == before { stuck + 1 } else { 0 };
            before = state;
            let by = match (done, stuck) {
                (true, _) => self.to_the_edge(&ours),
                (false, ..STUCK) => Duration::from_secs(10),
                (false, _) => Duration::from_secs(120),
            };
            self.step(by).await;
        }
    }

    /// Until the next server may be given back: a little into the margin before its hour's edge.
    fn to_the_edge(&self, ours: &[ServerView]) -> Duration {
        let now = self.market.stand.now();
        let margin = limits::EDGE_MARGIN - Duration::from_secs(20);
        let times = ours.iter().map(|server| paid_until(server.created, now) - margin - now);
        let next = times.filter_map(|time| time.to_std().ok()).min().unwrap_or_default();
        next.max(Duration::from_secs(15))
    }

    /// What must hold at the end.
    pub(super) async fn judge(&mut self) {
        let alive: HashSet<String> =
            self.market.stand.servers().into_iter().map(|server| server.name).collect();
        let same = alive == self.foreign;
        self.check("nobody else's server is touched, and none of ours is left", same);
        let ends = self.market.executions(&self.executions).await;
        self.check(
            "every execution is completed",
            ends.iter().all(|(status, _)| *status == Status::Completed),
        );
        self.check("none is completed twice", ends.iter().all(|(_, ended)| *ended == 1));
        let starved = |r: &&Request| {
            r.method == "DELETE" && r.code.as_deref() == Some("rate_limit_exceeded") && r.faults.is_empty()
        };
        let starved = self.market.stand.requests(0).iter().filter(starved).count();
        self.check("a delete always finds a call left", starved == 0);
        // Of one that somebody else deleted nobody tells us when, or, before we have seen it, that there was one.
        let (ours, theirs) =
            self.market.ledgers_without(&self.foreign.union(&self.behind).cloned().collect()).await;
        let equal = ours == theirs;
        if !equal {
            let (our_lines, their_lines) = (self.market.lines().await, self.market.stand.ledger().lines);
            say(&format!("ours {ours}, theirs {theirs}: {our_lines:#?} {their_lines:#?}"));
        }
        self.check("the ledgers are equal", equal);
    }

    /// Ends the orchestrators as they should end.
    pub(super) async fn end(mut self) -> (Counts, Counts) {
        for process in std::mem::take(&mut self.processes) {
            process.stop().await;
        }
        (self.hits, self.checks)
    }
}

impl Market {
    /// Both ledgers without these servers.
    async fn ledgers_without(&self, names: &HashSet<String>) -> (i64, i64) {
        let lines = self.lines().await;
        let ours = lines.iter().filter(|line| !names.contains(&line.name)).map(|line| line.amount.0).sum();
        let bill = self.stand.ledger();
        let others = bill.lines.iter().filter(|line| names.contains(&line.name));
        let others: u64 = others.map(|line| line.micros + line.hours * 800).sum();
        (ours, i64::try_from(bill.micros - others).unwrap())
    }
}

/// How often each kind hit and each rule was looked at, summed up.
pub(super) fn add(sum: &mut Counts, counts: BTreeMap<&'static str, u64>) {
    for (what, count) in counts {
        *sum.entry(what).or_default() += count;
    }
}
