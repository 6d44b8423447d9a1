//! What `rgrid config show` tells: which grid is used and why, and the project's defaults.

use std::path::PathBuf;

use rgrid_core::quantity::{format_bytes, format_duration};

use crate::grid::Origin;
use crate::project::Defaults;

/// The configuration in use.
#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    /// Why this grid.
    pub origin: Origin,
    /// Its address; absent while the grid of this machine does not run.
    pub url: Option<String>,
    /// The key, which is never shown whole.
    pub key: Option<String>,
    /// What isolates scripts on the grid of this machine, or why it cannot; absent for another grid.
    pub sandbox: Option<String>,
    /// The credentials file.
    pub credentials: Option<PathBuf>,
    /// The project's defaults.
    pub defaults: Defaults,
}

impl Configuration {
    /// Name and value of each setting.
    pub(crate) fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![
            (
                "grid",
                self.url.clone().unwrap_or_else(|| "this machine's own, which does not run now".to_owned()),
            ),
            ("because", self.because()),
        ];
        rows.extend(self.sandbox.as_ref().map(|kind| ("sandbox", kind.clone())));
        rows.extend(self.key.as_deref().map(|key| ("key", masked(key))));
        rows.extend(self.credentials.as_ref().map(|path| ("credentials", path.display().to_string())));
        let defaults = &self.defaults;
        rows.extend(defaults.source.as_ref().map(|path| ("project", path.display().to_string())));
        rows.extend(defaults.runtime.map(|runtime| ("runtime", runtime.to_string())));
        rows.extend(defaults.cpu_millis.map(|cpu| ("cpu", format!("{}", f64::from(cpu) / 1000.0))));
        rows.extend(defaults.memory_bytes.map(|bytes| ("memory", format_bytes(bytes))));
        rows.extend(defaults.disk_bytes.map(|bytes| ("disk", format_bytes(bytes))));
        rows.extend(defaults.timeout.map(|time| ("timeout", format_duration(time))));
        rows.extend(defaults.retries.map(|number| ("retries", number.to_string())));
        rows.extend(defaults.network.map(|on| ("network", if on { "on" } else { "off" }.to_owned())));
        rows.extend(defaults.reuse.then(|| ("reuse", "on".to_owned())));
        let lists = [
            ("input", &defaults.input),
            ("no input", &defaults.no_input),
            ("include", &defaults.include),
            ("output", &defaults.output),
        ];
        rows.extend(
            lists.into_iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| (name, list.join(" "))),
        );
        rows
    }

    fn because(&self) -> String {
        match &self.origin {
            Origin::Profile(name) => format!("--profile {name}"),
            Origin::Environment => "RGRID_URL and RGRID_API_KEY are set".to_owned(),
            Origin::Credentials => "it is the default profile of the credentials file".to_owned(),
            Origin::Embedded => "no other is configured; `rgrid init` connects to one".to_owned(),
        }
    }
}

/// A key as it may be shown: enough to tell two apart.
fn masked(key: &str) -> String {
    let start: String = key.chars().take(7).collect();
    format!("{start}...")
}
