//! What `rgrid runner` is told. It reads no settings of the others: no database, no object store, no cloud.

use std::path::PathBuf;

use rgrid_core::runtime::{Images, SandboxKind};

use super::api::images;
use super::{ConfigError, SandboxWish, Settings};

/// The settings of `rgrid runner`.
#[derive(Debug)]
pub(crate) struct RunnerConfig {
    pub(crate) api_url: String,
    pub(crate) join_token_file: PathBuf,
    pub(crate) data_folder: PathBuf,
    pub(crate) slots: Option<u32>,
    pub(crate) allow_private_addresses: bool,
    pub(crate) docker_socket: PathBuf,
    pub(crate) sandbox: SandboxKind,
    /// On the user's own machine instead of `sandbox`.
    pub(crate) embedded_sandbox: SandboxWish,
    pub(crate) images: Images,
}

impl RunnerConfig {
    /// # Errors
    /// When a setting is missing or cannot be read.
    pub(crate) fn of(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            api_url: settings.required("runner.api_url")?.to_owned(),
            join_token_file: settings.required("runner.join_token_file")?.into(),
            data_folder: settings.required("runner.data_folder")?.into(),
            slots: settings.parsed("runner.slots", |text| text.parse::<u32>())?,
            docker_socket: settings.required("runner.docker_socket")?.into(),
            sandbox: settings.with_default("sandbox.kind", str::parse::<SandboxKind>)?,
            embedded_sandbox: settings.with_default("embedded.sandbox", str::parse::<SandboxWish>)?,
            images: settings.parsed("sandbox.images", images)?.unwrap_or(Images::Own),
            allow_private_addresses: settings
                .with_default("runner.allow_private_addresses", |text| text.parse::<bool>())?,
        })
    }
}
