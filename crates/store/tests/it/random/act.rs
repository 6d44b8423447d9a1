//! How each step is done: by a call of the store, and by the model, whose answers must be the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rgrid_core::id::{ExecutionId, WorkerId};
use rgrid_core::outcome::{CancelledBy, Outcome};
use rgrid_core::worker::WorkerStatus;
use rgrid_store::attempts::{AttemptAuth, OutputRow};
use rgrid_store::claim::Poll;
use rgrid_store::directives::Held;
use rgrid_store::executions::BlobName;
use rgrid_store::fleet::Requeue;
use rgrid_store::idempotency::Idempotency;
use rgrid_store::logs::{LogPiece, LogStream};
use rgrid_store::workers::HeartbeatRow;

use super::step::{Leader, Said, Step, Submit};
use super::world::{World, batch, refused};
use crate::crew::{self, WHOLE};
use crate::stage::{sha256, submission};

const ROUTE: &str = "POST /executions";

impl World {
    pub(crate) async fn step(&mut self, step: &Step) {
        self.next_turn().await;
        let (step, waits) =
            if let Step::Crash { during, waits } = step { (&**during, Some(*waits)) } else { (step, None) };
        Box::pin(self.act(step, waits)).await;
        self.compare().await;
    }

    async fn act(&mut self, step: &Step, waits: Option<u32>) {
        match step {
            Step::Submit { submit, key } => self.submit(submit, *key, waits).await,
            Step::Upload { account, blob, commit } => self.upload(*account, *blob, *commit).await,
            Step::Claim { polls, answer } => self.claim(polls, *answer, waits).await,
            Step::Heartbeat { worker, mask } => self.heartbeat(self.worker(*worker), *mask).await,
            Step::Start { attempt } => self.start(*attempt).await,
            Step::Log { attempt, bytes, again } => self.log(*attempt, *bytes, *again, waits).await,
            Step::Finish { attempt, said, unpushed } => {
                self.finish(*attempt, *said, *unpushed, waits).await;
            }
            Step::HandBack { attempt } => self.hand_back(*attempt, waits).await,
            Step::Cancel { execution, stranger } => self.cancel(*execution, *stranger, waits).await,
            Step::Join => self.join().await,
            Step::Carry => self.carry(waits).await,
            Step::CarryWaiting => self.carry_waiting(waits).await,
            Step::Tick { seconds, beats } => self.tick(*seconds, *beats).await,
            Step::Resign { holder } => {
                self.store().resign(&format!("orchestrator-{holder}")).await.unwrap();
                self.model.resigned(*holder);
            }
            Step::Round { leader } => self.round(*leader).await,
            Step::Requeue { leader, attempt, unnamed } => self.requeue(*leader, *attempt, *unnamed).await,
            Step::MarkDead { leader, worker, seen } => {
                let worker = self.worker(*worker);
                let heard = self.model.workers[&worker].heard.filter(|_| *seen);
                let Some(term) = self.term(*leader).await else { return };
                let now = self.store().now().await.unwrap();
                let seen = heard.map(|at| now - chrono_ms(self.model.now - at));
                let got = self.store().mark_dead(&term, worker, seen, "silent").await;
                let expected = self.model.leads(term.number).map(|()| self.model.marked_dead(worker, heard));
                assert_eq!(got.map_err(refused), expected);
            }
            Step::Exited { leader, worker } => {
                let worker = self.worker(*worker);
                let Some(term) = self.term(*leader).await else { return };
                let got = self.store().worker_exited(&term, worker, "exit status 1").await;
                let expected = self.model.leads(term.number).map(|()| self.model.exited(worker));
                assert_eq!(got.map_err(refused), expected);
            }
            Step::Drain { leader, worker } => {
                let worker = self.worker(*worker);
                let Some(term) = self.term(*leader).await else { return };
                let got = self.store().mark_draining(&term, worker, "old").await;
                let moved = |m: &mut super::model::Model| {
                    m.moved(worker, &[WorkerStatus::Active], WorkerStatus::Draining)
                };
                let expected = self.model.leads(term.number).map(|()| moved(&mut self.model));
                assert_eq!(got.map_err(refused), expected);
            }
            Step::Terminate { leader, worker } => {
                let worker = self.worker(*worker);
                let Some(term) = self.term(*leader).await else { return };
                let got = self.store().mark_terminating(&term, worker, "idle").await;
                let expected = self.model.leads(term.number).map(|()| self.model.terminated(worker));
                assert_eq!(got.map_err(refused), expected);
            }
            Step::Gone { leader, worker } => {
                let worker = self.worker(*worker);
                let Some(term) = self.term(*leader).await else { return };
                let got = self.store().mark_terminated(&term, worker).await;
                let moved = |m: &mut super::model::Model| {
                    m.moved(worker, &[WorkerStatus::Terminating], WorkerStatus::Terminated)
                };
                let expected = self.model.leads(term.number).map(|()| moved(&mut self.model));
                assert_eq!(got.map_err(refused), expected);
            }
            Step::ExpirePending { leader } => {
                let Some(term) = self.term(*leader).await else { return };
                let got = self.store().expire_pending(&term).await;
                let expected = self.model.leads(term.number).map(|()| self.model.expired());
                assert_eq!(got.map_err(refused), expected);
            }
            Step::Crash { .. } => panic!("a crash holds no other"),
        }
    }

    async fn submit(&mut self, submit: &Submit, key: Option<u8>, waits: Option<u32>) {
        let sent = self.submission(submit);
        let account = self.accounts[submit.account];
        let idempotency = key.map(|key| Idempotency {
            route: ROUTE,
            key: key.to_string(),
            body_sha256: sha256(format!("{submit:?}").as_bytes()).0,
        });
        let store = self.store();
        let create = Box::pin(store.create_execution(account, &sent, false, idempotency));
        let made = self.call(waits, create).await;
        let before = self.model.remembered(submit, key);
        let id = match made {
            Some(made) => {
                let got = made.map(|made| (made.execution.id, made.replayed)).map_err(refused);
                match before {
                    Err(why) => return assert_eq!(got, Err(why)),
                    Ok(Some(first)) => return assert_eq!(got, Ok((first, true))),
                    Ok(None) => {}
                }
                let (id, replayed) = got.unwrap();
                assert!(!replayed, "a key was remembered that made nothing");
                id
            }
            None => {
                let ids: Vec<String> = sqlx::query_scalar("select id from executions order by id")
                    .fetch_all(&mut self.clock.admin)
                    .await
                    .unwrap();
                let mut new =
                    ids.into_iter().map(|id| id.parse().unwrap()).filter(|id| !self.executions.contains(id));
                let Some(id) = new.next() else { return };
                assert_eq!((before, new.next()), (Ok(None), None));
                id
            }
        };
        self.model.submitted(id, submit, key);
        self.executions.push(id);
        if let Some(number) = submit.batch {
            self.put_into_batch(id, submit.account, number).await;
        }
    }

    fn submission(&self, submit: &Submit) -> rgrid_core::submission::Submission {
        let bytes: &[u8] = &[submit.blob.unwrap_or(0)];
        let files: &[&[u8]] = if submit.blob.is_some() { &[bytes] } else { &[] };
        let mut draft = (*submission(files, false)).clone();
        draft.priority = submit.priority;
        draft.retries = submit.retries;
        draft.retry_on = if submit.retry_on { vec![7] } else { Vec::new() };
        draft.parse().unwrap()
    }

    /// What a submission into a batch writes.
    async fn put_into_batch(&mut self, id: ExecutionId, account: usize, number: usize) {
        let batch = batch(account, number);
        let statements = format!(
            "insert into lanes (account_id, batch_id, priority, cpu_millis, memory_bytes, disk_bytes, sandbox)
            select l.account_id, '{batch}', l.priority, l.cpu_millis, l.memory_bytes, l.disk_bytes, l.sandbox
            from lanes l join executions e on e.lane_id = l.id where e.id = '{id}' on conflict do nothing;
            update queue q set lane_id = n.id
            from executions e join lanes o on o.id = e.lane_id
            join lanes n on n.account_id = o.account_id and n.batch_id = '{batch}' and n.priority = o.priority
            where e.id = '{id}' and q.execution_id = e.id;
            update executions e set batch_id = '{batch}', lane_id = n.id
            from lanes o join lanes n on n.account_id = o.account_id and n.priority = o.priority
            where e.id = '{id}' and o.id = e.lane_id and n.batch_id = '{batch}';
            update lanes l set head_age = least(l.head_age, q.age)
            from queue q where q.execution_id = '{id}' and l.id = q.lane_id;"
        );
        self.clock.execute(statements).await;
    }

    async fn upload(&mut self, account: usize, blob: u8, commit: bool) {
        let (owner, store) = (self.accounts[account], self.store());
        let name = BlobName { sha256: sha256(&[blob]), size_bytes: 1 };
        let uploads = store.missing_blobs(owner, &[name]).await.unwrap();
        assert_eq!(uploads.is_empty(), self.model.blobs.contains(&(account, blob)));
        for upload in uploads {
            for number in upload.parts_missing.clone() {
                let bytes = futures_util::stream::iter([Ok::<_, std::io::Error>(vec![blob].into())]);
                store.put_part(upload.id, number, 1, bytes).await.unwrap();
            }
            if commit {
                let left = store.commit_uploads(owner, &[(upload.id, upload.sha256)]).await.unwrap();
                assert_eq!(left, []);
            }
        }
        self.model.uploaded(account, blob, commit);
    }

    pub(crate) async fn claim(&mut self, polls: &[(usize, u32)], answer: bool, waits: Option<u32>) {
        let mut by_worker: BTreeMap<WorkerId, u32> = BTreeMap::new();
        for (worker, slots) in polls {
            by_worker.entry(self.worker(*worker)).or_insert(*slots);
        }
        let sent: Vec<Poll> = by_worker
            .iter()
            .map(|(worker, slots)| Poll { worker_id: *worker, slots: *slots, free: WHOLE })
            .collect();
        let store = self.store();
        let claimed = self.call(waits, store.claim(&sent)).await.map(Result::unwrap);
        let Some(claimed) = claimed else {
            let taken = self.unknown_attempts().await;
            if !taken.is_empty() {
                self.model.claimed(&by_worker, &taken);
            }
            return;
        };
        let mut taken: Vec<(ExecutionId, WorkerId, u32)> = Vec::new();
        for claimed in &claimed {
            taken.push((claimed.attempt.execution_id, claimed.worker_id, claimed.attempt.number));
        }
        taken.sort_by_key(|(id, _, _)| self.executions.iter().position(|known| known == id));
        self.model.claimed(&by_worker, &taken);
        if answer {
            for (id, _, number) in &taken {
                let found = claimed.iter().find(|c| c.attempt.execution_id == *id).unwrap();
                self.attempts.push((*id, *number, found.token.clone()));
            }
        }
    }

    /// Attempts that a claim wrote whose answer nobody got.
    async fn unknown_attempts(&mut self) -> Vec<(ExecutionId, WorkerId, u32)> {
        let rows: Vec<(String, String, i32)> = sqlx::query_as(
            "select execution_id, worker_id, number from attempts order by execution_id, number",
        )
        .fetch_all(&mut self.clock.admin)
        .await
        .unwrap();
        rows.into_iter()
            .map(|(id, worker, number)| {
                (id.parse().unwrap(), worker.parse().unwrap(), u32::try_from(number).unwrap())
            })
            .filter(|(id, _, number): &(ExecutionId, WorkerId, u32)| {
                self.model.executions[id].attempts.len() < *number as usize
            })
            .collect()
    }

    async fn heartbeat(&mut self, worker: WorkerId, mask: u16) {
        let of_it: Vec<&(ExecutionId, u32, String)> = self
            .attempts
            .iter()
            .filter(|(id, number, _)| {
                self.model.executions[id].attempts[*number as usize - 1].worker == worker
            })
            .collect();
        let newest = of_it.into_iter().rev().take(16).enumerate();
        let holding: Vec<Held> = newest
            .filter(|(bit, _)| mask & (1 << bit) != 0)
            .map(|(_, (id, number, token))| Held {
                execution_id: *id,
                attempt: *number,
                token: token.clone(),
                directive: 0,
            })
            .collect();
        let named: Vec<(ExecutionId, u32)> = holding.iter().map(|h| (h.execution_id, h.attempt)).collect();
        let beat = HeartbeatRow { worker_id: worker, holding };
        let answers = self.store().heartbeats(&[beat]).await.unwrap();
        let stale: Vec<_> = answers[0].not_current.iter().map(|h| (h.execution_id, h.attempt)).collect();
        assert_eq!(stale, self.model.heartbeat(worker, &named));
    }

    fn auth(&self, pick: usize) -> Option<AttemptAuth> {
        let (execution_id, attempt, token) = self.attempt(pick)?;
        let worker_id = self.model.executions[&execution_id].attempts[attempt as usize - 1].worker;
        Some(AttemptAuth { execution_id, attempt, token, worker_id })
    }

    async fn start(&mut self, pick: usize) {
        let Some(auth) = self.auth(pick) else { return };
        let got = self.store().attempt_started(&auth).await.map_err(refused);
        assert_eq!(got, self.model.started(auth.execution_id, auth.attempt));
    }

    async fn log(&mut self, pick: usize, bytes: usize, again: usize, waits: Option<u32>) {
        let Some(auth) = self.auth(pick) else { return };
        let (id, number) = (auth.execution_id, auth.attempt);
        let size = self.model.executions[&id].attempts[number as usize - 1].log;
        let offset = size.saturating_sub(again as u64);
        let end = size + bytes as u64;
        if end == offset {
            return;
        }
        let piece = LogPiece {
            stream: LogStream::Stdout,
            offset,
            bytes: (offset..end).map(|at| at.to_le_bytes()[0]).collect(),
            gap_bytes: 0,
            at: self.store().now().await.unwrap(),
        };
        let store = self.store();
        let got = self.call(waits, store.append_logs(&auth, std::slice::from_ref(&piece))).await;
        let mut done = self.model.clone();
        let expected = done.logged(id, number, end);
        match got {
            Some(got) => {
                assert_eq!(got.map(|appended| appended.sizes.stdout).map_err(refused), expected);
                self.model = done;
            }
            None => self.settle_on(done).await,
        }
    }

    pub(crate) async fn finish(&mut self, pick: usize, said: Said, unpushed: u64, waits: Option<u32>) {
        let Some(auth) = self.auth(pick) else { return };
        let (id, number) = (auth.execution_id, auth.attempt);
        let mut finish = crew::finish(match said {
            Said::Done => Outcome::Exited { code: 0 },
            Said::Seven => Outcome::Exited { code: 7 },
            Said::One => Outcome::Exited { code: 1 },
            Said::TimedOut => Outcome::TimedOut { timeout: Duration::from_secs(60) },
            Said::Cancelled => Outcome::Cancelled { by: CancelledBy::User },
        });
        finish.stdout_bytes = self.model.executions[&id].attempts[number as usize - 1].log + unpushed;
        finish.outputs.push(OutputRow {
            path: "/home/ada/out".parse().unwrap(),
            sha256: None,
            size_bytes: 0,
            mode: 0o755,
            modified_ns: 0,
        });
        let manifest = [Said::ALL.iter().position(|one| *one == said).unwrap().to_le_bytes()[0] + 1; 32];
        let store = self.store();
        let got = self.call(waits, store.finish(&auth, &finish, manifest)).await;
        let mut done = self.model.clone();
        let expected = done.finished(id, number, said, unpushed);
        match got {
            Some(got) => {
                assert_eq!(got.map_err(refused), expected);
                self.model = done;
            }
            None => self.settle_on(done).await,
        }
    }

    async fn hand_back(&mut self, pick: usize, waits: Option<u32>) {
        let Some(auth) = self.auth(pick) else { return };
        let store = self.store();
        let got = self.call(waits, store.hand_back(&auth)).await;
        let mut done = self.model.clone();
        let expected = done.handed_back(auth.execution_id, auth.attempt);
        match got {
            Some(got) => {
                assert_eq!(got.map_err(refused), expected);
                self.model = done;
            }
            None => self.settle_on(done).await,
        }
    }

    async fn carry(&mut self, waits: Option<u32>) {
        let store = self.store();
        let running = self.model.executions.values().filter(|execution| execution.is_running()).count();
        if let Some(carried) = self.call(waits, store.renew_running()).await {
            assert_eq!(carried.unwrap(), running as u64);
        }
    }

    async fn carry_waiting(&mut self, waits: Option<u32>) {
        let store = self.store();
        if let Some(carried) = self.call(waits, store.renew_waiting()).await {
            carried.unwrap();
        }
    }

    async fn cancel(&mut self, pick: usize, stranger: bool, waits: Option<u32>) {
        if self.executions.is_empty() {
            return;
        }
        let id = self.executions[pick % self.executions.len()];
        let owner = self.model.executions[&id].submit.account;
        let account = self.accounts[if stranger { 1 - owner } else { owner }];
        let store = self.store();
        let got = self.call(waits, store.cancel(account, id, CancelledBy::User)).await;
        let mut done = self.model.clone();
        let expected = done.cancelled(id, stranger);
        match got {
            Some(got) => {
                assert_eq!(got.map(|row| row.status).map_err(refused), expected);
                self.model = done;
            }
            None => self.settle_on(done).await,
        }
    }

    /// Takes away what is overdue, as an orchestrator's round does.
    pub(crate) async fn round(&mut self, leader: Leader) {
        let Some(term) = self.term(leader).await else { return };
        let store = self.store();
        let overdue = store.fleet(Duration::ZERO).await.unwrap().overdue;
        let seen: BTreeSet<_> = overdue.iter().map(|row| (row.execution_id, row.attempt)).collect();
        assert_eq!(seen, self.model.overdue());
        for row in overdue {
            let why = if row.named { Requeue::Lost } else { Requeue::Unnamed };
            let got = store.requeue(&term, row.execution_id, row.attempt, why).await;
            let expected = self
                .model
                .leads(term.number)
                .map(|()| self.model.requeued(row.execution_id, row.attempt, !row.named));
            assert_eq!(got.map_err(refused), expected);
        }
    }

    async fn requeue(&mut self, leader: Leader, pick: usize, unnamed: bool) {
        let Some((id, number, _)) = self.attempt(pick) else { return };
        let Some(term) = self.term(leader).await else { return };
        let why = if unnamed { Requeue::Unnamed } else { Requeue::Lost };
        let got = self.store().requeue(&term, id, number, why).await;
        let expected = self.model.leads(term.number).map(|()| self.model.requeued(id, number, unnamed));
        assert_eq!(got.map_err(refused), expected);
    }
}

fn chrono_ms(ms: i64) -> chrono::TimeDelta {
    chrono::TimeDelta::milliseconds(ms)
}
