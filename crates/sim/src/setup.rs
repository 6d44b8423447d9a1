//! What a simulation is told.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rgrid_core::limits;
use rgrid_core::money::Price;

/// Who decides about servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// RGrid's own: core's code.
    HourEdge,
    /// The rule of the earlier implementation, as it was meant.
    Earlier,
    /// What most autoscalers do: release after five idle minutes.
    KeepAlive,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::HourEdge, Self::Earlier, Self::KeepAlive];

    /// The one spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HourEdge => "hour-edge",
            Self::Earlier => "earlier",
            Self::KeepAlive => "keep-alive",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|policy| policy.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not hour-edge, earlier or keep-alive"))
    }
}

/// The world's numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// Who decides.
    pub policy: Policy,
    /// How long a queued execution may wait for a place on what is already paid before a server is bought for it.
    /// Only `hour-edge` knows patience.
    pub patience: Duration,
    /// Servers there may be at once.
    pub workers_max: u32,
    /// CPUs of a server: it runs as many executions at once.
    pub cpus_per_worker: u32,
    /// A started hour of a server.
    pub price: Price,
    /// From the order to the first execution.
    pub boot: Duration,
}

impl Default for Setup {
    /// The measured case: two CPUs at EUR 0.0312 an hour, 60 seconds to boot, 200 servers.
    fn default() -> Self {
        Self {
            policy: Policy::HourEdge,
            patience: Duration::ZERO,
            workers_max: 200,
            cpus_per_worker: 2,
            price: Price::from_micros(31_200),
            boot: limits::SERVER_BOOT,
        }
    }
}
