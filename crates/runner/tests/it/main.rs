//! Tests of the runner that need a real machine.

mod escapes;
mod ground;
mod network;
