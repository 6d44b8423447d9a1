//! A grid on a database: each step is done by the store and by the model, then both are compared.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll as Readiness;

use rgrid_core::id::{AccountId, BatchId, ExecutionId, WorkerId};
use rgrid_core::worker::WorkerStatus;
use rgrid_store::leadership::Term;
use rgrid_store::testing::{TestDatabase, database};
use rgrid_store::{Error, Store};

use super::clock::Clock;
use super::model::{Model, PARALLEL, Refused, Worker};
use super::rows;
use super::step::Leader;
use crate::crew;

/// A worker joins as one of these at most.
const WORKERS_MAX: usize = 5;
/// Replicas of the API: they take turns.
const REPLICAS: usize = 2;

pub(crate) struct World {
    pub(crate) model: Model,
    pub(crate) clock: Clock,
    pub(crate) accounts: Vec<AccountId>,
    /// In the order in which they came.
    pub(crate) executions: Vec<ExecutionId>,
    pub(crate) workers: Vec<WorkerId>,
    /// Attempts whose runner got an answer, with their tokens.
    pub(crate) attempts: Vec<(ExecutionId, u32, String)>,
    pub(crate) turn: usize,
    replicas: Vec<Store>,
    terms: BTreeMap<usize, Term>,
    finals: BTreeMap<String, String>,
    database: TestDatabase,
}

/// The id of an account's batch.
pub(crate) fn batch(account: usize, number: usize) -> BatchId {
    BatchId::new(1, [u8::try_from(account * 2 + number + 1).unwrap(); 10])
}

/// What a refusal of the store is to the model.
pub(crate) fn refused(error: Error) -> Refused {
    match error {
        Error::NotCurrent => Refused::NotCurrent,
        Error::NotLeader => Refused::NotLeader,
        Error::NotFound { .. } => Refused::NotFound,
        Error::Conflict { .. } => Refused::Conflict,
        Error::Invalid { .. } => Refused::Invalid,
        Error::IdempotencyMismatch => Refused::Mismatch,
        other @ (Error::Unavailable(_)
        | Error::Ambiguous { .. }
        | Error::Unauthorized { .. }
        | Error::TooLarge { .. }
        | Error::Corrupt { .. }
        | Error::MigrationsMissing { .. }
        | Error::Migrate(_)
        | Error::Database(_)
        | Error::Objects(_)
        | Error::Vault(_)) => panic!("{other:?}"),
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        let database = database().await;
        let mut clock = Clock::install(&database.url).await;
        let mut world_replicas = Vec::new();
        for number in 0..REPLICAS {
            world_replicas.push(connect(&database, number).await);
        }
        let first = world_replicas[0].default_account().await.unwrap().id;
        let second = world_replicas[0].create_account("second").await.unwrap().id;
        for (number, account) in [first, second].iter().enumerate() {
            for (which, parallel) in PARALLEL.iter().enumerate() {
                let id = batch(number, which);
                clock
                    .execute(format!(
                        "insert into batches (id, account_id, parallel) values ('{id}', '{account}', {parallel})"
                    ))
                    .await;
            }
        }
        let mut world = Self {
            model: Model::default(),
            clock,
            accounts: vec![first, second],
            executions: Vec::new(),
            workers: Vec::new(),
            attempts: Vec::new(),
            turn: 0,
            replicas: world_replicas,
            terms: BTreeMap::new(),
            finals: BTreeMap::new(),
            database,
        };
        world.begin().await;
        world
    }

    async fn begin(&mut self) {
        self.join().await;
        self.beat().await;
    }

    /// As a new one, on the same database: to make one takes longer than a sequence of steps.
    pub(crate) async fn again(mut self) -> Self {
        self.clock.empty().await;
        self.model = Model::default();
        self.clock.set(self.model.now).await;
        self.executions.clear();
        self.workers.clear();
        self.attempts.clear();
        self.terms.clear();
        self.finals.clear();
        self.turn = 0;
        self.begin().await;
        self
    }

    /// The replica whose turn it is.
    pub(crate) fn store(&self) -> Store {
        self.replicas[self.turn % REPLICAS].clone()
    }

    /// A little time passes before each step, so that ages differ.
    pub(crate) async fn next_turn(&mut self) {
        self.turn += 1;
        self.model.now += 1;
        self.clock.set(self.model.now).await;
    }

    /// Model and rows must agree, and the rules hold.
    pub(crate) async fn compare(&mut self) {
        let seen = rows::seen(&mut self.clock.admin).await;
        let expected = rows::expected(&self.model);
        let only = |these: &[String], others: &[String]| -> Vec<String> {
            these.iter().filter(|line| !others.contains(line)).cloned().collect()
        };
        let (more, less) = (only(&seen, &expected), only(&expected, &seen));
        assert!(more.is_empty() && less.is_empty(), "rows say {more:#?}\nthe model says {less:#?}");
        rows::check_rules(&mut self.clock.admin, &mut self.finals).await;
    }

    /// Does what a call does, or kills the replica after so many of its waits: its sessions end as those of a process
    /// that was killed, and another takes its place. `None` when it was killed.
    pub(crate) async fn call<T>(&mut self, waits: Option<u32>, call: impl Future<Output = T>) -> Option<T> {
        let Some(mut left) = waits else { return Some(call.await) };
        let mut call = pin!(call);
        let done = poll_fn(|context| {
            if left == 0 {
                return Readiness::Ready(None);
            }
            left -= 1;
            call.as_mut().poll(context).map(Some)
        })
        .await;
        if done.is_none() {
            self.kill().await;
        }
        done
    }

    async fn kill(&mut self) {
        let number = self.turn % REPLICAS;
        let pids: Vec<i32> = sqlx::query_scalar(
            "select pid from pg_stat_activity where datname = current_database() and application_name = $1",
        )
        .bind(name(number))
        .fetch_all(&mut self.clock.admin)
        .await
        .unwrap();
        let _: Vec<bool> =
            sqlx::query_scalar("select pg_terminate_backend(pid, 10000) from unnest($1::int[]) pid")
                .bind(&pids)
                .fetch_all(&mut self.clock.admin)
                .await
                .unwrap();
        self.replicas[number] = connect(&self.database, number).await;
    }

    /// What a crash left: with the step or without it, and nothing between. `done` is the model after it.
    pub(crate) async fn settle_on(&mut self, done: Model) {
        if rows::seen(&mut self.clock.admin).await == rows::expected(&done) {
            self.model = done;
        }
    }

    pub(crate) async fn join(&mut self) {
        if self.workers.len() < WORKERS_MAX {
            self.new_worker().await;
        }
    }

    /// A worker joins, however many there are.
    pub(crate) async fn new_worker(&mut self) {
        let store = self.store();
        let token = store.create_join_token(None, std::time::Duration::from_secs(60)).await.unwrap();
        let join = rgrid_store::workers::JoinRow { slots: super::model::SLOTS, ..crew::join(&token, "n") };
        let (worker, _) = store.join(&join).await.unwrap();
        self.workers.push(worker);
        self.model.workers.insert(worker, Worker { status: WorkerStatus::Active, heard: None });
    }

    pub(crate) async fn beat(&mut self) {
        let replica = name(self.turn % REPLICAS);
        self.store().beat(&replica).await.unwrap();
        self.model.beaten();
    }

    /// Time passes; with `beats` heartbeats could be accepted in all of it.
    pub(crate) async fn tick(&mut self, seconds: i64, beats: bool) {
        if beats {
            self.beat().await;
        }
        self.model.now += seconds * 1000;
        self.clock.set(self.model.now).await;
        if beats {
            // The beats between: without them this one would be the end of a gap.
            let before = super::clock::literal(self.model.now - 1000);
            self.clock
                .execute(format!("update api_outage set last_beat_at = greatest(last_beat_at, {before})"))
                .await;
            self.model.beat = self.model.beat.max(Some(self.model.now - 1000));
            self.beat().await;
        }
    }

    /// The term of an orchestrator; `None` when it never led.
    pub(crate) async fn term(&mut self, leader: Leader) -> Option<Term> {
        if leader.renews {
            let got = self.store().lead(&format!("orchestrator-{}", leader.holder)).await.unwrap();
            assert_eq!(got.map(|term| term.number), self.model.led(leader.holder));
            if let Some(term) = got {
                self.terms.insert(leader.holder, term);
            }
        }
        self.terms.get(&leader.holder).copied()
    }

    pub(crate) fn worker(&self, pick: usize) -> WorkerId {
        self.workers[pick % self.workers.len()]
    }

    /// An attempt whose runner knows its token: mostly one that runs.
    pub(crate) fn attempt(&self, pick: usize) -> Option<(ExecutionId, u32, String)> {
        let runs = |(id, number, _): &&(ExecutionId, u32, String)| {
            let execution = &self.model.executions[id];
            execution.is_running() && execution.attempts.len() == *number as usize
        };
        let running: Vec<_> = self.attempts.iter().filter(runs).collect();
        if !pick.is_multiple_of(4) && !running.is_empty() {
            return Some(running[pick / 4 % running.len()].clone());
        }
        if self.attempts.is_empty() {
            None
        } else {
            Some(self.attempts[pick / 4 % self.attempts.len()].clone())
        }
    }
}

fn name(replica: usize) -> String {
    format!("replica {replica}")
}

async fn connect(database: &TestDatabase, number: usize) -> Store {
    let config = rgrid_store::StoreConfig { application_name: name(number), ..database.config() };
    Store::connect(&config).await.unwrap()
}
