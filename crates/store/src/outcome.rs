//! An outcome in a row: its kind as text, its numbers and words as JSON. Both directions, in one place.

use std::time::Duration;

use rgrid_core::outcome::{CancelledBy, Outcome};
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::{Error, Result, row};

/// What stands beside the kind.
pub(crate) fn to_json(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Exited { code } => json!({ "code": code }),
        Outcome::Signalled { signal } => json!({ "signal": signal }),
        Outcome::OutOfMemory { limit_bytes, peak_bytes } => {
            json!({ "limit_bytes": limit_bytes, "peak_bytes": peak_bytes })
        }
        Outcome::TimedOut { timeout } => json!({ "timeout_ms": row::millis(*timeout) }),
        Outcome::Cancelled { by } => json!({ "by": by.as_str() }),
        Outcome::DependenciesFailed { message } => json!({ "message": message }),
        Outcome::InputMissing { path, corrupt } => json!({ "path": path, "corrupt": corrupt }),
        Outcome::OutputTooLarge { limit_bytes, size_bytes } => {
            json!({ "limit_bytes": limit_bytes, "size_bytes": size_bytes })
        }
        Outcome::DiskFull { limit_bytes } => json!({ "limit_bytes": limit_bytes }),
        Outcome::WorkerLost { workers } => {
            json!({ "workers": workers.iter().map(ToString::to_string).collect::<Vec<_>>() })
        }
        Outcome::SandboxFailed { message } => json!({ "message": message }),
        Outcome::Expired => json!({}),
    }
}

/// Reads `outcome_kind` and `outcome`.
pub(crate) fn read(row: &PgRow) -> Result<Option<Outcome>> {
    let kind: Option<&str> = row.try_get("outcome_kind")?;
    let fields: Option<Value> = row.try_get("outcome")?;
    kind.zip(fields).map(|(kind, fields)| from_json(kind, &fields)).transpose()
}

/// The reverse of [`to_json`].
pub(crate) fn from_json(kind: &str, fields: &Value) -> Result<Outcome> {
    let damaged = || Error::corrupt("outcome", format!("{kind}: {fields}"));
    let number = |name: &str| fields.get(name).and_then(Value::as_u64).ok_or_else(damaged);
    let byte = |name: &str| u8::try_from(number(name)?).map_err(|_| damaged());
    let text = |name: &str| fields.get(name).and_then(Value::as_str).ok_or_else(damaged);
    Ok(match kind {
        "exited" => Outcome::Exited { code: byte("code")? },
        "signalled" => Outcome::Signalled { signal: byte("signal")? },
        "out_of_memory" => {
            Outcome::OutOfMemory { limit_bytes: number("limit_bytes")?, peak_bytes: number("peak_bytes")? }
        }
        "timed_out" => Outcome::TimedOut { timeout: Duration::from_millis(number("timeout_ms")?) },
        "cancelled" => Outcome::Cancelled { by: cancelled_by(text("by")?)? },
        "dependencies_failed" => Outcome::DependenciesFailed { message: text("message")?.to_owned() },
        "input_missing" => Outcome::InputMissing {
            path: text("path")?.to_owned(),
            corrupt: fields.get("corrupt").and_then(Value::as_bool).ok_or_else(damaged)?,
        },
        "output_too_large" => {
            Outcome::OutputTooLarge { limit_bytes: number("limit_bytes")?, size_bytes: number("size_bytes")? }
        }
        "disk_full" => Outcome::DiskFull { limit_bytes: number("limit_bytes")? },
        "worker_lost" => {
            let workers = fields.get("workers").and_then(Value::as_array).ok_or_else(damaged)?;
            let worker = |id: &Value| row::parsed("outcome", id.as_str().ok_or_else(damaged)?);
            Outcome::WorkerLost { workers: workers.iter().map(worker).collect::<Result<_>>()? }
        }
        "sandbox_failed" => Outcome::SandboxFailed { message: text("message")?.to_owned() },
        "expired" => Outcome::Expired,
        _ => return Err(damaged()),
    })
}

/// Reads who cancelled.
pub(crate) fn cancelled_by(text: &str) -> Result<CancelledBy> {
    [CancelledBy::User, CancelledBy::Operator]
        .into_iter()
        .find(|by| by.as_str() == text)
        .ok_or_else(|| Error::corrupt("who cancelled", text))
}

#[cfg(test)]
mod tests {
    use rgrid_core::id::WorkerId;

    use super::*;

    #[test]
    fn every_outcome_reads_back() {
        let worker = WorkerId::new(1, [2; 10]);
        let message = || "no\nspace".to_owned();
        for outcome in [
            Outcome::Exited { code: 255 },
            Outcome::Signalled { signal: 9 },
            Outcome::OutOfMemory { limit_bytes: 1, peak_bytes: 1 << 50 },
            Outcome::TimedOut { timeout: Duration::from_millis(1500) },
            Outcome::Cancelled { by: CancelledBy::Operator },
            Outcome::DependenciesFailed { message: message() },
            Outcome::InputMissing { path: message(), corrupt: true },
            Outcome::OutputTooLarge { limit_bytes: 1, size_bytes: 2 },
            Outcome::DiskFull { limit_bytes: 3 },
            Outcome::WorkerLost { workers: vec![worker, worker] },
            Outcome::SandboxFailed { message: message() },
            Outcome::Expired,
        ] {
            assert_eq!(from_json(outcome.kind(), &to_json(&outcome)).unwrap(), outcome);
        }
    }
}
