//! The body of a submission: what passes the door holds to its limits, and is what the body said.

use std::collections::BTreeSet;

use rgrid_api::executions::{CreateExecution, InputBody, ProgramBody};
use rgrid_core::limits;
use rgrid_core::path::AbsolutePath;
use rgrid_core::submission::{InputKind, Program};
use serde_json::Value;

/// The input is a body.
pub fn submission(bytes: &[u8]) {
    let Ok(body) = serde_json::from_slice::<CreateExecution>(bytes) else { return };
    let written = serde_json::to_vec(&body).expect("a body that was read can be written");
    assert_eq!(serde_json::from_slice::<CreateExecution>(&written).expect("and read again"), body);
    let Ok(parsed) = body.parse() else { return };

    assert!(!holds_nul(&serde_json::to_value(&body).expect("it was written before")));
    let said: Vec<InputBody> = parsed.inputs.iter().map(InputBody::from).collect();
    assert_eq!(said, body.inputs);
    assert_eq!(ProgramBody::from(&parsed.program), body.program);
    let paths: BTreeSet<&AbsolutePath> = parsed.inputs.iter().map(|input| &input.path).collect();
    assert_eq!(paths.len(), parsed.inputs.len(), "each path stands there once");
    for input in &parsed.inputs {
        assert_ne!(input.path.as_str(), "/");
        let above = std::iter::successors(input.path.parent(), AbsolutePath::parent);
        for folder in above {
            let holds = parsed.inputs.iter().find(|other| other.path == folder);
            assert!(holds.is_none_or(|holds| holds.kind == InputKind::Folder), "{folder} is no folder");
        }
    }
    if let Program::Script { path, argv0 } = &parsed.program {
        assert!(paths.contains(path));
        assert!(argv0.as_ref().is_none_or(|spelled| !spelled.starts_with('-') && !spelled.is_empty()));
    }
    let bytes_in_args: usize = parsed.args.iter().map(String::len).sum();
    assert!(parsed.args.len() <= limits::ARGUMENTS_MAX && bytes_in_args <= limits::ARGUMENT_BYTES_MAX);
    assert!(parsed.environment.keys().all(|name| !name.is_empty() && !name.contains('=')));
    assert!(!parsed.timeout.is_zero() && parsed.timeout <= limits::TIMEOUT_MAX);
    assert!(parsed.grace <= limits::GRACE_MAX && parsed.retries <= limits::RETRIES_MAX);
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
