//! What the fleet should do now: one view and one policy go in, actions come out, each with its reason.
//!
//! Three duties, each a pure module: *health* (who is lost, what becomes of its attempts), *provisioning* (how many
//! workers to add), *lifecycle* (whom to release). The orchestrator applies what they say; the simulator and
//! `rgrid simulate` run the same functions. Nothing here knows a provider, a row or a clock.

pub mod catalog;
pub mod forecast;
pub mod health;
pub mod ladder;
pub mod lifecycle;
pub mod provisioning;
mod reason;

use std::time::Duration;

use crate::Timestamp;
use crate::fleet::catalog::{Architecture, Catalog};
use crate::fleet::forecast::{History, Kind, Running};
use crate::fleet::ladder::{Pause, Refusal, Shortfall};
use crate::id::{ExecutionId, WorkerId};
use crate::limits;
use crate::money::{Micros, ServerPrice};
use crate::retry::Loss;
use crate::worker::{Capacity, WorkerStatus};

pub use reason::Reason;

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

/// The server behind a worker, as its intent and the provider tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerView {
    /// Its type.
    pub machine_type: String,
    /// Its location.
    pub location: String,
    /// When it was created, in the provider's words: its hours are counted from then. `None` while that is not known.
    pub created: Option<Timestamp>,
    /// What it costs, as captured when it was ordered.
    pub price: ServerPrice,
}

/// A worker that is not terminated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerView {
    /// Its id.
    pub id: WorkerId,
    /// Where it stands.
    pub status: WorkerStatus,
    /// Since when it stands there.
    pub status_since: Timestamp,
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
    /// What its open attempts ask for together.
    pub used: Capacity,
    /// Attempts it holds.
    pub open_attempts: u32,
    /// Since when it has had none; `None` while it has some.
    pub idle_since: Option<Timestamp>,
    /// What the provider says of the machine behind it.
    pub machine: Machine,
    /// The server behind it; `None` for a process of ours and for a static worker.
    pub server: Option<ServerView>,
}

/// What the provider says of the machine behind a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Machine {
    /// It is there.
    Present,
    /// A complete listing does not hold it; of a server, two in a row that began after its create was answered.
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
    /// Of them, those that have waited for the policy's patience: all, where that is zero.
    pub impatient: u32,
    /// When the oldest of them was queued.
    pub oldest_queued_at: Timestamp,
    /// What they are alike with in their durations.
    pub kind: Kind,
}

/// What the provider offers, how it has answered so far, and what was spent there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Market {
    /// Types, locations and prices; empty where no provider sells anything.
    pub catalog: Catalog,
    /// Orders that were refused, per type and location; one entry each, gone after an order that was taken.
    pub refusals: Vec<Refusal>,
    /// Types of which a worker joined with less than the catalog promised.
    pub shortfalls: Vec<Shortfall>,
    /// Why the provider takes no order at all at present.
    pub pause: Option<Pause>,
    /// Lines of the ledger in this calendar month (UTC), the hours that have begun included.
    pub spent_this_month: Micros,
}

/// Everything the decisions look at, taken at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetView {
    /// All workers that are not terminated.
    pub workers: Vec<WorkerView>,
    /// What waits.
    pub demand: Vec<Demand>,
    /// Attempts that run on active workers, for the forecast; none where nobody keeps a history.
    pub running: Vec<Running>,
    /// How long attempts took, for the forecast.
    pub history: History,
    /// The provider's side.
    pub market: Market,
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

/// What the operator wants of servers that a provider bills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPolicy {
    /// Types that may be bought; none named means any. Among equals the first goes first.
    pub types: Vec<String>,
    /// Locations that may be bought at; none named means any. Among equals the first goes first.
    pub locations: Vec<String>,
    /// What the workers' programs are compiled for.
    pub architecture: Architecture,
    /// Servers get a public IPv4 address, a line of its own.
    pub ipv4: bool,
    /// A server's started hour may cost so much.
    pub hour_price_max: Option<Micros>,
    /// An hour of all servers together may cost so much.
    pub spend_per_hour_max: Option<Micros>,
    /// All servers may cost so much in a calendar month (UTC). Once that is spent no server takes new work.
    pub spend_per_month_max: Option<Micros>,
    /// What is expected from an order to the first attempt.
    pub boot: Duration,
    /// An idle server is released so long before its next paid hour.
    pub edge_margin: Duration,
    /// A server older than this takes no new work.
    pub age_max: Duration,
}

impl Default for ServerPolicy {
    fn default() -> Self {
        Self {
            types: Vec::new(),
            locations: Vec::new(),
            architecture: Architecture::X86,
            ipv4: true,
            hour_price_max: None,
            spend_per_hour_max: None,
            spend_per_month_max: None,
            boot: limits::SERVER_BOOT,
            edge_margin: limits::EDGE_MARGIN,
            age_max: limits::SERVER_AGE_MAX,
        }
    }
}

/// What the operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetPolicy {
    /// What a new worker is backed by.
    pub backing: Backing,
    /// Workers there may be, static ones not counted.
    pub workers_max: u32,
    /// What a new local worker will hold; of a server its type tells.
    pub new_worker: Capacity,
    /// Attempts that a new local worker will run at once.
    pub new_worker_slots: u32,
    /// How long work may wait before a worker is added for it.
    pub patience: Duration,
    /// An idle local worker is released after this.
    pub local_idle: Duration,
    /// A worker that was asked for must have joined after this; a server is given it from its creation on.
    pub join_deadline: Duration,
    /// Of servers.
    pub servers: ServerPolicy,
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
            servers: ServerPolicy::default(),
        }
    }
}

/// A server to order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its type.
    pub machine_type: String,
    /// Where.
    pub location: String,
    /// What it costs, to be captured in the intent.
    pub price: ServerPrice,
    /// What the worker will hold.
    pub capacity: Capacity,
    /// Attempts that the worker will run at once.
    pub slots: u32,
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
    /// Asks for one more worker of this machine.
    AddWorker,
    /// Orders one more server. When the provider refuses, that is a [`Refusal`] or a [`Pause`] of the next view, and the
    /// next round goes on down the ladder.
    AddServer(Order),
    /// Gives a worker no new work.
    Drain(WorkerId),
    /// Removes a worker, for good.
    Terminate(WorkerId),
    /// Deletes the machine behind a terminating worker; repeated until it is gone.
    DeleteMachine(WorkerId),
    /// Records that the machine is gone.
    MarkTerminated(WorkerId),
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
