//! Drives the real binary as a person does: commands in, what they print and leave behind out.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say where")]

mod embedded;
mod grid;
mod like_python;
mod roles;
