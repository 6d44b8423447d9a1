//! What the commands find, ask and print.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod commands;
mod discovery;
mod uv;
