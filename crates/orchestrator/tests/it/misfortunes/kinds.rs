//! What can go wrong, by name, and how it is brought about. A kind counts as hit when it really met a request or a
//! process, not when it was only set.

use std::collections::BTreeMap;
use std::time::Duration;

use hetzner_sim::{Deed, Effect, Fate, Fault, Matching};
use rgrid_core::id::{GridId, IntentId, WorkerId};
use rgrid_orchestrator::cloud::hetzner;
use rgrid_store::servers::server_name;

use super::clock;
use super::play::Play;

/// What can happen.
pub(super) const KINDS: [&str; 39] = [
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
    "action-vanishes",
    "start-fails",
    "start-sticks",
    "never-boots",
    "dies",
    "partition",
    "deleted-behind",
    "foreign-servers",
    "stale-list",
    "repeated-list",
    "empty-list",
    "date-skew",
    "clock-jumps",
    "provider-clock-jumps",
    "token-revoked",
    "price-changes",
    "killed",
    "killed-before-create",
    "killed-after-create",
    "killed-in-delete",
    "two-at-once",
    "paused",
    "paused-in-create",
    "database-down",
];

/// How far clocks jump.
const JUMP: Duration = Duration::from_secs(3600);
/// An answer that does not come as long as anybody waits for it.
const NEVER: Effect = Effect::Latency { millis: 60_000 };
/// So many calls of ours must have failed before a database counts as down.
const CALLS_FAILED: u32 = 3;

/// What is done to an orchestrator the moment its call is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Kill,
    Pause,
}

fn error(code: &str) -> Effect {
    Effect::Error { code: code.to_owned(), status: None, message: None }
}

impl Play {
    /// Sets a fault that hits so many requests.
    fn fault(&mut self, kind: &'static str, on: Matching, effect: Effect, times: u32) -> u64 {
        let fault = Fault { on, effect, times: Some(times), for_seconds: None };
        let number = self.market.stand.inject(fault).unwrap();
        self.faults.push((number, kind));
        number
    }

    /// The next such call is hit, and whoever made it is killed or stopped in the middle of it.
    fn ambush(&mut self, kind: &'static str, on: Matching, effect: Effect, then: Then) {
        let number = self.fault(kind, on, effect, 1);
        self.ambushes.push((number, then));
    }

    pub(super) async fn happen(&mut self, kind: &'static str) {
        let times = 1 + u32::try_from(self.dice.below(2)).unwrap();
        let post = || Matching::request("POST", "/servers");
        let list = || Matching::request("GET", "/servers");
        let delete = || Matching::request("DELETE", "/servers/*");
        let doom = |fate| Effect::Doom { fates: vec![fate] };
        let code = || "action_failed".to_owned();
        let fault = match kind {
            "answer-lost" => (post(), Effect::ResetAfter, times),
            "reset-before" => (post(), Effect::ResetBefore, times),
            "delayed-commit" => (post(), Effect::DelayedCommit { seconds: 30 }, times),
            "server-error-after" => (post(), Effect::ErrorAfter { code: "server_error".to_owned() }, times),
            "bad-gateway" => (Matching::default(), Effect::Html { status: 502 }, times),
            "unavailable" => (delete(), error("unavailable"), times),
            "truncated" => (Matching::default(), Effect::Truncated, times),
            "rate-limited" => (Matching::default(), error("rate_limit_exceeded"), times),
            "budget-drained" => (list(), Effect::Drain { left: 3 }, 1),
            "sold-out" => (post(), error("resource_unavailable"), times),
            "quota" => (post(), error("resource_limit_exceeded"), 1),
            "locked" => (delete(), error("locked"), times),
            "conflict" => (Matching::default(), error("conflict"), times),
            "create-fails" => (post(), doom(Fate::CreateFails { code: code() }), 1),
            "create-sticks" => (post(), doom(Fate::CreateSticks), 1),
            "action-vanishes" => (post(), doom(Fate::CreateVanishes), 1),
            "start-fails" => (post(), doom(Fate::StartFails { code: code() }), 1),
            "start-sticks" => (post(), doom(Fate::StartSticks), 1),
            "never-boots" => (post(), doom(Fate::NeverBoots), 1),
            "dies" => (post(), doom(Fate::DiesAfter { seconds: 20 }), 1),
            "partition" => (post(), doom(Fate::CutOffAfter { seconds: 20 }), 1),
            "stale-list" => (list(), Effect::Stale { seconds: 60 }, 2 * times),
            "repeated-list" => (list(), Effect::Repeats, 2 * times),
            "empty-list" => (list(), Effect::EmptyList, 3 * times),
            "date-skew" => {
                let seconds = if self.dice.below(2) == 0 { 3600 } else { -3600 };
                (list(), Effect::DateSkew { seconds }, times)
            }
            other => return self.beyond_a_request(other).await,
        };
        self.fault(kind, fault.0, fault.1, fault.2);
    }

    /// What is no fault of one request alone.
    async fn beyond_a_request(&mut self, kind: &'static str) {
        let post = || Matching::request("POST", "/servers");
        match kind {
            "killed-before-create" => self.ambush(kind, post(), Effect::ResetBefore, Then::Kill),
            "killed-after-create" => self.ambush(kind, post(), NEVER, Then::Kill),
            "paused-in-create" => self.ambush(kind, post(), NEVER, Then::Pause),
            "killed-in-delete" => {
                self.ambush(kind, Matching::request("DELETE", "/servers/*"), NEVER, Then::Kill);
            }
            "deleted-behind" => {
                if let Some(server) = self.one_of_ours().await {
                    self.market.stand.happen(Deed::DeleteServer { server: server.name.clone() }).unwrap();
                    self.behind.insert(server.name);
                    self.hit(kind);
                }
            }
            "foreign-servers" => self.foreigners(),
            "clock-jumps" => {
                self.market.stand.step(JUMP);
                clock::jump(&self.market.grid, JUMP).await;
                self.hit(kind);
            }
            "provider-clock-jumps" => {
                self.market.stand.step(JUMP);
                self.hit(kind);
            }
            "token-revoked" => {
                let token = self.market.stand.token().to_owned();
                self.market.stand.happen(Deed::Token { token: token.clone(), valid: false }).unwrap();
                let refused = |r: &hetzner_sim::Request| r.status == Some(401);
                if self.answered(refused).await {
                    self.hit(kind);
                }
                self.market.stand.happen(Deed::Token { token, valid: true }).unwrap();
            }
            "price-changes" => {
                let hourly = format!("0.0{}", 100 + self.dice.below(300));
                let price =
                    Deed::Price { server_type: "cpx12".to_owned(), hourly, monthly: "19.99".to_owned() };
                self.market.stand.happen(price).unwrap();
                self.hit(kind);
            }
            "killed" => {
                self.kill();
                self.hit(kind);
            }
            "two-at-once" => {
                self.start_process();
                self.hit(kind);
            }
            "paused" => {
                self.pause();
                self.hit(kind);
            }
            "database-down" => {
                self.market.grid.database.goes_away().await;
                let mut failed = 0;
                while failed < CALLS_FAILED {
                    failed += u32::from(self.market.grid.store.servers().await.is_err());
                }
                self.market.grid.database.back().await;
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
}
