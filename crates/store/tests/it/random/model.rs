//! The reference: what a grid must be after each step, in a few maps and without any SQL. It repeats the decisions of
//! `core` on purpose: two spellings that must agree.

use std::collections::{BTreeMap, BTreeSet};

use rgrid_core::execution::Status;
use rgrid_core::id::{ExecutionId, WorkerId};
use rgrid_core::worker::WorkerStatus;
use rgrid_store::attempts::AttemptState;

use super::step::{Said, Submit};

/// Milliseconds of the test's clock.
pub(crate) type Ms = i64;

pub(crate) const LEASE: Ms = 20_000;
const RENEW_BELOW: Ms = 12_000;
const UNNAMED: Ms = 20_000;
const OUTAGE_GAP: Ms = 3_000;
const LEADER: Ms = 4_000;
const PENDING_EXPIRES: Ms = 3_600_000;
const KEY_KEPT: Ms = 24 * 3_600_000;
/// Limits of the two batches that each account has.
pub(crate) const PARALLEL: [usize; 2] = [1, 2];
/// Attempts that a worker of these tests runs at once.
pub(crate) const SLOTS: u32 = 2;

#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) worker: WorkerId,
    pub(crate) state: AttemptState,
    pub(crate) claimed: Ms,
    pub(crate) named: bool,
    pub(crate) lease: Ms,
    pub(crate) log: u64,
    pub(crate) said: Option<Said>,
}

#[derive(Debug, Clone)]
pub(crate) struct Execution {
    pub(crate) submit: Submit,
    pub(crate) status: Status,
    pub(crate) created: Ms,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) cancelled: bool,
    pub(crate) outcome: Option<&'static str>,
    pub(crate) outputs: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) status: WorkerStatus,
    pub(crate) heard: Option<Ms>,
}

/// Why a call is refused. Nothing changes then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    NotCurrent,
    NotLeader,
    NotFound,
    Conflict,
    Invalid,
    Mismatch,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) now: Ms,
    pub(crate) executions: BTreeMap<ExecutionId, Execution>,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    pub(crate) blobs: BTreeSet<(usize, u8)>,
    pub(crate) touched: BTreeMap<(usize, u8), Ms>,
    pub(crate) keys: BTreeMap<(usize, u8), (Submit, ExecutionId, Ms)>,
    pub(crate) beat: Option<Ms>,
    pub(crate) gap_end: Option<Ms>,
    pub(crate) term: i64,
    /// Who leads, and until when; `None` until when it has resigned.
    pub(crate) leader: Option<(usize, Option<Ms>)>,
}

impl Execution {
    fn lost(&self, state: AttemptState) -> usize {
        self.attempts.iter().filter(|attempt| attempt.state == state).count()
    }

    fn end(&mut self, status: Status, outcome: &'static str) -> Status {
        self.status = status;
        self.outcome = Some(outcome);
        status
    }

    fn waits(&mut self) -> Status {
        self.status = Status::Queued;
        Status::Queued
    }

    /// The newest attempt is taken away.
    fn leave(&mut self, state: AttemptState) -> Status {
        self.attempts.last_mut().unwrap().state = state;
        if self.cancelled {
            self.end(Status::Cancelled, "cancelled")
        } else if state == AttemptState::Lost && self.lost(state) > self.submit.retries as usize {
            self.end(Status::Failed, "worker_lost")
        } else {
            self.waits()
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.status == Status::Running
    }

    fn place(&self) -> (i16, Ms) {
        (-self.submit.priority, self.created)
    }
}

impl Model {
    /// What a submission under `key` meets: what the key made before, or nothing.
    pub(crate) fn remembered(
        &self,
        submit: &Submit,
        key: Option<u8>,
    ) -> Result<Option<ExecutionId>, Refused> {
        let Some(key) = key else { return Ok(None) };
        match self.keys.get(&(submit.account, key)) {
            Some((_, _, at)) if *at < self.now - KEY_KEPT => Ok(None),
            Some((body, id, _)) if body == submit => Ok(Some(*id)),
            Some(_) => Err(Refused::Mismatch),
            None => Ok(None),
        }
    }

    pub(crate) fn submitted(&mut self, id: ExecutionId, submit: &Submit, key: Option<u8>) {
        let here = submit.blob.is_none_or(|blob| self.blobs.contains(&(submit.account, blob)));
        let execution = Execution {
            submit: submit.clone(),
            status: if here { Status::Queued } else { Status::Pending },
            created: self.now,
            attempts: Vec::new(),
            cancelled: false,
            outcome: None,
            outputs: false,
        };
        assert!(self.executions.insert(id, execution).is_none(), "an id was given twice");
        if let Some(key) = key {
            self.keys.insert((submit.account, key), (submit.clone(), id, self.now));
        }
    }

    pub(crate) fn uploaded(&mut self, account: usize, blob: u8, commit: bool) {
        if self.blobs.contains(&(account, blob)) {
            return;
        }
        self.touched.insert((account, blob), self.now);
        if !commit {
            return;
        }
        self.blobs.insert((account, blob));
        for execution in self.executions.values_mut() {
            if execution.status == Status::Pending
                && (execution.submit.account, execution.submit.blob) == (account, Some(blob))
            {
                execution.status = Status::Queued;
            }
        }
    }

    fn running_of(&self, account: usize) -> usize {
        let of = |e: &&Execution| e.is_running() && e.submit.account == account;
        self.executions.values().filter(of).count()
    }

    fn room(&self, execution: &Execution) -> usize {
        let Some(batch) = execution.submit.batch else { return usize::MAX };
        let of = |e: &&Execution| {
            e.is_running() && (e.submit.account, e.submit.batch) == (execution.submit.account, Some(batch))
        };
        PARALLEL[batch] - self.executions.values().filter(of).count()
    }

    pub(crate) fn held(&self, worker: WorkerId) -> usize {
        let held = |e: &&Execution| e.is_running() && e.attempts.last().is_some_and(|a| a.worker == worker);
        self.executions.values().filter(held).count()
    }

    /// Whether these may be handed out to these polls, all of them, and nothing more could have been.
    pub(crate) fn claimed(
        &mut self,
        polls: &BTreeMap<WorkerId, u32>,
        taken: &[(ExecutionId, WorkerId, u32)],
    ) {
        let mut free: BTreeMap<WorkerId, u32> = BTreeMap::new();
        for (worker, slots) in polls {
            if self.workers.get(worker).is_some_and(|w| w.status == WorkerStatus::Active) {
                let left = SLOTS.saturating_sub(u32::try_from(self.held(*worker)).unwrap());
                free.insert(*worker, left.min(*slots));
            }
        }
        for (id, worker, number) in taken {
            let slots = free.get_mut(worker).expect("only active workers that poll are given anything");
            *slots = slots.checked_sub(1).expect("no worker is given more than it has room for");
            let execution = self.executions.get(id).expect("only what was submitted is claimed");
            assert_eq!(execution.status, Status::Queued, "{id} does not wait");
            assert!(self.room(execution) > 0, "a batch runs more than its limit");
            let now = self.now;
            let execution = self.executions.get_mut(id).unwrap();
            execution.status = Status::Running;
            execution.attempts.push(Attempt {
                worker: *worker,
                state: AttemptState::Running,
                claimed: now,
                named: false,
                lease: now + LEASE,
                log: 0,
                said: None,
            });
            assert_eq!(execution.attempts.len(), *number as usize, "attempts are numbered 1, 2, ...");
        }
        let waits = |e: &&Execution| e.status == Status::Queued && self.room(e) > 0;
        let left: Vec<&Execution> = self.executions.values().filter(waits).collect();
        let idle: u32 = free.values().sum();
        assert!(idle == 0 || left.is_empty(), "{idle} slots stay free and {} could run", left.len());
        for (taken, left) in taken.iter().flat_map(|taken| left.iter().map(move |left| (taken, left))) {
            let taken = &self.executions[&taken.0];
            let (mine, other) = (taken.submit.account, left.submit.account);
            if mine == other {
                assert!(taken.place() <= left.place(), "priority, then age");
            } else {
                assert!(self.running_of(mine) <= self.running_of(other) + 1, "fewest running first");
            }
        }
    }

    /// What of `holding` is not current.
    pub(crate) fn heartbeat(
        &mut self,
        worker: WorkerId,
        holding: &[(ExecutionId, u32)],
    ) -> Vec<(ExecutionId, u32)> {
        let now = self.now;
        let known = self.workers.get_mut(&worker).unwrap();
        match known.status {
            WorkerStatus::Terminating | WorkerStatus::Terminated => {}
            WorkerStatus::Dead => *known = Worker { status: WorkerStatus::Active, heard: Some(now) },
            WorkerStatus::Provisioning
            | WorkerStatus::Active
            | WorkerStatus::Draining
            | WorkerStatus::Failed => {
                known.heard = Some(now);
            }
        }
        let mut stale = Vec::new();
        for (id, number) in holding {
            match self.current(*id, *number) {
                Ok(attempt) if !attempt.named || attempt.lease < now + RENEW_BELOW => {
                    attempt.named = true;
                    attempt.lease = now + LEASE;
                }
                Ok(_) => {}
                Err(_) => stale.push((*id, *number)),
            }
        }
        stale
    }

    fn current(&mut self, id: ExecutionId, number: u32) -> Result<&mut Attempt, Refused> {
        let attempt = &mut self.executions.get_mut(&id).unwrap().attempts[number as usize - 1];
        if attempt.state == AttemptState::Running { Ok(attempt) } else { Err(Refused::NotCurrent) }
    }

    pub(crate) fn started(&mut self, id: ExecutionId, number: u32) -> Result<(), Refused> {
        self.current(id, number)?.named = true;
        Ok(())
    }

    /// The size of the log after it.
    pub(crate) fn logged(&mut self, id: ExecutionId, number: u32, end: u64) -> Result<u64, Refused> {
        let attempt = self.current(id, number)?;
        attempt.log = attempt.log.max(end);
        Ok(attempt.log)
    }

    pub(crate) fn finished(
        &mut self,
        id: ExecutionId,
        number: u32,
        said: Said,
        unpushed: u64,
    ) -> Result<Status, Refused> {
        let execution = self.executions.get_mut(&id).unwrap();
        let attempt = &execution.attempts[number as usize - 1];
        match attempt.state {
            AttemptState::Ended if attempt.said == Some(said) => return Ok(execution.status),
            AttemptState::Ended | AttemptState::Lost | AttemptState::HandedBack => {
                return Err(Refused::NotCurrent);
            }
            AttemptState::Running if unpushed > 0 => return Err(Refused::Invalid),
            AttemptState::Running => {}
        }
        let ended_before = execution.lost(AttemptState::Ended);
        let attempt = execution.attempts.last_mut().unwrap();
        attempt.state = AttemptState::Ended;
        attempt.said = Some(said);
        let again = said == Said::Seven
            && execution.submit.retry_on
            && !execution.cancelled
            && ended_before < execution.submit.retries as usize;
        if again {
            return Ok(execution.waits());
        }
        execution.outputs = true;
        Ok(match said {
            Said::Done => execution.end(Status::Completed, "exited"),
            Said::Seven | Said::One => execution.end(Status::Failed, "exited"),
            Said::TimedOut => execution.end(Status::TimedOut, "timed_out"),
            Said::Cancelled => execution.end(Status::Cancelled, "cancelled"),
        })
    }

    pub(crate) fn handed_back(&mut self, id: ExecutionId, number: u32) -> Result<Status, Refused> {
        let execution = self.executions.get_mut(&id).unwrap();
        match execution.attempts[number as usize - 1].state {
            AttemptState::Running => Ok(execution.leave(AttemptState::HandedBack)),
            AttemptState::HandedBack => Ok(execution.status),
            AttemptState::Ended | AttemptState::Lost => Err(Refused::NotCurrent),
        }
    }

    pub(crate) fn cancelled(&mut self, id: ExecutionId, stranger: bool) -> Result<Status, Refused> {
        let execution = self.executions.get_mut(&id).unwrap();
        if stranger {
            return Err(Refused::NotFound);
        }
        match execution.status {
            Status::Pending | Status::Queued => {
                execution.cancelled = true;
                Ok(execution.end(Status::Cancelled, "cancelled"))
            }
            Status::Running => {
                execution.cancelled = true;
                Ok(Status::Running)
            }
            Status::Completed | Status::Failed | Status::TimedOut | Status::Cancelled => {
                Err(Refused::Conflict)
            }
        }
    }

    /// Heartbeats have been accepted for a full period.
    fn quiet(&self) -> bool {
        self.beat.is_some_and(|at| at >= self.now - OUTAGE_GAP)
            && self.gap_end.is_some_and(|at| at <= self.now - LEASE)
    }

    /// What a reader of the fleet sees as overdue.
    pub(crate) fn overdue(&self) -> BTreeSet<(ExecutionId, u32)> {
        let mut overdue = BTreeSet::new();
        for (id, execution) in self.executions.iter().filter(|(_, e)| e.is_running()) {
            let attempt = execution.attempts.last().unwrap();
            if attempt.lease < self.now || !attempt.named && attempt.claimed < self.now - UNNAMED {
                overdue.insert((*id, u32::try_from(execution.attempts.len()).unwrap()));
            }
        }
        overdue
    }

    /// True when the attempt was taken away.
    pub(crate) fn requeued(&mut self, id: ExecutionId, number: u32, unnamed: bool) -> bool {
        let quiet = self.quiet();
        let now = self.now;
        let Ok(attempt) = self.current(id, number).cloned() else { return false };
        let is_gone = match self.workers[&attempt.worker].status {
            WorkerStatus::Dead
            | WorkerStatus::Failed
            | WorkerStatus::Terminating
            | WorkerStatus::Terminated => true,
            WorkerStatus::Provisioning | WorkerStatus::Active | WorkerStatus::Draining => false,
        };
        let (holds, state) = if unnamed {
            (!attempt.named && attempt.claimed < now - UNNAMED && quiet, AttemptState::HandedBack)
        } else {
            (attempt.lease < now && quiet || is_gone, AttemptState::Lost)
        };
        if holds {
            self.executions.get_mut(&id).unwrap().leave(state);
        }
        holds
    }

    fn lose_all(&mut self, worker: WorkerId) -> bool {
        let mut any = false;
        for execution in self.executions.values_mut().filter(|e| e.is_running()) {
            if execution.attempts.last().unwrap().worker == worker {
                execution.leave(AttemptState::Lost);
                any = true;
            }
        }
        any
    }

    fn takes_work_or_drains(&self, worker: WorkerId) -> bool {
        [WorkerStatus::Active, WorkerStatus::Draining].contains(&self.workers[&worker].status)
    }

    pub(crate) fn marked_dead(&mut self, worker: WorkerId, seen: Option<Ms>) -> bool {
        let newer = self.workers[&worker].heard.is_some_and(|at| seen.is_none_or(|seen| at > seen));
        let marked = self.takes_work_or_drains(worker) && !newer;
        if marked {
            self.workers.get_mut(&worker).unwrap().status = WorkerStatus::Dead;
            self.lose_all(worker);
        }
        marked
    }

    pub(crate) fn exited(&mut self, worker: WorkerId) -> bool {
        let marked = self.takes_work_or_drains(worker);
        if marked {
            self.workers.get_mut(&worker).unwrap().status = WorkerStatus::Dead;
        }
        self.lose_all(worker) || marked
    }

    /// Takes a worker from one of some statuses to another.
    pub(crate) fn moved(&mut self, worker: WorkerId, from: &[WorkerStatus], to: WorkerStatus) -> bool {
        let known = self.workers.get_mut(&worker).unwrap();
        let legal = from.contains(&known.status);
        if legal {
            known.status = to;
        }
        legal
    }

    pub(crate) fn terminated(&mut self, worker: WorkerId) -> bool {
        self.held(worker) == 0
            && self.moved(worker, &[WorkerStatus::Draining, WorkerStatus::Dead], WorkerStatus::Terminating)
    }

    pub(crate) fn expired(&mut self) -> u64 {
        let old = self.now - PENDING_EXPIRES;
        let touched = &self.touched;
        let mut count = 0;
        for execution in self.executions.values_mut().filter(|e| e.status == Status::Pending) {
            let blob = execution.submit.blob.expect("only what waits for an input is pending");
            let arriving = touched.get(&(execution.submit.account, blob)).is_some_and(|at| *at > old);
            if execution.created < old && !arriving {
                execution.end(Status::Failed, "expired");
                count += 1;
            }
        }
        count
    }

    pub(crate) fn beaten(&mut self) {
        if self.beat.is_none_or(|at| at < self.now - OUTAGE_GAP) {
            self.gap_end = Some(self.now);
        }
        self.beat = self.beat.max(Some(self.now));
    }

    /// The term that `holder` has now; `None` when the other leads.
    pub(crate) fn led(&mut self, holder: usize) -> Option<i64> {
        let alive = |until: Option<Ms>| until.is_some_and(|until| until > self.now);
        match self.leader {
            Some((other, until)) if other != holder && alive(until) => return None,
            Some((other, until)) if other == holder && alive(until) => {}
            Some(_) | None => self.term += 1,
        }
        self.leader = Some((holder, Some(self.now + LEADER)));
        Some(self.term)
    }

    pub(crate) fn leads(&self, term: i64) -> Result<(), Refused> {
        let alive = self.leader.is_some_and(|(_, until)| until.is_some_and(|until| until > self.now));
        if alive && term == self.term { Ok(()) } else { Err(Refused::NotLeader) }
    }

    pub(crate) fn resigned(&mut self, holder: usize) {
        if let Some((who, until)) = &mut self.leader
            && *who == holder
        {
            *until = None;
        }
    }
}
