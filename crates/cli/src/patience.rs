//! How long and how often something is tried again while the grid is away. Every wait of this crate is named here.

use std::time::Duration;

use tokio::time::Instant;

/// A submission, and other single calls that may be repeated, are tried this long: an API that restarts is back by then.
pub(crate) const CALL_PATIENCE: Duration = Duration::from_secs(8);
/// An upload that makes no progress is given up after this.
pub(crate) const UPLOAD_PATIENCE: Duration = Duration::from_secs(120);
/// A download that makes no progress is given up after this.
pub(crate) const DOWNLOAD_PATIENCE: Duration = Duration::from_secs(120);
/// A follow is given up when the grid was away this long.
pub(crate) const FOLLOW_PATIENCE: Duration = Duration::from_secs(15 * 60);
/// A wait shorter than this is not worth a sentence.
pub(crate) const WORTH_A_SENTENCE: Duration = Duration::from_secs(2);
/// The first pause after a failure; it doubles from there.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// One run of failures.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    since: Option<Instant>,
    pause: Duration,
    told: bool,
}

/// What to do after a failure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// It has been tried again and again for `limit`.
    GiveUp,
    /// Try again; `tell` is true once, when the wait becomes worth a sentence.
    Try { tell: bool },
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, since: None, pause: PAUSE_FIRST, told: false }
    }

    /// It works again. True when somebody was told that it did not.
    pub(crate) fn restored(&mut self) -> bool {
        let told = self.told;
        *self = Self::new(self.limit);
        told
    }

    /// It failed: waits, longer each time.
    pub(crate) async fn failed(&mut self) -> Again {
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= self.limit {
            return Again::GiveUp;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        let tell = !self.told && since.elapsed() >= WORTH_A_SENTENCE;
        self.told |= tell;
        Again::Try { tell }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_told_once_and_given_up_at_the_limit() {
        let mut patience = Patience::new(CALL_PATIENCE);
        let start = Instant::now();
        let mut told = 0;
        while let Again::Try { tell } = patience.failed().await {
            told += u32::from(tell);
        }
        assert_eq!(told, 1);
        assert!((CALL_PATIENCE..CALL_PATIENCE + PAUSE_MAX).contains(&start.elapsed()));
        assert!(patience.restored() && !patience.restored());
    }
}
