//! Tests of the runner that need a real machine.

mod attempts;
mod disk;
mod engine;
mod escapes;
mod grid;
mod ground;
mod images;
mod limits;
mod network;
