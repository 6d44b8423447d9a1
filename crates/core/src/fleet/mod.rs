//! What the fleet should do now: one view and one policy go in, actions come out, each with its reason.
//!
//! Three duties, each a pure module: *health* (who is lost, what becomes of its attempts), *provisioning* (how many
//! workers to add), *lifecycle* (whom to release). The orchestrator applies what they say; the simulator and
//! `rgrid simulate` run the same functions. Nothing here knows a provider, a row or a clock.

pub mod health;
pub mod lifecycle;
pub mod provisioning;

use std::fmt;
use std::time::Duration;

use crate::Timestamp;
use crate::id::{ExecutionId, WorkerId};
use crate::limits;
use crate::quantity::format_duration;
use crate::retry::Loss;
use crate::worker::{Capacity, WorkerStatus};

/// What stands behind a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backing {
    /// A process of this machine: we are its parent.
    Local,
    /// A server that a provider bills.
    Server,
    /// A machine that the operator looks after: never deleted by us.
    Static,
}

impl Backing {
    /// The one spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Server => "server",
            Self::Static => "static",
        }
    }
}

impl std::str::FromStr for Backing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "local" => Ok(Self::Local),
            "server" => Ok(Self::Server),
            "static" => Ok(Self::Static),
            other => Err(format!("{other:?} is not local, server or static")),
        }
    }
}

/// An attempt whose lease has run out, or that its worker did not name in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    /// Its execution.
    pub execution: ExecutionId,
    /// Its number.
    pub number: u32,
    /// When it was handed out.
    pub claimed_at: Timestamp,
    /// True once its worker named it in a heartbeat or a call.
    pub named: bool,
    /// When its lease ends.
    pub lease_until: Timestamp,
}

/// A worker that is not terminated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerView {
    /// Its id.
    pub id: WorkerId,
    /// Where it stands.
    pub status: WorkerStatus,
    /// What stands behind it.
    pub backing: Backing,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it joined.
    pub joined_at: Option<Timestamp>,
    /// When it was last heard of.
    pub last_heartbeat_at: Option<Timestamp>,
    /// Attempts it can run at once.
    pub slots: u32,
    /// What it has for attempts; what its type promises while it has not joined.
    pub capacity: Capacity,
    /// Attempts it holds.
    pub open_attempts: u32,
    /// Since when it has had none; `None` while it has some.
    pub idle_since: Option<Timestamp>,
    /// What the provider says of the machine behind it.
    pub machine: Machine,
}

/// What the provider says of the machine behind a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Machine {
    /// It is there.
    Present,
    /// A complete listing does not hold it.
    Absent,
    /// The listing failed or was not complete: judge nothing by it.
    Unknown,
}

/// Queued executions of one class that batch, account and spending limits would let run now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// What each of them asks for: 1000 thousandths of a core where it does not say, 0 bytes where the worker's
    /// share will do.
    pub wanted: Capacity,
    /// How many.
    pub executions: u32,
    /// When the oldest of them was queued.
    pub oldest_queued_at: Timestamp,
}

/// Everything the decisions look at, taken at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetView {
    /// All workers that are not terminated.
    pub workers: Vec<WorkerView>,
    /// What waits.
    pub demand: Vec<Demand>,
    /// Attempts that may be lost.
    pub overdue: Vec<Overdue>,
    /// New workers that failed since one last joined.
    pub failed_in_a_row: u32,
    /// When the newest of them failed.
    pub failed_at: Option<Timestamp>,
    /// The end of the newest time in which no heartbeat could be accepted: no API replica's beat for
    /// [`limits::OUTAGE_GAP`]. Equal to the view's moment while it lasts. `None` when there was none.
    pub outage_until: Option<Timestamp>,
}

/// What the operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetPolicy {
    /// What a new worker is backed by.
    pub backing: Backing,
    /// Workers there may be, static ones not counted.
    pub workers_max: u32,
    /// What a new worker will hold.
    pub new_worker: Capacity,
    /// Attempts that a new worker will run at once.
    pub new_worker_slots: u32,
    /// How long work may wait before a worker is added for it.
    pub patience: Duration,
    /// An idle local worker is released after this.
    pub local_idle: Duration,
    /// A worker that was asked for must have joined after this.
    pub join_deadline: Duration,
}

impl FleetPolicy {
    /// The embedded grid's policy: one worker, this machine.
    pub fn embedded(new_worker: Capacity, slots: u32) -> Self {
        Self {
            backing: Backing::Local,
            workers_max: 1,
            new_worker,
            new_worker_slots: slots,
            patience: Duration::ZERO,
            local_idle: limits::LOCAL_IDLE,
            join_deadline: limits::JOIN_DEADLINE,
        }
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ends an attempt that did not end by itself.
    LoseAttempt {
        /// Its execution.
        execution: ExecutionId,
        /// Its number.
        number: u32,
        /// Whether it costs a retry.
        loss: Loss,
    },
    /// Calls a worker dead; its attempts are lost with it.
    MarkDead(WorkerId),
    /// Gives up on a worker that never joined.
    MarkFailed(WorkerId),
    /// Asks for one more worker.
    AddWorker,
    /// Gives a worker no new work.
    Drain(WorkerId),
    /// Removes a worker, for good.
    Terminate(WorkerId),
    /// Deletes the machine behind a terminating worker; repeated until it is gone.
    DeleteMachine(WorkerId),
    /// Records that the machine is gone.
    MarkTerminated(WorkerId),
}

/// Why. Its text is the log line, the worker's reason and the simulator's report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// An attempt's lease ran out.
    LeaseOver,
    /// The worker never named the attempt: the answer to its poll was lost.
    NeverNamed,
    /// No heartbeat for this long.
    Silent(Duration),
    /// Its process ended, or its server is not there any more.
    MachineGone,
    /// It did not join within this time.
    NotJoined(Duration),
    /// So many executions wait, and so many attempts can be started on what is there or on its way.
    Waiting {
        /// Executions that limits would let run.
        executions: u32,
        /// Places for them.
        places: u32,
    },
    /// It has had no work for this long.
    Idle(Duration),
    /// The policy allows no worker any more.
    NotWanted,
    /// It is draining and holds nothing any more.
    Drained,
    /// It is dead or never joined, and nothing is expected of it.
    Useless,
    /// It is terminating and its machine is still there.
    StillThere,
    /// It is terminating and its machine is gone.
    Gone,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeaseOver => f.write_str("its lease ran out"),
            Self::NeverNamed => f.write_str("its worker never named it after the claim"),
            Self::Silent(time) => write!(f, "no heartbeat for {}", format_duration(*time)),
            Self::MachineGone => f.write_str("its machine is gone"),
            Self::NotJoined(time) => write!(f, "it did not join within {}", format_duration(*time)),
            Self::Waiting { executions, places } => {
                write!(f, "executions waiting: {executions}, places for them: {places}")
            }
            Self::Idle(time) => write!(f, "idle for {}", format_duration(*time)),
            Self::NotWanted => f.write_str("this grid makes way for another"),
            Self::Drained => f.write_str("drained"),
            Self::Useless => f.write_str("nothing is expected of it"),
            Self::StillThere => f.write_str("its machine is still there"),
            Self::Gone => f.write_str("its machine is gone"),
        }
    }
}

/// What to do, in order, each with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The actions.
    pub actions: Vec<(Action, Reason)>,
}

/// All three duties over one view. `ticked_at` is when the caller last did this: after a gap in its own ticks it
/// judges nobody for one full period (SEMANTICS section 1).
pub fn plan(view: &FleetView, policy: &FleetPolicy, now: Timestamp, judge_after: Option<Timestamp>) -> Plan {
    let mut actions = health::plan(view, policy, now, judge_after);
    actions.extend(provisioning::plan(view, policy, now));
    actions.extend(lifecycle::plan(view, policy, now));
    Plan { actions }
}

/// How much time passed from `earlier` to `now`; zero when the clocks say it is still to come.
fn since(now: Timestamp, earlier: Timestamp) -> Duration {
    (now - earlier).to_std().unwrap_or_default()
}
