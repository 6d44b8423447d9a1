//! The user's commands and their output: from a key press to the files a script wrote.
//!
//! It speaks to a grid through `rgrid-api` and to nothing behind it. The binary owns the top-level parser and the
//! embedded grid, flattens [`Command`] into the first and lends the second as [`EmbeddedGrid`].

mod args;
mod ask;
mod commands;
mod conclusion;
mod configuration;
mod credentials;
mod dependencies;
pub mod discovery;
mod download;
mod ending;
mod environment;
mod errors;
mod follow;
#[doc(hidden)]
pub mod fuzzing;
mod grid;
mod interrupt;
mod output;
mod patience;
mod pins;
pub mod pip;
mod plan;
mod progress;
mod project;
mod reuse;
mod session;
mod stdin;
mod submission;
mod terminal;
mod transcript;
mod upload;
mod watch;

pub use args::{Command, Globals};
pub use commands::{run, usage};
pub use grid::{Audience, Check, EmbeddedGrid, GridAddress, Health};
pub use session::audience;
