//! `[tool.rgrid]` of `pyproject.toml`: a project's defaults for `rgrid run`. Never secrets.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rgrid_core::runtime::Python;
use serde::Deserialize;

use crate::errors::{Doing, Error};

/// The defaults of a project; what is absent is the grid's to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Defaults {
    /// Where they stand.
    pub source: Option<PathBuf>,
    pub runtime: Option<Python>,
    pub cpu_millis: Option<u32>,
    pub memory_bytes: Option<u64>,
    pub disk_bytes: Option<u64>,
    pub timeout: Option<Duration>,
    pub retries: Option<u32>,
    pub input: Vec<String>,
    pub no_input: Vec<String>,
    pub include: Vec<String>,
    pub output: Vec<String>,
    pub network: Option<bool>,
    pub reuse: bool,
}

#[derive(Deserialize)]
struct PyProject {
    #[serde(default)]
    tool: Tool,
}

#[derive(Default, Deserialize)]
struct Tool {
    rgrid: Option<Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    runtime: Option<toml::Value>,
    cpu: Option<toml::Value>,
    memory: Option<toml::Value>,
    disk: Option<toml::Value>,
    timeout: Option<toml::Value>,
    retries: Option<u32>,
    #[serde(default)]
    input: Vec<String>,
    #[serde(default)]
    no_input: Vec<String>,
    #[serde(default)]
    include: Vec<String>,
    #[serde(default)]
    output: Vec<String>,
    network: Option<bool>,
    #[serde(default)]
    reuse: bool,
}

/// The defaults of the nearest `pyproject.toml` in `folder` or above it.
pub(crate) fn defaults(folder: &Path) -> Result<Defaults, Error> {
    let Some(path) = folder.ancestors().map(|above| above.join("pyproject.toml")).find(|path| path.is_file())
    else {
        return Ok(Defaults::default());
    };
    let text = std::fs::read_to_string(&path).map_err(|source| Error::File {
        doing: Doing::Read,
        path: path.clone(),
        source,
    })?;
    parse(&text, &path)
}

fn parse(text: &str, path: &Path) -> Result<Defaults, Error> {
    let wrong = |problem: String| Error::Project { path: path.to_owned(), problem };
    // The common case costs no parse.
    if !text.contains("rgrid") {
        return Ok(Defaults::default());
    }
    let file: PyProject = toml::from_str(text).map_err(|error| wrong(error.message().to_owned()))?;
    let Some(table) = file.tool.rgrid else { return Ok(Defaults::default()) };
    // Paths in the file are relative to it, wherever the command is given.
    let folder = path.parent().unwrap_or(Path::new("/"));
    let here = |paths: Vec<String>| {
        paths.iter().map(|path| folder.join(path).to_string_lossy().into_owned()).collect()
    };
    Ok(Defaults {
        source: Some(path.to_owned()),
        runtime: amount(table.runtime, "runtime", str::parse).map_err(wrong)?,
        cpu_millis: amount(table.cpu, "cpu", rgrid_core::quantity::parse_cpu).map_err(wrong)?,
        memory_bytes: amount(table.memory, "memory", rgrid_core::quantity::parse_bytes).map_err(wrong)?,
        disk_bytes: amount(table.disk, "disk", rgrid_core::quantity::parse_bytes).map_err(wrong)?,
        timeout: amount(table.timeout, "timeout", rgrid_core::quantity::parse_duration).map_err(wrong)?,
        retries: table.retries,
        input: here(table.input),
        no_input: here(table.no_input),
        include: table.include,
        output: here(table.output),
        network: table.network,
        reuse: table.reuse,
    })
}

/// An amount may be written as a number or as a text: `cpu = 2`, `cpu = "500m"`.
fn amount<T, E: std::fmt::Display>(
    written: Option<toml::Value>,
    name: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, String> {
    let Some(value) = written else { return Ok(None) };
    let text = match &value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Boolean(_)
        | toml::Value::Datetime(_)
        | toml::Value::Array(_)
        | toml::Value::Table(_) => {
            return Err(format!("tool.rgrid.{name} is neither a number nor a text"));
        }
    };
    parse(&text).map(Some).map_err(|error| format!("tool.rgrid.{name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Defaults, String> {
        parse(text, Path::new("/p/pyproject.toml")).map_err(|error| error.message().what)
    }

    #[test]
    fn amounts_read_as_numbers_and_as_texts() {
        let defaults =
            check("[tool.rgrid]\nruntime='3.11'\ncpu=2\nmemory='3G'\ntimeout='1h'\ninput=['config/a.yml']")
                .unwrap();
        assert_eq!(defaults.runtime, Python::new(11));
        assert_eq!((defaults.cpu_millis, defaults.memory_bytes), (Some(2000), Some(3 << 30)));
        assert_eq!(defaults.timeout, Some(Duration::from_secs(3600)));
        assert_eq!(defaults.input, ["/p/config/a.yml"]);
    }

    #[test]
    fn a_project_without_a_table_has_no_defaults() {
        assert_eq!(check("[project]\nname='rgrid-demo'"), Ok(Defaults::default()));
    }

    #[test]
    fn a_slip_is_named() {
        insta::assert_snapshot!(check("[tool.rgrid]\nmemory='much'").unwrap_err(), @r#"/p/pyproject.toml: tool.rgrid.memory: "much" is not a size such as 512M or 3G"#);
        insta::assert_snapshot!(check("[tool.rgrid]\nmemry='3G'").unwrap_err(), @"/p/pyproject.toml: unknown field `memry`, expected one of `runtime`, `cpu`, `memory`, `disk`, `timeout`, `retries`, `input`, `no_input`, `include`, `output`, `network`, `reuse`");
    }
}
