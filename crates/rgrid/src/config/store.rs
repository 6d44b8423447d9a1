//! Where everything lies: the part of the settings that `api`, `orchestrator`, `migrate` and `admin` share.

use std::path::PathBuf;

use rgrid_store::StoreConfig;
use rgrid_store::objects::ObjectsConfig;

use super::{ConfigError, Settings};
use crate::embedded::home::Home;

/// Where systemd hands over the vault's key, when the operator keeps it as a credential of this name.
const CREDENTIAL: &str = "rgrid-vault-key";

/// The store's configuration for the role `application_name`.
pub(crate) fn store(settings: &mut Settings, application_name: &str) -> Result<StoreConfig, ConfigError> {
    Ok(StoreConfig {
        database_url: plain_scheme(settings.required("database.url")?),
        objects: ObjectsConfig::Folder(objects_folder(settings)?),
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

fn objects_folder(settings: &mut Settings) -> Result<PathBuf, ConfigError> {
    let folder = settings.text("objects.folder").map(PathBuf::from);
    let has_endpoint = settings.text("objects.endpoint").is_some();
    match (folder, has_endpoint) {
        (Some(folder), false) => Ok(folder),
        (Some(folder), true) => {
            settings.warn("MINIO_ENDPOINT is set and not used: RGRID_OBJECTS_FOLDER names a folder as the object store");
            Ok(folder)
        }
        (None, true) => Err(ConfigError::Invalid {
            key: "objects.endpoint",
            from: "MINIO_ENDPOINT".to_owned(),
            reason: "names an S3 server, which this version cannot use; set RGRID_OBJECTS_FOLDER to a folder instead"
                .to_owned(),
        }),
        (None, false) => in_home("objects.folder", "RGRID_OBJECTS_FOLDER", |home| home.objects()),
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
}
