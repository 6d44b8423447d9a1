//! What the embedded grid is told.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rgrid_core::quantity::{parse_bytes, parse_duration};
use rgrid_core::runtime::SandboxKind;

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
    /// What isolates scripts that name no image.
    pub(crate) sandbox: SandboxWish,
}

/// What isolates scripts on the embedded grid that name no image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SandboxWish {
    /// The process sandbox, and containers only where that cannot be made and the image is there.
    Auto,
    /// This and nothing else.
    Only(SandboxKind),
}

/// A text that names no such wish.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is none of auto, process and docker")]
pub(crate) struct UnknownSandboxWish(String);

impl FromStr for SandboxWish {
    type Err = UnknownSandboxWish;

    fn from_str(text: &str) -> Result<Self, UnknownSandboxWish> {
        match text {
            "auto" => Ok(Self::Auto),
            other => other.parse().map(Self::Only).map_err(|_| UnknownSandboxWish(other.to_owned())),
        }
    }
}

impl EmbeddedConfig {
    /// # Errors
    /// When a setting cannot be read.
    pub(crate) fn of(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            idle: settings.with_default("embedded.idle", parse_duration)?,
            store_bytes: settings.with_default("embedded.store_bytes", parse_bytes)?,
            docker_socket: settings.required("runner.docker_socket")?.into(),
            sandbox: settings.with_default("embedded.sandbox", str::parse::<SandboxWish>)?,
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
