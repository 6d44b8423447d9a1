//! Numbers about numbers, in milliseconds.

use std::time::Duration;

/// Sorted samples.
pub(super) struct Samples(Vec<f64>);

impl Samples {
    pub(super) fn new(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut sorted: Vec<f64> = times.into_iter().map(|time| time.as_secs_f64() * 1000.0).collect();
        sorted.sort_by(f64::total_cmp);
        Self(sorted)
    }

    /// The value below which `share` of the samples lie.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
    }

    pub(super) fn p50(&self) -> f64 {
        self.quantile(0.5)
    }

    /// One line for the page.
    pub(super) fn line(&self, name: &str) -> String {
        format!(
            "{name:<28} n={:<4} min {:>8.1}  p50 {:>8.1}  p90 {:>8.1}  max {:>8.1} ms\n",
            self.0.len(),
            self.quantile(0.0),
            self.p50(),
            self.quantile(0.9),
            self.quantile(1.0)
        )
    }
}
