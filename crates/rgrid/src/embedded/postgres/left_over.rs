//! What a killed daemon or a reboot leaves behind: a server that still runs, or files whose number now belongs to
//! somebody else.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::embedded::process::Process;

/// An orphaned server is given this long for each way to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// Stops a server that still runs on `data`, and removes a pid file that names no server. True when one ran.
pub(crate) fn clear(data: &Path) -> bool {
    let pid_file = data.join("postmaster.pid");
    let Ok(written) = fs::read_to_string(&pid_file) else { return false };
    let named = written.lines().next().and_then(|pid| pid.trim().parse().ok()).and_then(Process::by_pid);
    match named.filter(|process| serves(*process, data)) {
        Some(server) => {
            tracing::info!(pid = server.pid, "stopping the PostgreSQL of an earlier daemon");
            for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGKILL] {
                server.signal(signal);
                if server.wait(PATIENCE) {
                    break;
                }
            }
            true
        }
        None => {
            // PostgreSQL itself would refuse to start while any process of our account has that number.
            let _ = fs::remove_file(&pid_file);
            false
        }
    }
}

/// Removes the lock of a socket that nobody serves any more; [`clear`] has seen to that. PostgreSQL itself would refuse
/// to start while any process of our account has the number in it, a dead one that nobody waited for included.
pub(crate) fn unlock(sockets: &Path, socket: &str) {
    // After an orderly stop there is none.
    let _ = fs::remove_file(sockets.join(format!("{socket}.lock")));
}

/// True when that process is a PostgreSQL of this very data folder.
fn serves(process: Process, data: &Path) -> bool {
    let line = process.command_line();
    let mut args = line.split(|byte| *byte == 0);
    let is_postgres = args.next().is_some_and(|program| program.ends_with(b"postgres"));
    is_postgres && args.any(|arg| arg == data.as_os_str().as_encoded_bytes())
}
