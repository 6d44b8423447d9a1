//! The stand-in, asked over HTTP as any client asks it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod api;
mod billing;
mod catalog;
mod conformance;
mod container;
mod engine;
mod faults;
mod guests;
mod lists;
mod projects;
mod resources;
mod servers;
mod state;
