//! Tests of the runner that need a real machine.

mod attempts;
mod disk;
mod engine;
mod environments;
mod escapes;
mod grid;
mod ground;
mod images;
mod index;
mod limits;
mod network;
mod registry;
#[path = "../../../cli/tests/it/uv.rs"]
mod uv;
mod world;
