//! The world: a virtual clock, servers that boot and run executions, and a queue. Whoever decides (core, or a
//! baseline) orders and releases servers through it; it keeps the record from which bill and waits are computed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use rgrid_core::fleet::catalog::{Architecture, Catalog, MachineType, Offering};
use rgrid_core::fleet::forecast::{History, Kind, Running};
use rgrid_core::fleet::{
    Backing, FleetPolicy, FleetView, Machine as Listed, Market, Order, ServerPolicy, ServerView, WorkerView,
};
use rgrid_core::id::WorkerId;
use rgrid_core::limits;
use rgrid_core::money::Rate;
use rgrid_core::worker::{Capacity, WorkerStatus, WorkerStep, next};

use crate::clock::{at, span};
use crate::faults::Fault;
use crate::queue::Queue;
use crate::report::{ExecutionRecord, Run, ServerRecord};
use crate::rules::{self, Checks};
use crate::setup::{Policy, Setup};
use crate::trace::Execution;
use crate::{baselines, mind};

/// Nothing of anything.
pub(crate) const NOTHING: Capacity = Capacity { cpu_millis: 0, memory_bytes: 0, disk_bytes: 0 };
/// Memory of a simulated type, per CPU.
const MEMORY_PER_CPU: u64 = 2 << 30;
/// Disk of a simulated type, per CPU.
const DISK_PER_CPU: u64 = 40 << 30;

/// Where the simulated type is sold, at one price.
const LOCATIONS: [&str; 2] = ["here", "there"];

/// What happens by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// A server has booted and its worker joins.
    Up(WorkerId),
    /// An attempt ends.
    Finish { execution: usize, attempt: u32, worker: WorkerId },
    /// Something goes wrong: the number of the fault.
    Fault(usize),
    /// Whoever decides looks again.
    Round,
}

/// An attempt on a machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) execution: usize,
    pub(crate) started: i64,
}

/// What is behind a worker, beside what the planner sees.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) server: usize,
    pub(crate) held: Vec<Held>,
    /// When it lost its power.
    pub(crate) died: Option<i64>,
    /// It is not heard of before.
    pub(crate) silent_until: i64,
}

pub(crate) struct World<'a> {
    pub(crate) setup: &'a Setup,
    pub(crate) executions: &'a [Execution],
    pub(crate) now: i64,
    /// Workers that are not gone, as the planner sees them; `machines` is in the same order.
    pub(crate) view: FleetView,
    pub(crate) policy: FleetPolicy,
    pub(crate) machines: Vec<Machine>,
    pub(crate) queue: Queue,
    /// What goes wrong, and when.
    pub(crate) faults: &'a [(i64, Fault)],
    /// Locations that are sold out, and until when.
    pub(crate) sold_out: HashMap<String, i64>,
    pub(crate) checks: Checks,
    /// Of servers that never boot, their numbers.
    never_boot: HashSet<usize>,
    /// The current attempt's number of each execution.
    attempts: Vec<u32>,
    finished: usize,
    pub(crate) steps: u64,
    index: HashMap<WorkerId, usize>,
    servers: Vec<ServerRecord>,
    records: Vec<ExecutionRecord>,
    /// Of each running execution, where it stands in `view.running`.
    running_at: HashMap<usize, usize>,
    runs: Vec<usize>,
    events: BinaryHeap<Reverse<(i64, u64, Event)>>,
    sequence: u64,
    /// Something happened that the next round must look at.
    pub(crate) nudged: bool,
    round_at: i64,
}

impl<'a> World<'a> {
    pub(crate) fn new(setup: &'a Setup, executions: &'a [Execution], faults: &'a [(i64, Fault)]) -> Self {
        let machine_type = MachineType {
            name: "sim".to_owned(),
            cores: setup.cpus_per_worker,
            memory_bytes: MEMORY_PER_CPU * u64::from(setup.cpus_per_worker),
            disk_bytes: DISK_PER_CPU * u64::from(setup.cpus_per_worker),
            architecture: Architecture::X86,
            locations: LOCATIONS
                .map(|location| Offering {
                    location: location.to_owned(),
                    rate: Rate { hour: setup.price, month: None },
                    orderable: true,
                    ends_at: None,
                })
                .into(),
        };
        let policy = FleetPolicy {
            backing: Backing::Server,
            workers_max: setup.workers_max,
            new_worker: NOTHING,
            new_worker_slots: 1,
            patience: setup.patience,
            local_idle: limits::LOCAL_IDLE,
            join_deadline: limits::JOIN_DEADLINE.max(setup.boot * 2),
            servers: ServerPolicy { boot: setup.boot, ipv4: false, ..ServerPolicy::default() },
        };
        let view = FleetView {
            workers: Vec::new(),
            demand: Vec::new(),
            running: Vec::new(),
            history: History::default(),
            market: Market {
                catalog: Catalog { types: vec![machine_type], ipv4: Vec::new() },
                ..Market::default()
            },
            overdue: Vec::new(),
            failed_in_a_row: 0,
            failed_at: None,
            outage_until: None,
        };
        Self {
            setup,
            executions,
            now: 0,
            view,
            policy,
            machines: Vec::new(),
            queue: Queue::default(),
            faults,
            sold_out: HashMap::new(),
            checks: Checks::default(),
            never_boot: HashSet::new(),
            attempts: vec![0; executions.len()],
            finished: 0,
            steps: 0,
            index: HashMap::new(),
            servers: Vec::new(),
            records: executions.iter().map(ExecutionRecord::waiting).collect(),
            running_at: HashMap::new(),
            runs: Vec::new(),
            events: BinaryHeap::new(),
            sequence: 0,
            nudged: false,
            round_at: i64::MAX,
        }
    }

    /// Runs the world until nothing is left to do.
    pub(crate) fn run(mut self) -> Run {
        let mut arriving = 0;
        for (number, (time, _)) in self.faults.iter().enumerate() {
            self.after(*time, Event::Fault(number));
        }
        if self.setup.policy == Policy::Earlier {
            self.look_again(0);
        }
        loop {
            let arrival = self.executions.get(arriving).map_or(i64::MAX, |execution| execution.submitted);
            let event = self.events.peek().map_or(i64::MAX, |Reverse((time, _, _))| *time);
            self.now = arrival.min(event);
            if self.now == i64::MAX {
                break;
            }
            while let Some(execution) = self.executions.get(arriving).filter(|e| e.submitted <= self.now) {
                self.queue.push(arriving, execution);
                self.nudged = true;
                arriving += 1;
            }
            while let Some(Reverse((time, _, event))) = self.events.peek().copied()
                && time <= self.now
            {
                self.events.pop();
                self.happen(event);
            }
            let more = arriving < self.executions.len();
            match self.setup.policy {
                Policy::HourEdge => mind::act(&mut self),
                Policy::Earlier => baselines::earlier(&mut self, more),
                Policy::KeepAlive => baselines::keep_alive(&mut self),
            }
            let finished = self.finished;
            rules::after_step(&mut self, arriving, finished);
        }
        let mut run = Run { servers: self.servers, executions: self.records, checks: self.checks };
        rules::at_the_end(&mut run, arriving);
        run
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Up(worker) => {
                let Some(at_index) = self.find(worker) else { return };
                let machine = &self.machines[at_index];
                let up = machine.died.is_none() && !self.never_boot.contains(&machine.server);
                if !up || self.view.workers[at_index].status != WorkerStatus::Provisioning {
                    return;
                }
                self.view.failed_in_a_row = 0;
                self.view.failed_at = None;
                let now = at(self.now);
                let view = &mut self.view.workers[at_index];
                view.joined_at = Some(now);
                view.last_heartbeat_at = Some(now);
                view.idle_since = Some(now);
                self.step(at_index, WorkerStep::Join);
                self.nudged = true;
            }
            Event::Finish { execution, attempt, worker } => self.finish(execution, attempt, worker),
            Event::Fault(number) => self.go_wrong(number),
            Event::Round => {
                self.nudged = true;
                self.round_at = i64::MAX;
            }
        }
    }

    pub(crate) fn after(&mut self, time: i64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((time, self.sequence, event)));
    }

    /// Has the next round at `time`, unless one comes before.
    pub(crate) fn look_again(&mut self, time: i64) {
        if time < self.round_at {
            self.round_at = time;
            self.after(time, Event::Round);
        }
    }

    pub(crate) fn find(&self, worker: WorkerId) -> Option<usize> {
        self.index.get(&worker).copied()
    }

    /// Takes a worker's step, which must be legal.
    pub(crate) fn step(&mut self, index: usize, step: WorkerStep) {
        let view = &mut self.view.workers[index];
        let to = next(view.status, step);
        view.status = to.unwrap_or_else(|| panic!("{:?} may not {step:?}", view.status));
        view.status_since = at(self.now);
    }

    /// Orders a server; its worker joins when it has booted.
    pub(crate) fn order(&mut self, order: &Order) -> WorkerId {
        let number = self.servers.len();
        let mut random = [0; 10];
        random[2..].copy_from_slice(&(number as u64).to_be_bytes());
        let id = WorkerId::new(at(self.now).timestamp_millis().unsigned_abs(), random);
        let now = at(self.now);
        self.servers.push(ServerRecord {
            created: self.now,
            deleted: i64::MAX,
            price: order.price.hour(),
            cpus: self.setup.cpus_per_worker,
        });
        self.index.insert(id, self.view.workers.len());
        self.machines.push(Machine { server: number, held: Vec::new(), died: None, silent_until: 0 });
        self.view.workers.push(WorkerView {
            id,
            status: WorkerStatus::Provisioning,
            status_since: now,
            backing: Backing::Server,
            created_at: now,
            joined_at: None,
            last_heartbeat_at: None,
            slots: order.slots,
            capacity: order.capacity,
            used: NOTHING,
            open_attempts: 0,
            idle_since: None,
            machine: Listed::Present,
            server: Some(ServerView {
                machine_type: order.machine_type.clone(),
                location: order.location.clone(),
                created: Some(now),
                price: order.price,
            }),
        });
        self.after(self.now + span(self.setup.boot), Event::Up(id));
        id
    }

    /// The server is gone, and with it its worker.
    pub(crate) fn delete(&mut self, index: usize) {
        assert!(self.machines[index].held.is_empty(), "a busy server is never deleted");
        let gone = self.view.workers.swap_remove(index);
        let machine = self.machines.swap_remove(index);
        self.index.remove(&gone.id);
        if let Some(moved) = self.view.workers.get(index) {
            self.index.insert(moved.id, index);
        }
        self.servers[machine.server].deleted = self.now;
    }

    /// Starts a waiting execution on a worker with room.
    pub(crate) fn start(&mut self, number: usize, index: usize) {
        let execution = &self.executions[number];
        self.queue.remove(number, execution);
        let machine = &mut self.machines[index];
        machine.held.push(Held { execution: number, started: self.now });
        self.records[number].started = self.now;
        self.records[number].server = machine.server;
        let view = &mut self.view.workers[index];
        view.open_attempts += 1;
        view.used.cpu_millis += execution.cpu_millis;
        view.idle_since = None;
        assert!(
            view.open_attempts <= view.slots && view.used.cpu_millis <= view.capacity.cpu_millis,
            "no worker is given more than it holds"
        );
        let worker = view.id;
        self.running_at.insert(number, self.runs.len());
        self.runs.push(number);
        self.view.running.push(Running {
            kind: Kind(execution.kind),
            started_at: at(self.now),
            held: Capacity { cpu_millis: execution.cpu_millis, ..NOTHING },
        });
        self.attempts[number] += 1;
        let attempt = self.attempts[number];
        self.after(self.now + execution.runs, Event::Finish { execution: number, attempt, worker });
    }

    fn finish(&mut self, number: usize, attempt: u32, worker: WorkerId) {
        let execution = &self.executions[number];
        let now = at(self.now);
        let Some(index) = self.find(worker) else { return };
        let machine = &mut self.machines[index];
        // A stale attempt changes nothing, and a machine without power finishes nothing.
        if self.attempts[number] != attempt
            || machine.died.is_some()
            || !machine.held.iter().any(|held| held.execution == number)
        {
            return;
        }
        if machine.silent_until > self.now {
            let again = machine.silent_until;
            self.after(again, Event::Finish { execution: number, attempt, worker });
            return;
        }
        machine.held.retain(|held| held.execution != number);
        let first = self.records[number].finished == i64::MAX;
        self.checks.check("3: terminal states never change", first, self.now);
        self.records[number].finished = self.now;
        self.finished += 1;
        let view = &mut self.view.workers[index];
        view.open_attempts -= 1;
        view.used.cpu_millis -= execution.cpu_millis;
        if view.open_attempts == 0 {
            view.idle_since = Some(now);
            self.nudged = true;
        }
        self.runs_no_more(number);
        let took = std::time::Duration::from_millis(execution.runs.unsigned_abs());
        self.view.history.record(Kind(execution.kind), took, now);
    }

    fn runs_no_more(&mut self, number: usize) {
        if let Some(place) = self.running_at.remove(&number) {
            self.view.running.swap_remove(place);
            self.runs.swap_remove(place);
            if let Some(moved) = self.runs.get(place) {
                self.running_at.insert(*moved, place);
            }
        }
    }

    /// A worker's attempts are lost: their executions go back to the queue.
    pub(crate) fn lose_attempts(&mut self, index: usize) {
        let lost = std::mem::take(&mut self.machines[index].held);
        for held in lost {
            self.runs_no_more(held.execution);
            let record = &mut self.records[held.execution];
            record.started = i64::MAX;
            record.server = usize::MAX;
            self.attempts[held.execution] += 1;
            self.queue.push(held.execution, &self.executions[held.execution]);
        }
        let now = at(self.now);
        let view = &mut self.view.workers[index];
        view.open_attempts = 0;
        view.used = NOTHING;
        view.idle_since = Some(now);
        self.nudged = true;
    }

    /// True when each execution that runs is held by a machine.
    pub(crate) fn current_are_held(&self) -> bool {
        let held = self.machines.iter().flat_map(|machine| machine.held.iter());
        held.fold(0, |known, held| known + usize::from(self.running_at.contains_key(&held.execution)))
            == self.running_at.len()
    }

    fn go_wrong(&mut self, number: usize) {
        let now = self.now;
        let of = |machines: &[Machine], server: usize| machines.iter().position(|m| m.server == server);
        match &self.faults[number].1 {
            Fault::SoldOut { location, until } => {
                self.sold_out.insert(location.clone(), *until);
            }
            Fault::NeverBoots { server } => {
                self.never_boot.insert(*server);
            }
            Fault::Dies { server } => {
                if let Some(index) = of(&self.machines, *server) {
                    self.machines[index].died = Some(now);
                }
            }
            Fault::Silent { server, until } => {
                if let Some(index) = of(&self.machines, *server) {
                    self.machines[index].silent_until = *until;
                }
            }
        }
    }
}
