//! The HTTP contract from both sides: paths, bodies, error codes and the typed client.
//!
//! A body type here is what travels; what it means is `rgrid-core`'s. One file per noun, both directions of a
//! conversion side by side. Nothing here speaks SQL or serves HTTP.
#![warn(missing_docs)]

pub mod artifacts;
pub mod attempts;
pub mod blobs;
pub mod bytes64;
pub mod client;
pub mod cost;
pub mod dependencies;
pub mod error;
pub mod events;
pub mod executions;
pub mod health;
pub mod keys;
pub mod logs;
pub mod outcome;
pub mod runtimes;
pub mod workers;

/// The prefix of every path of this version.
pub const BASE: &str = "/api/v1";

/// Header that makes a creating POST safe to repeat.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Header that carries the token of an attempt.
pub const ATTEMPT_TOKEN: &str = "x-rgrid-attempt-token";

/// Header by which a client or a worker names its version.
pub const CLIENT_VERSION: &str = "x-rgrid-version";

/// Header of an answer with stdin bytes: present when nothing follows them.
pub const STDIN_EOF: &str = "x-rgrid-eof";
