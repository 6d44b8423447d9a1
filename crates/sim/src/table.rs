//! The comparison, as text for people.

use std::fmt::Write as _;

use rgrid_core::money::Micros;

use crate::report::Summary;

/// One row of the comparison.
#[derive(Debug, Clone)]
pub struct Row {
    /// Who decided.
    pub name: String,
    /// What came of it.
    pub summary: Summary,
}

/// A wait in seconds.
fn seconds(ms: i64) -> String {
    format!("{:.1} s", ms as f64 / 1000.0)
}

/// The rows, with the bound below which no bill can be.
pub fn table(rows: &[Row], bound: Micros) -> String {
    let times = |bill: Micros| match bound.0 {
        0 => "-".to_owned(),
        bound => format!("{:.3}x", bill.0 as f64 / bound as f64),
    };
    let euros = |amount: Micros| format!("EUR {:.2}", amount.0 as f64 / 1e6);
    let mut text = format!(
        "{:<24} {:>14} {:>9} {:>9} {:>8} {:>6} {:>10} {:>10} {:>10}\n",
        "policy", "bill", "of bound", "hours", "servers", "peak", "wait p50", "wait p95", "wait max"
    );
    for Row { name, summary } in rows {
        let _ = writeln!(
            text,
            "{name:<24} {:>14} {:>9} {:>9} {:>8} {:>6} {:>10} {:>10} {:>10}",
            euros(summary.bill),
            times(summary.bill),
            summary.hours,
            summary.servers,
            summary.servers_peak,
            seconds(summary.wait_p50),
            seconds(summary.wait_p95),
            seconds(summary.wait_max),
        );
    }
    let _ = writeln!(text, "{:<24} {:>14} {:>9}", "work bound", euros(bound), times(bound));
    text
}
