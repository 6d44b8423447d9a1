//! One file per command, and the one place that runs them.

use std::process::ExitCode;

use crate::args::{Command, Globals};
use crate::grid::EmbeddedGrid;

/// Runs one command to its end and gives the exit code of DESIGN section 5. `grid` is the one of this machine.
pub fn run(command: Command, globals: Globals, grid: &impl EmbeddedGrid) -> ExitCode {
    let _ = (command, globals, grid);
    ExitCode::FAILURE
}

/// Prints what clap has to say of a command line, and gives the exit code: 0 for help and version, 126 for wrong
/// usage. (clap's own 2 would look like a script's.)
pub fn usage(error: &clap::Error) -> ExitCode {
    // Nowhere to tell that the terminal is gone.
    let _ = error.print();
    match error.use_stderr() {
        true => ExitCode::from(rgrid_core::outcome::EXIT_REFUSED),
        false => ExitCode::SUCCESS,
    }
}
