//! What `rgrid api` is told.

use std::collections::BTreeMap;

use rgrid_core::runtime::{ImageName, Images, SandboxKind};
use rgrid_store::StoreConfig;

use super::{ConfigError, Settings, store};

/// The settings of `rgrid api`.
#[derive(Debug)]
pub(crate) struct ApiConfig {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) public_url: Option<String>,
    pub(crate) images: Images,
    pub(crate) sandbox: SandboxKind,
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
            images: settings.parsed("sandbox.images", images)?.unwrap_or(Images::Listed(BTreeMap::new())),
            sandbox: settings.with_default("sandbox.kind", str::parse::<SandboxKind>)?,
            store: store::store(settings, "rgrid api")?,
        })
    }
}

/// `SHORT=IMAGE`, with commas between.
pub(super) fn images(text: &str) -> Result<Images, String> {
    let mut listed = BTreeMap::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (short, image) = entry.split_once('=').ok_or_else(|| format!("{entry:?} is not SHORT=IMAGE"))?;
        let read = |text: &str| text.trim().parse::<ImageName>().map_err(|error| error.to_string());
        listed.insert(read(short)?.to_string(), read(image)?);
    }
    Ok(Images::Listed(listed))
}

pub(super) fn public_url(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('/');
    match text.starts_with("https://") || text.starts_with("http://") {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} does not start with https:// or http://")),
    }
}
