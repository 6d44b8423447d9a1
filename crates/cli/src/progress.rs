//! What a waiting person sees: one line on stderr that comes and goes. Only on a terminal, and never when quiet.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal::{Notes, Terminal, shown};

/// The spinner turns this often.
const TICK: Duration = Duration::from_millis(120);
/// Less than this is there before a bar is seen.
const WORTH_A_BAR_BYTES: u64 = 1 << 20;

/// The line. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    visible: bool,
    line: Arc<Mutex<Line>>,
}

#[derive(Debug, Default)]
struct Line {
    bar: Option<ProgressBar>,
    done_bytes: u64,
}

impl Progress {
    pub(crate) fn new(terminal: Terminal, notes: Notes) -> Self {
        Self { visible: terminal.stderr && !notes.is_quiet(), line: Arc::default() }
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        // A line that was half drawn is drawn anew.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A transfer of `total_bytes`, of which `done_bytes` are there already, starts or starts again.
    pub(crate) fn transfer(&self, verb: &'static str, total_bytes: u64, done_bytes: u64) {
        let mut line = self.line();
        line.done_bytes = done_bytes;
        if !self.visible || total_bytes < WORTH_A_BAR_BYTES {
            return;
        }
        let bar = line.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template(
                "{msg} {bytes:>10} of {total_bytes} [{bar:24}] {bytes_per_sec}, {eta} left",
            )
            .expect("the template is a constant that a test draws")
            .progress_chars("=> ");
            ProgressBar::with_draw_target(Some(total_bytes), ProgressDrawTarget::stderr())
                .with_style(style)
                .with_message(verb)
        });
        bar.set_position(done_bytes);
        bar.reset_eta();
    }

    /// So many bytes more are there.
    pub(crate) fn advance(&self, bytes: u64) {
        let mut line = self.line();
        line.done_bytes += bytes;
        if let Some(bar) = &line.bar {
            bar.inc(bytes);
        }
    }

    /// Bytes of the newest transfer that are there.
    pub(crate) fn done_bytes(&self) -> u64 {
        self.line().done_bytes
    }

    /// A sentence that stands while nothing can be printed.
    pub(crate) fn wait(&self, sentence: &str) {
        if !self.visible {
            return;
        }
        let mut line = self.line();
        let bar = line.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{spinner} {wide_msg}")
                .expect("the template is a constant that a test draws");
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style);
            bar.enable_steady_tick(TICK);
            bar
        });
        bar.set_message(shown(sentence));
    }

    /// The line goes; what is printed next starts on a clean one.
    pub(crate) fn clear(&self) {
        if let Some(bar) = self.line().bar.take() {
            bar.finish_and_clear();
        }
    }

    /// True when sentences of `wait` are seen.
    pub(crate) fn is_visible(&self) -> bool {
        self.visible
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lines_can_be_drawn() {
        let progress = Progress { visible: true, line: Arc::default() };
        progress.wait("waits for a worker");
        progress.clear();
        progress.transfer("sending", 2 << 20, 1 << 20);
        progress.advance(5);
        assert_eq!(progress.done_bytes(), (1 << 20) + 5);
        progress.clear();
    }
}
