//! The commands against the real server, with a worker that each test plays by hand.
//!
//! The command is this very test binary: started again with a command line in its environment, `the_command` becomes
//! `rgrid` and exits with its code. So signals, streams and exit codes are those of a real process.

mod follow;
mod grid;
mod harness;
mod hostile;
mod index;
mod interrupt;
mod outputs;
mod packages;
mod stdin;
