//! What the sandbox's tests run: the launcher, as `rgrid` is it in production; jobs that try what must be impossible; and
//! a runner to kill.

use std::ffi::OsString;
use std::process::ExitCode;

mod deeds;
mod runner;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|first| first == rgrid_runner::sandbox::LAUNCH_ARGUMENT) {
        let code = rgrid_runner::sandbox::launch_main(&arguments[1..]);
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    if let [word, folder, marker, engine @ ..] = arguments.as_slice()
        && word == "runner"
    {
        return runner::run(folder.into(), marker.clone(), engine);
    }
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    deeds::perform(&words)
}
