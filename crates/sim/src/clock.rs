//! The virtual clock: milliseconds from a trace's start, and the moments that core knows.

use rgrid_core::Timestamp;

/// The first moment of every simulation, in Unix seconds.
const START: i64 = 1_800_000_000;

/// The moment `ms` after the start.
pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_timestamp_millis(START * 1000 + ms).expect("a trace is shorter than the calendar")
}

/// Milliseconds from the start.
pub(crate) fn ms(at: Timestamp) -> i64 {
    at.timestamp_millis() - START * 1000
}

/// Whole milliseconds of a duration.
pub(crate) fn span(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
