//! Drives the real binary as a person does: commands in, what they print and leave behind out.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say where")]

mod containers;
mod document;
mod embedded;
// The stand-in's own. It uses nix and tempfile.
#[path = "../../../hetzner-sim/tests/it/engine.rs"]
mod engine;
mod files;
mod first_server;
mod grid;
mod hints;
mod hostile;
mod impossible;
mod interpreters;
mod interrupts;
mod like_python;
mod like_python_packages;
mod limits;
mod losses;
mod messages;
mod outages;
mod packages;
mod project;
mod proxies;
mod reach;
mod reuse;
mod roles;
mod s3;
// The store's own. It uses async_trait, base64, bytes, futures_util, hyper_util, s3s, s3s_fs, sha2 and tempfile.
#[path = "../../../store/tests/it/s3_server.rs"]
mod s3_server;
mod secrets;
mod server_grid;
mod streams;
mod thousands;
mod tools;
mod torch;
// As the client's tests find it.
#[path = "../../../cli/tests/it/uv.rs"]
mod uv;
