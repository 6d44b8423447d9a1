//! Watches a running job: its deadline, and everybody who may end it. Time is the monotonic clock's.

use std::time::Duration;

use rgrid_core::outcome::Outcome;
use rgrid_core::quantity::format_duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::held::Control;
use crate::sandbox::{JobEnd, RunningJob};

/// Shares of the time limit, in percent, at which the log is told (DESIGN section 11).
const WARN_AT_PERCENT: [u32; 2] = [80, 95];

/// Why a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// By itself.
    Itself,
    /// We ended it, and this is its outcome.
    Ended(Outcome),
    /// It was not current any more.
    Stale,
    /// The runner stops.
    Stopped,
}

/// The steps of an end that leaves the script time: SIGINT is sent, SIGTERM and SIGKILL follow.
struct Goodbye {
    outcome: Outcome,
    terminate_at: Option<Instant>,
    kill_at: Option<Instant>,
}

impl Goodbye {
    fn say(job: &RunningJob, outcome: Outcome, grace: Duration) -> Self {
        tracing::info!(?outcome, "ending the script");
        job.interrupt();
        let now = Instant::now();
        Self { outcome, terminate_at: Some(now + grace / 2), kill_at: Some(now + grace) }
    }

    fn next_at(&self) -> Option<Instant> {
        self.terminate_at.or(self.kill_at)
    }
}

/// Waits until nothing of the job is left.
pub(crate) async fn to_the_end(
    job: &mut RunningJob,
    control: &mut Control,
    stop: &CancellationToken,
    grace: Duration,
    notices: &mpsc::Sender<String>,
) -> (JobEnd, Why) {
    let started = Instant::now();
    let mut goodbye: Option<Goodbye> = None;
    let mut warned_percent = 0;
    let mut heard = true;
    loop {
        let (timeout, cancel) = {
            let directive = control.directive.borrow_and_update();
            (Duration::from_millis(directive.timeout_ms), directive.cancel)
        };
        if let (None, Some(by)) = (&goodbye, cancel) {
            goodbye = Some(Goodbye::say(job, Outcome::Cancelled { by: by.into() }, grace));
        }
        let alarm = match &goodbye {
            Some(goodbye) => goodbye.next_at(),
            None => Some(started + next_moment(timeout, warned_percent)),
        };
        tokio::select! {
            biased;
            end = job.wait() => return (end, goodbye.map_or(Why::Itself, |goodbye| Why::Ended(goodbye.outcome))),
            () = control.stale.cancelled() => {
                job.kill().await;
                return (job.wait().await, Why::Stale);
            }
            () = stop.cancelled() => {
                job.kill().await;
                return (job.wait().await, Why::Stopped);
            }
            changed = control.directive.changed(), if heard => heard = changed.is_ok(),
            () = tokio::time::sleep_until(alarm.unwrap_or(started)), if alarm.is_some() => match &mut goodbye {
                Some(goodbye) => match goodbye.terminate_at.take() {
                    Some(_) => job.terminate(),
                    None => {
                        goodbye.kill_at = None;
                        job.kill().await;
                    }
                },
                None if started.elapsed() >= timeout => {
                    goodbye = Some(Goodbye::say(job, Outcome::TimedOut { timeout }, grace));
                }
                None => {
                    warned_percent = due_percent(started.elapsed(), timeout);
                    if warned_percent > 0 {
                        // A full channel means that the log is behind anyway.
                        let _ = notices.try_send(warning(control, warned_percent, timeout));
                    }
                }
            },
        }
    }
}

/// The last of the warnings that are due; 0 for none.
fn due_percent(elapsed: Duration, timeout: Duration) -> u32 {
    // The share is below 1 here, and a limit is never zero.
    let used = (elapsed.as_secs_f64() / timeout.as_secs_f64() * 100.0) as u32;
    WARN_AT_PERCENT.into_iter().filter(|percent| *percent <= used).max().unwrap_or(0)
}

/// When something is due next, counted from the start: a warning that was not given, or the limit itself.
fn next_moment(timeout: Duration, warned_percent: u32) -> Duration {
    WARN_AT_PERCENT
        .iter()
        .find(|percent| **percent > warned_percent)
        .map_or(timeout, |percent| timeout.mul_f64(f64::from(*percent) / 100.0))
}

fn warning(control: &Control, percent: u32, timeout: Duration) -> String {
    let (id, timeout) = (&control.attempt.execution_id, format_duration(timeout));
    format!("{percent}% of the time limit of {timeout} is used; for more: rgrid extend {id} {timeout}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_come_at_80_and_95_percent_and_then_the_limit() {
        let timeout = Duration::from_secs(100);
        assert_eq!(next_moment(timeout, 0), Duration::from_secs(80));
        assert_eq!(next_moment(timeout, 80), Duration::from_secs(95));
        assert_eq!(next_moment(timeout, 95), timeout);
        assert_eq!(due_percent(Duration::from_secs(79), timeout), 0);
        assert_eq!(due_percent(Duration::from_secs(94), timeout), 80);
        assert_eq!(due_percent(Duration::from_secs(99), timeout), 95);
    }

    #[test]
    fn an_extended_limit_is_not_warned_of_again_before_its_own_95_percent() {
        assert_eq!(next_moment(Duration::from_secs(200), 80), Duration::from_secs(190));
    }
}
