//! What must be installed before a script starts, as its column has it.

use std::collections::BTreeMap;

use rgrid_core::dependencies::{Dependencies, LocalPackage};
use serde_json::{Value, json};

use crate::{Error, Result, row};

/// Writes the column. Credentials stand in another one, sealed.
pub(crate) fn column(dependencies: &Dependencies) -> Value {
    let local: Vec<Value> = dependencies
        .local
        .iter()
        .map(|package| json!({ "path": package.path.as_str(), "editable": package.editable }))
        .collect();
    json!({ "source": dependencies.source, "lock": dependencies.lock.as_str(), "local": local })
}

/// Reads it back.
pub(crate) fn read(column: &Value, credentials: BTreeMap<String, String>) -> Result<Dependencies> {
    let corrupt = || Error::corrupt("dependencies", "it lacks a part");
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(corrupt);
    let local = |package: &Value| {
        Ok(LocalPackage {
            path: row::parsed("dependencies", &text(&package["path"])?)?,
            editable: package["editable"].as_bool().ok_or_else(corrupt)?,
        })
    };
    Ok(Dependencies {
        source: text(&column["source"])?,
        lock: row::parsed("dependencies", &text(&column["lock"])?)?,
        local: column["local"].as_array().ok_or_else(corrupt)?.iter().map(local).collect::<Result<_>>()?,
        credentials,
    })
}
