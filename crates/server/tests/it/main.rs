//! The server over a real socket and a real database, spoken to by the typed client.
#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod accounts;
mod binaries;
mod blobs;
mod connections;
mod cost;
mod follow;
mod grid;
mod harness;
mod keys;
mod lifecycle;
mod nonsense;
mod openapi;
mod polls;
mod replicas;
mod runtimes;
mod s3;
// The store's own. It uses async_trait, base64, bytes, futures_util, hyper_util, s3s, s3s_fs, sha2 and tempfile.
#[path = "../../../store/tests/it/s3_server.rs"]
mod s3_server;
mod sizes;
mod stdin;
mod versions;
