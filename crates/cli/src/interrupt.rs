//! Ctrl-C, a hangup, a polite kill: what the person or their system asks of a command that waits.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::OnInterrupt;

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Ctrl-C.
    Interrupt,
    /// The terminal is gone, or somebody ends this process: what runs on the grid goes on.
    Leave,
}

/// What a command does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// End the execution, and wait for its end.
    Cancel,
    /// Leave the execution alone, and end the command.
    Detach,
    /// The execution was asked to end; do not wait for it.
    LeaveNow,
}

/// What to do when `asked`, with `policy`, after `cancelling` was begun or not.
pub(crate) fn answer(asked: Asked, policy: OnInterrupt, cancelling: bool) -> Answer {
    match (asked, policy, cancelling) {
        (_, _, true) => Answer::LeaveNow,
        (Asked::Interrupt, OnInterrupt::Cancel, false) => Answer::Cancel,
        (Asked::Interrupt, OnInterrupt::Detach, false) | (Asked::Leave, _, false) => Answer::Detach,
    }
}

/// The signals, from the moment of `install` on. A signal that this process was started to ignore stays ignored:
/// `nohup rgrid run ...` outlives its terminal, as it would without us.
pub(crate) struct Signals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    hangup: Option<Signal>,
}

impl Signals {
    pub(crate) fn install() -> Self {
        let ignored = ignored();
        // A kernel that gives no handler leaves the default: the process ends, which is what they ask for.
        let handler = |kind: SignalKind| {
            let is_ignored = ignored >> (kind.as_raw_value() - 1) & 1 == 1;
            if is_ignored { None } else { signal(kind).ok() }
        };
        Self {
            interrupt: handler(SignalKind::interrupt()),
            terminate: handler(SignalKind::terminate()),
            hangup: handler(SignalKind::hangup()),
        }
    }

    /// The next thing that is asked.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            () = received(&mut self.interrupt) => Asked::Interrupt,
            () = received(&mut self.terminate) => Asked::Leave,
            () = received(&mut self.hangup) => Asked::Leave,
        }
    }
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// The signals that this process ignores, a bit each, as `/proc` has it; none where there is no `/proc`.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_signal_never_waits() {
        use OnInterrupt::{Cancel, Detach};
        assert_eq!(answer(Asked::Interrupt, Cancel, false), Answer::Cancel);
        assert_eq!(answer(Asked::Interrupt, Cancel, true), Answer::LeaveNow);
        assert_eq!(answer(Asked::Leave, Cancel, true), Answer::LeaveNow);
        assert_eq!(answer(Asked::Interrupt, Detach, false), Answer::Detach);
    }

    #[test]
    fn a_hangup_or_a_polite_kill_never_ends_the_execution() {
        assert_eq!(answer(Asked::Leave, OnInterrupt::Cancel, false), Answer::Detach);
    }
}
