//! Settings in layers: the commented defaults in the binary, then a file, then the environment, then flags. Every
//! setting is named once, in [`SETTINGS`]; what a role makes of them is in the file with the role's name.

mod api;
mod embedded;
mod orchestrator;
mod runner;
mod store;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub(crate) use self::api::ApiConfig;
pub(crate) use self::embedded::{EmbeddedConfig, SandboxWish};
pub(crate) use self::orchestrator::{HetznerConfig, OrchestratorConfig, Spending};
pub(crate) use self::runner::RunnerConfig;
pub(crate) use self::store::store as store_of;

/// The defaults, as an operator may copy them.
pub(crate) const DEFAULTS: &str = include_str!("rgrid.default.toml");
/// Names the settings file when no flag does.
pub(crate) const FILE_VARIABLE: &str = "RGRID_CONFIG";

/// A setting's places in the layers.
#[derive(Debug)]
struct Setting {
    /// In a file: table and name.
    key: &'static str,
    /// In the environment.
    variable: &'static str,
    /// Never printed.
    secret: bool,
}

const fn open(key: &'static str, variable: &'static str) -> Setting {
    Setting { key, variable, secret: false }
}

const fn secret(key: &'static str, variable: &'static str) -> Setting {
    Setting { key, variable, secret: true }
}

const SETTINGS: &[Setting] = &[
    secret("database.url", "DATABASE_URL"),
    open("database.connections", "DATABASE_CONNECTIONS"),
    open("api.host", "API_HOST"),
    open("api.port", "API_PORT"),
    open("api.public_url", "RGRID_PUBLIC_URL"),
    open("api.allowed_origins", "ALLOWED_ORIGINS"),
    open("sandbox.kind", "RGRID_SANDBOX"),
    open("sandbox.images", "RGRID_IMAGES"),
    open("objects.folder", "RGRID_OBJECTS_FOLDER"),
    open("objects.endpoint", "MINIO_ENDPOINT"),
    open("objects.public_endpoint", "MINIO_PUBLIC_ENDPOINT"),
    secret("objects.access_key", "MINIO_ACCESS_KEY"),
    secret("objects.secret_key", "MINIO_SECRET_KEY"),
    open("objects.bucket", "MINIO_BUCKET_NAME"),
    open("objects.use_ssl", "MINIO_USE_SSL"),
    open("objects.region", "MINIO_REGION"),
    open("vault.key_file", "RGRID_VAULT_KEY_FILE"),
    open("orchestrator.enabled", "ORCHESTRATOR_ENABLED"),
    open("orchestrator.max_workers", "RGRID_MAX_WORKERS"),
    open("orchestrator.patience", "RGRID_PATIENCE"),
    open("orchestrator.spend_per_hour", "RGRID_SPEND_PER_HOUR"),
    open("orchestrator.spend_per_month", "RGRID_SPEND_PER_MONTH"),
    secret("hetzner.api_token", "HETZNER_API_TOKEN"),
    open("hetzner.endpoint", "HCLOUD_ENDPOINT"),
    open("hetzner.server_types", "RGRID_SERVER_TYPES"),
    open("hetzner.locations", "RGRID_LOCATIONS"),
    open("hetzner.image", "RGRID_SERVER_IMAGE"),
    open("hetzner.public_ipv4", "RGRID_PUBLIC_IPV4"),
    open("hetzner.public_ipv6", "RGRID_PUBLIC_IPV6"),
    open("hetzner.ssh_keys", "RGRID_SSH_KEYS"),
    open("hetzner.ssh_key_path", "HETZNER_SSH_KEY_PATH"),
    open("hetzner.network_id", "RGRID_NETWORK_ID"),
    open("ray.head_address", "RAY_HEAD_ADDRESS"),
    open("retention.artifact_days", "ARTIFACT_RETENTION_DAYS"),
    open("runner.api_url", "RGRID_API_URL"),
    open("runner.join_token_file", "RGRID_JOIN_TOKEN_FILE"),
    open("runner.data_folder", "RGRID_RUNNER_FOLDER"),
    open("runner.slots", "RGRID_SLOTS"),
    open("runner.allow_private_addresses", "RGRID_ALLOW_PRIVATE_ADDRESSES"),
    open("runner.docker_socket", "RGRID_DOCKER_SOCKET"),
    open("log.level", "LOG_LEVEL"),
    open("log.format", "LOG_FORMAT"),
    open("embedded.sandbox", "RGRID_EMBEDDED_SANDBOX"),
    open("embedded.idle", "RGRID_EMBEDDED_IDLE"),
    open("embedded.store_bytes", "RGRID_EMBEDDED_STORE_BYTES"),
    open("embedded.store_percent", "RGRID_EMBEDDED_STORE_PERCENT"),
];

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Default,
    File(PathBuf),
    Environment(&'static str),
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(variable) => f.write_str(variable),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

#[derive(Debug, Clone)]
struct Value {
    text: String,
    source: Source,
}

/// A value that a flag gives.
#[derive(Debug, Clone)]
pub(crate) struct Flag {
    pub(crate) key: &'static str,
    pub(crate) flag: &'static str,
    pub(crate) text: String,
}

/// Why a role cannot be configured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("the settings file {path:?} cannot be read")]
    File { path: PathBuf, source: std::io::Error },
    /// Without the line's words: it may hold a secret.
    #[error("the settings file {path:?} is not TOML: line {line}: {reason}")]
    Toml { path: PathBuf, line: usize, reason: String },
    #[error("the settings file {path:?} names `{key}`, which is no setting")]
    Unknown { path: PathBuf, key: String },
    #[error("{key} (from {from}) {reason}")]
    Invalid { key: &'static str, from: String, reason: String },
    #[error("{key} has no value: set {variable}, or {key} in a settings file")]
    Missing { key: &'static str, variable: &'static str },
}

/// All settings, from all layers.
#[derive(Debug)]
pub(crate) struct Settings {
    values: BTreeMap<&'static str, Value>,
    warnings: Vec<String>,
}

impl Settings {
    /// Reads the layers of this process. `file` goes before `RGRID_CONFIG`.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub(crate) fn load(file: Option<&Path>, flags: Vec<Flag>) -> Result<Self, ConfigError> {
        let from_variable = std::env::var_os(FILE_VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from);
        let file = match file.map(Path::to_owned).or(from_variable) {
            Some(path) => match std::fs::read_to_string(&path) {
                Ok(content) => Some((path, content)),
                Err(source) => return Err(ConfigError::File { path, source }),
            },
            None => None,
        };
        Self::of_layers(file, |variable| std::env::var(variable).ok(), flags)
    }

    pub(crate) fn of_layers(
        file: Option<(PathBuf, String)>,
        environment: impl Fn(&str) -> Option<String>,
        flags: Vec<Flag>,
    ) -> Result<Self, ConfigError> {
        let mut settings = Self { values: BTreeMap::new(), warnings: Vec::new() };
        settings.read_toml(Path::new("rgrid.default.toml"), DEFAULTS, &Source::Default)?;
        if let Some((path, content)) = file {
            settings.read_toml(&path, &content, &Source::File(path.clone()))?;
        }
        for setting in SETTINGS {
            let Some(text) = environment(setting.variable) else { continue };
            let (text, comment) = cut_comment(&text);
            if let Some(comment) = comment {
                settings.warnings.push(format!(
                    "{}: the comment {comment:?} after the value was cut off",
                    setting.variable
                ));
            }
            if !text.is_empty() {
                let source = Source::Environment(setting.variable);
                settings.values.insert(setting.key, Value { text: text.to_owned(), source });
            }
        }
        for flag in flags {
            settings.values.insert(flag.key, Value { text: flag.text, source: Source::Flag(flag.flag) });
        }
        Ok(settings)
    }

    fn read_toml(&mut self, path: &Path, content: &str, source: &Source) -> Result<(), ConfigError> {
        let tables: toml::Table = content.parse().map_err(|error| not_toml(path, content, &error))?;
        for (table, values) in tables {
            let unknown = |key: String| ConfigError::Unknown { path: path.to_owned(), key };
            let values = values.as_table().cloned().ok_or_else(|| unknown(table.clone()))?;
            for (name, value) in values {
                let key = format!("{table}.{name}");
                let setting = SETTINGS.iter().find(|s| s.key == key);
                let (Some(setting), Some(text)) = (setting, toml_text(&value)) else {
                    return Err(unknown(key));
                };
                self.values.insert(setting.key, Value { text, source: source.clone() });
            }
        }
        Ok(())
    }

    /// What the operator should know about the settings, one sentence each.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn warn(&mut self, sentence: impl Into<String>) {
        self.warnings.push(sentence.into());
    }

    /// The value of a setting, if it has one.
    pub(crate) fn text(&self, key: &'static str) -> Option<&str> {
        debug_assert!(SETTINGS.iter().any(|s| s.key == key), "{key} stands in SETTINGS");
        self.values.get(key).map(|value| value.text.as_str()).filter(|text| !text.is_empty())
    }

    fn required(&self, key: &'static str) -> Result<&str, ConfigError> {
        let variable = SETTINGS.iter().find(|s| s.key == key).map_or("", |s| s.variable);
        self.text(key).ok_or(ConfigError::Missing { key, variable })
    }

    /// The value of a setting as `read` understands it. A value that it refuses is named, unless it is a secret.
    fn parsed<T, E: fmt::Display>(
        &self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, ConfigError> {
        self.text(key).map(read).transpose().map_err(|reason| self.invalid(key, reason))
    }

    /// The same for a setting that has a default.
    fn with_default<T, E: fmt::Display>(
        &self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ConfigError> {
        read(self.required(key)?).map_err(|reason| self.invalid(key, reason))
    }

    fn invalid(&self, key: &'static str, reason: impl fmt::Display) -> ConfigError {
        let is_secret = SETTINGS.iter().any(|s| s.key == key && s.secret);
        let from = self.values.get(key).map_or_else(String::new, |value| value.source.to_string());
        let reason = match is_secret {
            true => "cannot be read".to_owned(),
            false => format!("cannot be read: {reason}"),
        };
        ConfigError::Invalid { key, from, reason }
    }
}

/// Every setting with its value and where it comes from; secrets only as set or not.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for setting in SETTINGS {
            match self.values.get(setting.key) {
                Some(value) if setting.secret => {
                    writeln!(f, "{} = (secret)  # {}", setting.key, value.source)?
                }
                Some(value) => writeln!(f, "{} = {:?}  # {}", setting.key, value.text, value.source)?,
                None => writeln!(f, "{} is not set  # {}", setting.key, setting.variable)?,
            }
        }
        Ok(())
    }
}

fn not_toml(path: &Path, content: &str, error: &toml::de::Error) -> ConfigError {
    let before = error.span().and_then(|span| content.get(..span.start)).unwrap_or_default();
    ConfigError::Toml {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        reason: error.message().to_owned(),
    }
}

/// A value as the environment would have it; a table is none.
fn toml_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(switch) => Some(switch.to_string()),
        toml::Value::Datetime(moment) => Some(moment.to_string()),
        toml::Value::Array(items) => Some(items.iter().map(toml_text).collect::<Option<Vec<_>>>()?.join(",")),
        toml::Value::Table(_) => None,
    }
}

/// systemd leaves a trailing comment of an EnvironmentFile in the value. A `#` within a word (a password, an
/// anchor) is none.
fn cut_comment(text: &str) -> (&str, Option<&str>) {
    let text = text.trim();
    let starts_comment =
        |(at, _): &(usize, &str)| *at == 0 || text[..*at].ends_with(|before: char| before.is_whitespace());
    match text.match_indices('#').find(starts_comment) {
        Some((at, _)) => (text[..at].trim_end(), Some(&text[at..])),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(
        file: Option<&str>,
        environment: &[(&str, &str)],
        flags: &[(&'static str, &str)],
    ) -> Settings {
        let file = file.map(|content| (PathBuf::from("/etc/rgrid.toml"), content.to_owned()));
        let environment: BTreeMap<String, String> =
            environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let flags =
            flags.iter().map(|(key, text)| Flag { key, flag: "--port", text: (*text).to_owned() }).collect();
        Settings::of_layers(file, |variable| environment.get(variable).cloned(), flags).unwrap()
    }

    #[test]
    fn every_setting_of_the_defaults_is_known_and_every_variable_stands_beside_one() {
        let shown = settings(None, &[], &[]).to_string();
        for setting in SETTINGS {
            assert!(
                DEFAULTS.contains(&format!("# {}", setting.variable)),
                "{} is not documented",
                setting.variable
            );
            assert!(shown.contains(setting.key));
        }
    }

    #[test]
    fn a_grid_and_a_persons_own_machine_have_the_same_image_for_a_python() {
        use rgrid_core::runtime::{Images, PYTHON_MINOR, Python};
        let shipped = settings(None, &[], &[]).parsed("sandbox.images", api::images).unwrap().unwrap();
        for python in PYTHON_MINOR.filter_map(Python::new) {
            assert_eq!(shipped.of_python(python), Images::Own.of_python(python));
        }
    }

    #[test]
    fn what_isolates_scripts_on_ones_own_machine_is_one_of_three_words() {
        let wish = |text: &str| {
            let settings = settings(None, &[("RGRID_EMBEDDED_SANDBOX", text)], &[]);
            EmbeddedConfig::of(&settings).map(|config| config.sandbox).map_err(|error| error.to_string())
        };
        assert_eq!(wish(""), Ok(SandboxWish::Auto));
        assert_eq!(wish("docker"), Ok(SandboxWish::Only(rgrid_core::runtime::SandboxKind::Docker)));
        insta::assert_snapshot!(wish("podman").unwrap_err(), @r#"embedded.sandbox (from RGRID_EMBEDDED_SANDBOX) cannot be read: "podman" is none of auto, process and docker"#);
    }

    #[test]
    fn a_flag_goes_before_the_environment_before_the_file_before_the_default() {
        let port = |s: &Settings| {
            let value = &s.values["api.port"];
            format!("{} from {}", value.text, value.source)
        };
        let file = Some("[api]\nport = 1\n");
        insta::assert_snapshot!(port(&settings(None, &[], &[])), @"8001 from default");
        insta::assert_snapshot!(port(&settings(file, &[], &[])), @"1 from /etc/rgrid.toml");
        insta::assert_snapshot!(port(&settings(file, &[("API_PORT", "2")], &[])), @"2 from API_PORT");
        insta::assert_snapshot!(port(&settings(file, &[("API_PORT", "2")], &[("api.port", "3")])), @"3 from --port");
        // An empty variable says nothing, as with docker and systemd.
        insta::assert_snapshot!(port(&settings(file, &[("API_PORT", "")], &[])), @"1 from /etc/rgrid.toml");
    }

    #[test]
    fn a_setting_that_is_none_is_refused_by_name() {
        let file = (PathBuf::from("/etc/rgrid.toml"), "[api]\nprot = 1\n".to_owned());
        let error = Settings::of_layers(Some(file), |_| None, Vec::new()).unwrap_err();
        insta::assert_snapshot!(error, @r#"the settings file "/etc/rgrid.toml" names `api.prot`, which is no setting"#);
    }

    #[test]
    fn a_file_that_is_not_toml_is_refused_by_line_and_without_the_secret_in_it() {
        let file = (PathBuf::from("/etc/rgrid.toml"), "[hetzner]\napi_token = \"word\n".to_owned());
        let error = anyhow::Error::from(Settings::of_layers(Some(file), |_| None, Vec::new()).unwrap_err());
        let told = format!("{error:#} {error:?}");
        assert!(told.contains("line 2") && !told.contains("word"), "{told}");
    }

    #[test]
    fn comments_are_cut_and_hashes_in_words_are_not() {
        assert_eq!(
            cut_comment("false  # Set to true when ready"),
            ("false", Some("# Set to true when ready"))
        );
        assert_eq!(cut_comment("p#ssw#rd"), ("p#ssw#rd", None));
        assert_eq!(cut_comment("# nothing yet"), ("", Some("# nothing yet")));
    }

    /// `.env.staging` of the deployment that must work, line by line, as systemd hands it over.
    #[test]
    fn the_staging_settings_are_read_as_they_stand() {
        let mut staging = settings(
            None,
            &[
                ("DATABASE_URL", "postgresql+asyncpg://rgrid_staging:pw@localhost:5433/rgrid_staging"),
                ("HETZNER_API_TOKEN", "placeholder_token_not_used_yet  # Needs real token"),
                ("HETZNER_SSH_KEY_PATH", "/home/deploy/.ssh/rgrid_worker_key"),
                ("ORCHESTRATOR_ENABLED", "false  # Set to true when ready"),
                ("MINIO_ENDPOINT", "localhost:9091"),
                ("MINIO_ACCESS_KEY", "user"),
                ("MINIO_SECRET_KEY", "word"),
                ("RGRID_OBJECTS_FOLDER", "/srv/objects"),
                ("RAY_HEAD_ADDRESS", "10.0.0.2:6380"),
            ],
            &[],
        );
        let orchestrator = OrchestratorConfig::of(&mut staging).unwrap();
        assert_eq!(orchestrator.spending, Spending::Off);
        assert_eq!(
            orchestrator.store.database_url,
            "postgresql://rgrid_staging:pw@localhost:5433/rgrid_staging"
        );
        let expected = [
            r##"HETZNER_API_TOKEN: the comment "# Needs real token" after the value was cut off"##,
            r##"ORCHESTRATOR_ENABLED: the comment "# Set to true when ready" after the value was cut off"##,
            "MINIO_ENDPOINT is set and not used: RGRID_OBJECTS_FOLDER names a folder as the object store",
            "RAY_HEAD_ADDRESS is set: Ray engine not in this version",
            "HETZNER_API_TOKEN is a placeholder: the provider will refuse it",
        ];
        let mut warnings = staging.warnings().to_vec();
        warnings.sort_by_key(|warning| expected.iter().position(|e| e == warning));
        assert_eq!(warnings, expected);
        assert!(!staging.to_string().contains("\"word\"") && !staging.to_string().contains("placeholder"));
    }

    #[test]
    fn the_minio_settings_name_an_s3_server() {
        let minio = |more: &[(&str, &str)]| {
            let mut environment = vec![
                ("DATABASE_URL", "postgres://x/y"),
                ("RGRID_VAULT_KEY_FILE", "/etc/key"),
                ("MINIO_ENDPOINT", "localhost:9001"),
                ("MINIO_ACCESS_KEY", "user"),
            ];
            environment.extend(more);
            let mut settings = settings(None, &environment, &[]);
            store_of(&mut settings, "test").map(|store| format!("{:?}", store.objects))
        };
        let secret = ("MINIO_SECRET_KEY", "word");
        insta::assert_snapshot!(minio(&[secret]).unwrap(), @r#"S3(S3Config { endpoint: "http://localhost:9001", public_endpoint: None, bucket: "rgrid", region: "us-east-1", .. })"#);
        let public = ("MINIO_PUBLIC_ENDPOINT", "s3.example.com");
        insta::assert_snapshot!(minio(&[secret, public, ("MINIO_USE_SSL", "True")]).unwrap(), @r#"S3(S3Config { endpoint: "https://localhost:9001", public_endpoint: Some("https://s3.example.com"), bucket: "rgrid", region: "us-east-1", .. })"#);
        insta::assert_snapshot!(minio(&[]).unwrap_err(), @"objects.secret_key has no value: set MINIO_SECRET_KEY, or objects.secret_key in a settings file");
        insta::assert_snapshot!(minio(&[secret, ("MINIO_USE_SSL", "maybe")]).unwrap_err(), @r#"objects.use_ssl (from MINIO_USE_SSL) cannot be read: "maybe" is neither true nor false"#);
    }

    #[test]
    fn money_is_spent_only_on_an_exact_yes() {
        let spending = |text: &str| {
            let mut settings =
                settings(None, &[("DATABASE_URL", "postgres://x/y"), ("ORCHESTRATOR_ENABLED", text)], &[]);
            OrchestratorConfig::of(&mut settings).unwrap().spending
        };
        for yes in ["true", "1", "yes", "on", "true # now"] {
            assert_eq!(spending(yes), Spending::On, "{yes}");
        }
        for no in ["false", "", "True", "TRUE", "enabled", "2", "y", "# true", "true#"] {
            assert_eq!(spending(no), Spending::Off, "{no}");
        }
    }
}
