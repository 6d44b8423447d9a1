//! Private readers of outside bytes, opened for the crate that fuzzes them (`fuzz/`). No logic of its own.

use std::path::PathBuf;

use crate::config::{OrchestratorConfig, Settings, Spending};
use crate::embedded::wheels::index;

/// The link to a file on a project's page of a package index.
pub fn link(page: &str, file: &str) -> Option<String> {
    index::link_to(page, file)
}

/// The index that a settings file of pip names.
pub fn pip_index(text: &str) -> Option<String> {
    rgrid_cli::pip::in_file(text, "index-url")
}

/// The settings from a file and one environment variable, as they are shown, and whether they let money be spent.
///
/// # Errors
/// What is told when they cannot be used.
pub fn settings(file: &str, variable: &str, value: &str) -> Result<(String, bool), String> {
    let told = |error| format!("{:#}", anyhow::Error::from(error));
    let environment = |name: &str| (name == variable).then(|| value.to_owned());
    let file = Some((PathBuf::from("rgrid.toml"), file.to_owned()));
    let mut settings = Settings::of_layers(file, environment, Vec::new()).map_err(told)?;
    let spending = OrchestratorConfig::of(&mut settings).map_err(told)?.spending;
    Ok((format!("{settings}\n{}", settings.warnings().join("\n")), spending == Spending::On))
}
