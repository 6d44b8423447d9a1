//! Why the fleet does what it does: each action carries one, and each is a sentence for people.

use std::fmt;
use std::time::Duration;

use crate::Timestamp;
use crate::money::Micros;
use crate::quantity::format_duration;

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
    /// Its server was not created within this time.
    NotCreated(Duration),
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
    /// It has no work, and its next paid hour begins soon.
    HourEdge(Timestamp),
    /// It is older than a server may become.
    TooOld(Duration),
    /// There are more workers than there may be, and it is the cheapest to release.
    TooMany {
        /// Workers there are.
        workers: u32,
        /// Workers there may be.
        workers_max: u32,
    },
    /// This month's limit is spent.
    MonthSpent(Micros),
    /// The policy allows no worker any more.
    NotWanted,
    /// It is draining and holds nothing any more.
    Drained,
    /// It is dead or never joined, and nothing is expected of it.
    Useless,
    /// It is terminating and its machine is still there.
    StillThere,
    /// It is terminating, and no listing tells whether its machine is still there.
    Unseen,
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
            Self::NotCreated(time) => {
                write!(f, "its server was not created within {}", format_duration(*time))
            }
            Self::NotJoined(time) => write!(f, "it did not join within {}", format_duration(*time)),
            Self::Waiting { executions, places } => {
                write!(f, "executions waiting: {executions}, places for them: {places}")
            }
            Self::Idle(time) => write!(f, "idle for {}", format_duration(*time)),
            Self::HourEdge(edge) => {
                write!(f, "idle, and its next paid hour would begin at {}", edge.format("%H:%M:%S"))
            }
            Self::TooOld(age) => write!(f, "{} old: newer servers take its work", format_duration(*age)),
            Self::TooMany { workers, workers_max } => {
                write!(f, "idle, and there are {workers} workers where {workers_max} are allowed")
            }
            Self::MonthSpent(limit) => write!(f, "the {limit} that a month may cost are spent"),
            Self::NotWanted => f.write_str("this grid makes way for another"),
            Self::Drained => f.write_str("drained"),
            Self::Useless => f.write_str("nothing is expected of it"),
            Self::Unseen => f.write_str("nobody knows whether its machine is still there"),
            Self::StillThere => f.write_str("its machine is still there"),
            Self::Gone => f.write_str("its machine is gone"),
        }
    }
}
