//! The store against a real PostgreSQL: one test binary, one file per noun.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod attempts;
mod blobs;
mod cancelled;
mod claim;
mod claim_scale;
mod collection;
mod combined_cache;
mod crew;
mod dependency_cache;
mod durations;
mod environment_logs;
mod executions;
mod fleet;
mod gates;
mod keys;
mod logs;
mod migrations;
mod objects;
mod plans;
mod queued;
mod random;
mod retention;
mod s3_server;
mod servers;
mod stage;
mod stdin;
mod vault;
mod workers;
