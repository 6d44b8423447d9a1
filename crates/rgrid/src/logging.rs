//! Log lines of the service roles: to standard error, as text for people or as JSON for machines. The user's
//! commands log nothing; what they say is output.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

use crate::config::Settings;

/// Starts logging. What the settings warn of comes first.
pub(crate) fn start(settings: &Settings) {
    let level = level(settings.text("log.level").unwrap_or("info"));
    let filter = EnvFilter::builder().with_default_directive(level).from_env_lossy();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match is_json(settings.text("log.format").unwrap_or("auto")) {
        true => lines.json().flatten_event(true).with_current_span(false).try_init(),
        false => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logging was started before");
    }
    for warning in settings.warnings() {
        tracing::warn!("{warning}");
    }
}

fn is_json(format: &str) -> bool {
    match format {
        "json" => true,
        "text" => false,
        // systemd sets this for services whose output goes to the journal.
        _ => std::env::var_os("JOURNAL_STREAM").is_some(),
    }
}

/// A level by our names or by Python's, which older settings files use.
fn level(name: &str) -> Directive {
    let level = match name.to_ascii_lowercase().as_str() {
        "trace" => tracing::Level::TRACE,
        "debug" => tracing::Level::DEBUG,
        "warn" | "warning" => tracing::Level::WARN,
        "error" | "critical" | "fatal" => tracing::Level::ERROR,
        _ => tracing::Level::INFO,
    };
    level.into()
}
