//! What runs inside the sandbox before the job's program.

use std::ffi::OsString;

/// The first argument that makes a program a launcher.
pub const LAUNCH_ARGUMENT: &str = "sandbox-launch";

/// Does a launcher's work; `arguments` are those after [`LAUNCH_ARGUMENT`]. The result is the exit code.
pub fn launch_main(_arguments: &[OsString]) -> i32 {
    1
}
