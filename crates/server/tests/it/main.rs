//! The server over a real socket and a real database, spoken to by the typed client.
#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod accounts;
mod blobs;
mod follow;
mod grid;
mod harness;
mod keys;
mod lifecycle;
mod nonsense;
mod openapi;
mod polls;
mod stdin;
