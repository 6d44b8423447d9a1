//! What a provider offers, in no provider's words: machine types, where they can be ordered, what an hour costs.
//! And the one answer to what a type can hold.

use std::fmt;
use std::str::FromStr;

use crate::Timestamp;
use crate::money::{Rate, ServerPrice};
use crate::worker::Capacity;

/// What a machine's programs are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Architecture {
    /// 64-bit Intel and AMD.
    X86,
    /// 64-bit ARM.
    Arm,
}

impl Architecture {
    /// The one spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86 => "x86",
            Self::Arm => "arm",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Architecture {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "x86" => Ok(Self::X86),
            "arm" => Ok(Self::Arm),
            other => Err(format!("{other:?} is neither x86 nor arm")),
        }
    }
}

/// One type of machine, and where it is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineType {
    /// The provider's name of it.
    pub name: String,
    /// Cores.
    pub cores: u32,
    /// Memory that the provider promises.
    pub memory_bytes: u64,
    /// Disk that the provider promises.
    pub disk_bytes: u64,
    /// What its programs are compiled for.
    pub architecture: Architecture,
    /// Where, in the provider's order.
    pub locations: Vec<Offering>,
}

/// A type at a location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offering {
    /// The provider's name of the location.
    pub location: String,
    /// What it costs there today.
    pub rate: Rate,
    /// It can be ordered now: an indication, never a promise.
    pub orderable: bool,
    /// It cannot be ordered from then on; known from the announcement of its deprecation.
    pub ends_at: Option<Timestamp>,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalog {
    /// The types.
    pub types: Vec<MachineType>,
    /// What a public IPv4 address costs, by location.
    pub ipv4: Vec<(String, Rate)>,
}

impl Catalog {
    /// A type by its name.
    pub fn find(&self, machine_type: &str) -> Option<&MachineType> {
        self.types.iter().find(|t| t.name == machine_type)
    }

    /// What a server costs there today, its address included when it has one; `None` for what is not offered.
    pub fn price(&self, machine_type: &str, location: &str, ipv4: bool) -> Option<ServerPrice> {
        let offering = self.find(machine_type)?.locations.iter().find(|o| o.location == location)?;
        let address = self.ipv4.iter().find(|(place, _)| place == location).map(|(_, rate)| *rate);
        Some(ServerPrice { server: offering.rate, ipv4: address.filter(|_| ipv4) })
    }
}

/// Of the memory that a provider promises, the share that firmware and kernel take before anything runs, in percent.
pub const FIRMWARE_PERCENT: u64 = 5;
/// Memory that the system of a fresh server holds: init, journal, the runner itself.
pub const SYSTEM_MEMORY_BYTES: u64 = 400 << 20;
/// Disk that the system of a fresh server holds.
pub const SYSTEM_DISK_BYTES: u64 = 6 << 30;

impl MachineType {
    /// What a worker on it can hold, all reserves taken off: the planner buys by it, a join that brings less trips the
    /// type's breaker, and no worker is given more. It is [`Capacity::of_machine`], the runner's own function, for a
    /// machine on which only the system runs.
    pub fn capacity(&self) -> Capacity {
        let memory = self.memory_bytes / 100 * (100 - FIRMWARE_PERCENT);
        let disk = self.disk_bytes.saturating_sub(SYSTEM_DISK_BYTES);
        Capacity::of_machine(self.cores, memory, SYSTEM_MEMORY_BYTES, disk)
    }

    /// Attempts that a worker on it runs at once.
    pub fn slots(&self) -> u32 {
        self.cores.max(1)
    }
}
