//! The rgrid binary: arguments, configuration and wiring. One file to ship for the user's commands and for every
//! role; what they do is in the crates they are named after. No logic here.

mod command_line;
mod config;
mod embedded;
#[doc(hidden)]
pub mod fuzzing;
mod logging;
mod roles;
mod shutdown;

use std::ffi::OsStr;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use command_line::{CommandLine, Entry};
use embedded::ThisMachine;
use rgrid_runner::sandbox::{LAUNCH_ARGUMENT, launch_main};

/// The whole program.
pub fn main() -> ExitCode {
    // Entries that become another program, or the inside of a sandbox: before anything of ours is set up.
    let mut args = std::env::args_os().skip(1);
    match args.next().as_deref().and_then(OsStr::to_str) {
        Some(LAUNCH_ARGUMENT) => std::process::exit(launch_main(&args.collect::<Vec<_>>())),
        Some(embedded::process::TIED) => return embedded::process::exec_tied(args),
        Some(_) | None => {}
    }
    // Fails only when a provider is installed already, and nobody else does that.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => return rgrid_cli::usage(&error),
    };
    match line.entry {
        Entry::User(command) => {
            rgrid_cli::run(command, line.globals, &ThisMachine { command_line: CommandLine::command() })
        }
        Entry::Up(args) => roles::up::run(&args, &line.globals),
        Entry::Down(args) => roles::down::run(&args),
        Entry::Api(args) => roles::api::run(&args),
        Entry::Orchestrator(args) => roles::orchestrator::run(&args),
        Entry::Runner(args) => roles::runner::run(&args),
        Entry::Migrate(args) => roles::migrate::run(&args),
        Entry::Simulate(args) => roles::simulate::run(&args, line.globals.json),
        Entry::Admin(args) => roles::admin::run(&args),
        Entry::Cloud(args) => roles::cloud::run(&args),
    }
}
