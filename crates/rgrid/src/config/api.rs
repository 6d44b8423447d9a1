//! What `rgrid api` is told.

use rgrid_store::StoreConfig;

use super::{ConfigError, Settings, store};

/// The settings of `rgrid api`.
#[derive(Debug)]
pub(crate) struct ApiConfig {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) public_url: Option<String>,
    pub(crate) store: StoreConfig,
}

impl ApiConfig {
    /// # Errors
    /// When a setting is missing or cannot be read.
    pub(crate) fn of(settings: &mut Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            host: settings.required("api.host")?.to_owned(),
            port: settings.with_default("api.port", |text| text.parse::<u16>())?,
            public_url: settings.parsed("api.public_url", public_url)?,
            store: store::store(settings, "rgrid api")?,
        })
    }
}

fn public_url(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('/');
    match text.starts_with("https://") || text.starts_with("http://") {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} does not start with https:// or http://")),
    }
}
