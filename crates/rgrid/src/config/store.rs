//! Where everything lies: the part of the settings that `api`, `orchestrator`, `migrate` and `admin` share.

use std::path::PathBuf;

use rgrid_store::StoreConfig;
use rgrid_store::objects::ObjectsConfig;
use rgrid_store::objects::s3::S3Config;

use super::{ConfigError, Settings};
use crate::embedded::home::Home;

/// Where systemd hands over the vault's key, when the operator keeps it as a credential of this name.
const CREDENTIAL: &str = "rgrid-vault-key";

/// The store's configuration for the role `application_name`.
pub(crate) fn store(settings: &mut Settings, application_name: &str) -> Result<StoreConfig, ConfigError> {
    Ok(StoreConfig {
        database_url: plain_scheme(settings.required("database.url")?),
        objects: objects(settings)?,
        vault_key_file: vault_key_file(settings)?,
        max_connections: settings.with_default("database.connections", |text| text.parse::<u32>())?,
        application_name: application_name.to_owned(),
    })
}

/// `postgresql+asyncpg://` and its like name a Python driver besides the protocol.
fn plain_scheme(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{}://{rest}", scheme.split('+').next().unwrap_or(scheme)),
        None => url.to_owned(),
    }
}

fn objects(settings: &mut Settings) -> Result<ObjectsConfig, ConfigError> {
    let folder = settings.text("objects.folder").map(PathBuf::from);
    let has_endpoint = settings.text("objects.endpoint").is_some();
    match (folder, has_endpoint) {
        (Some(folder), false) => Ok(ObjectsConfig::Folder(folder)),
        (Some(folder), true) => {
            settings.warn(
                "MINIO_ENDPOINT is set and not used: RGRID_OBJECTS_FOLDER names a folder as the object store",
            );
            Ok(ObjectsConfig::Folder(folder))
        }
        (None, true) => s3(settings).map(ObjectsConfig::S3),
        (None, false) => in_home("objects.folder", "RGRID_OBJECTS_FOLDER", |home| home.objects())
            .map(ObjectsConfig::Folder),
    }
}

fn s3(settings: &Settings) -> Result<S3Config, ConfigError> {
    let ssl = settings.with_default("objects.use_ssl", switch)?;
    Ok(S3Config {
        endpoint: settings.with_default("objects.endpoint", |text| server(text, ssl))?,
        public_endpoint: settings.parsed("objects.public_endpoint", |text| server(text, ssl))?,
        bucket: settings.required("objects.bucket")?.to_owned(),
        region: settings.required("objects.region")?.to_owned(),
        access_key: settings.required("objects.access_key")?.to_owned(),
        secret_key: settings.required("objects.secret_key")?.to_owned(),
    })
}

/// A server's address with its scheme. It has no path: what is signed is the path that the server sees.
fn server(text: &str, ssl: bool) -> Result<String, String> {
    let (scheme, host) = match text.split_once("://") {
        Some((scheme @ ("http" | "https"), host)) => (scheme, host),
        Some(_) => return Err(format!("{text:?} does not start with https:// or http://")),
        None => (if ssl { "https" } else { "http" }, text),
    };
    let host = host.trim_end_matches('/');
    match host.is_empty() || host.contains(['/', '?', '#', '@']) {
        true => Err(format!("{text:?} is not a host with a port")),
        false => Ok(format!("{scheme}://{host}")),
    }
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

fn vault_key_file(settings: &Settings) -> Result<PathBuf, ConfigError> {
    if let Some(file) = settings.text("vault.key_file") {
        return Ok(PathBuf::from(file));
    }
    let credential =
        std::env::var_os("CREDENTIALS_DIRECTORY").map(|folder| PathBuf::from(folder).join(CREDENTIAL));
    match credential.filter(|file| file.exists()) {
        Some(file) => Ok(file),
        None => in_home("vault.key_file", "RGRID_VAULT_KEY_FILE", |home| home.vault_key()),
    }
}

fn in_home(
    key: &'static str,
    variable: &'static str,
    place: impl FnOnce(&Home) -> PathBuf,
) -> Result<PathBuf, ConfigError> {
    Home::locate().map(|home| place(&home)).map_err(|_| ConfigError::Missing { key, variable })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_python_driver_in_the_scheme_is_cut() {
        assert_eq!(plain_scheme("postgresql+asyncpg://u:p+w@h/d"), "postgresql://u:p+w@h/d");
        assert_eq!(plain_scheme("postgres://h/d"), "postgres://h/d");
    }

    #[test]
    fn a_server_has_a_scheme_and_no_path() {
        assert_eq!(server("localhost:9001", false).as_deref(), Ok("http://localhost:9001"));
        assert_eq!(server("s3.example.com", true).as_deref(), Ok("https://s3.example.com"));
        assert_eq!(server("https://s3.example.com/", false).as_deref(), Ok("https://s3.example.com"));
        for refused in ["", "ftp://x", "http://", "localhost:9001/minio", "http://u:p@x"] {
            assert!(server(refused, false).is_err(), "{refused}");
        }
    }
}
