//! The rgrid binary. All of it is in the library beside it, where the crate that fuzzes parsers can reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    rgrid::main()
}
