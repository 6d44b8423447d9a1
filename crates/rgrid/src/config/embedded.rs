//! What the embedded grid is told.

use std::path::PathBuf;
use std::time::Duration;

use rgrid_core::quantity::{parse_bytes, parse_duration};

use super::{ConfigError, Settings};

/// The settings of `rgrid up`.
#[derive(Debug, Clone)]
pub(crate) struct EmbeddedConfig {
    /// It stops after this long without work.
    pub(crate) idle: Duration,
    /// Its store holds at most this,
    pub(crate) store_bytes: u64,
    /// and at most this share of the disk.
    pub(crate) store_percent: u64,
    /// Where the Docker engine of this machine listens.
    pub(crate) docker_socket: PathBuf,
}

impl EmbeddedConfig {
    /// # Errors
    /// When a setting cannot be read.
    pub(crate) fn of(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            idle: settings.with_default("embedded.idle", parse_duration)?,
            store_bytes: settings.with_default("embedded.store_bytes", parse_bytes)?,
            docker_socket: settings.required("runner.docker_socket")?.into(),
            store_percent: settings.with_default("embedded.store_percent", percent)?,
        })
    }
}

fn percent(text: &str) -> Result<u64, String> {
    match text.trim_end_matches('%').parse() {
        Ok(percent @ 1..=100) => Ok(percent),
        Ok(_) | Err(_) => Err(format!("{text:?} is not a number from 1 to 100")),
    }
}
