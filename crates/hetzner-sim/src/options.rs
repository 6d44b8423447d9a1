//! What a stand-in can be told when it starts.

use std::net::SocketAddr;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Which year's shapes are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// No datacenters, no `image.deprecated`.
    Y2026,
    /// With both, for old clients.
    Compat2025,
}

/// How long things take, in milliseconds of the stand-in's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// `create_server`.
    pub create_millis: u64,
    /// `start_server`.
    pub start_millis: u64,
    /// From power on to a system that is up, for pretended guests.
    pub boot_millis: u64,
    /// From the button to power off, by a system that obeys.
    pub shutdown_millis: u64,
    /// `create_image`.
    pub image_millis: u64,
    /// `rebuild_server`.
    pub rebuild_millis: u64,
    /// Every other action.
    pub other_millis: u64,
    /// How long a deleted server is still shown, as `deleting`.
    pub deleting_millis: u64,
    /// How long a stuck action holds its server.
    pub stuck_lock_millis: u64,
    /// By how much chance prolongs actions and boots at most.
    pub jitter_percent: u32,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            create_millis: 4_000,
            start_millis: 2_000,
            boot_millis: 15_000,
            shutdown_millis: 3_000,
            image_millis: 20_000,
            rebuild_millis: 8_000,
            other_millis: 500,
            deleting_millis: 0,
            stuck_lock_millis: 60_000,
            jitter_percent: 20,
        }
    }
}

/// What a project may have, and how often it may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Servers.
    pub servers: usize,
    /// Cores of all servers.
    pub cores: u64,
    /// Primary addresses of both kinds.
    pub primary_ips: usize,
    /// Calls that the budget holds.
    pub calls_per_hour: u64,
    /// Calls that come back each second.
    pub calls_per_second: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { servers: 100, cores: 400, primary_ips: 250, calls_per_hour: 3600, calls_per_second: 1 }
    }
}

/// A token and the project it opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The secret; 64 characters at the provider.
    pub token: String,
    /// The project's name.
    pub project: String,
    /// Whether it may only read.
    pub read_only: bool,
}

/// How the stand-in's clock goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Only when it is stepped.
    Stepped,
    /// With the real clock, `speed` times as fast; stepped besides.
    Running {
        /// Seconds that pass in a real second.
        speed: u32,
    },
}

/// What a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guests {
    /// State only.
    Pretend,
    /// A command on this machine, run by `sh -c` while the server is on.
    Process {
        /// The command. Its environment has `HETZNER_METADATA` (an address), `HETZNER_SERVER_ID`, `HETZNER_SERVER_NAME`
        /// and `HETZNER_USER_DATA` (a file).
        command: String,
    },
    /// A container with systemd and cloud-init.
    Container {
        /// The image's name in the engine.
        image: String,
        /// The engine's address, as `docker --host` takes it; the command's own when nothing is said.
        engine: Option<String>,
    },
}

/// Everything a stand-in can be told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 is any free one.
    pub listen: SocketAddr,
    /// Who may come in.
    pub tokens: Vec<Token>,
    /// Which year's shapes are spoken.
    pub profile: Profile,
    /// How the clock goes.
    pub pace: Pace,
    /// What time it is at the start; the real time when nothing is said.
    pub start: Option<DateTime<Utc>>,
    /// Ids, addresses, passwords and durations come from it.
    pub seed: u64,
    /// How long things take.
    pub timings: Timings,
    /// What there may be at most.
    pub limits: Limits,
    /// Whether the details of a `uniqueness_error` name the field, or are `{}`; both have been seen.
    pub fields_on_conflict: bool,
    /// What a server is.
    pub guests: Guests,
    /// A file that the state is kept in, and read from at the start if it is there; none is a world that is forgotten.
    pub state: Option<PathBuf>,
}

impl Default for Options {
    /// Any free port on loopback, one project with a token of 64 `a`, pretended servers, a clock that is stepped.
    fn default() -> Self {
        let token = Token { token: "a".repeat(64), project: "default".to_owned(), read_only: false };
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tokens: vec![token],
            profile: Profile::Y2026,
            pace: Pace::Stepped,
            start: None,
            seed: 1,
            timings: Timings::default(),
            limits: Limits::default(),
            fields_on_conflict: true,
            guests: Guests::Pretend,
            state: None,
        }
    }
}
