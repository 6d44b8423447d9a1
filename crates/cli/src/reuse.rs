//! What a person is told when an earlier execution answers theirs.

use chrono::{DateTime, Utc};
use rgrid_api::executions::Execution;
use rgrid_core::quantity::format_duration;

/// From which execution the outputs are, and from when.
pub(crate) fn sentence(execution: &Execution, now: DateTime<Utc>) -> String {
    let from = match execution.finished_at {
        Some(at) => {
            let age = (now - at).to_std().unwrap_or_default();
            let age = std::time::Duration::from_secs(age.as_secs());
            format!(", which completed {} ({} ago)", at.format("%Y-%m-%d %H:%M:%S UTC"), format_duration(age))
        }
        None => String::new(),
    };
    format!("nothing ran: output and files are those of {}{from}; --no-cache runs it again", execution.id)
}
