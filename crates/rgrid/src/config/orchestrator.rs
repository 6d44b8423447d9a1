//! What `rgrid orchestrator` is told, the switch that lets it spend money before all.

use std::path::PathBuf;
use std::time::Duration;

use rgrid_core::fleet::ServerPolicy;
use rgrid_core::money::{Micros, Price};
use rgrid_core::quantity::parse_duration;
use rgrid_core::runtime::{Images, SandboxKind};
use rgrid_orchestrator::cloud::hetzner::Token;
use rgrid_store::StoreConfig;

use super::api::images;
use super::{ConfigError, Settings, Source, store};

/// Whether anything may be created, changed or deleted at a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spending {
    On,
    /// It observes, plans and logs what it would do.
    Off,
}

/// The settings of `rgrid orchestrator`.
#[derive(Debug)]
pub(crate) struct OrchestratorConfig {
    pub(crate) spending: Spending,
    pub(crate) workers_max: u32,
    pub(crate) patience: Duration,
    pub(crate) servers: ServerPolicy,
    /// Where servers reach the API; without it none is bought.
    pub(crate) public_url: Option<String>,
    /// `None` without a token.
    pub(crate) hetzner: Option<HetznerConfig>,
    pub(crate) store: StoreConfig,
}

/// The provider's part.
#[derive(Debug)]
pub(crate) struct HetznerConfig {
    pub(crate) endpoint: String,
    pub(crate) token: Token,
    pub(crate) image: String,
    pub(crate) ipv4: bool,
    pub(crate) ipv6: bool,
    pub(crate) network: Option<u64>,
    pub(crate) ssh_keys: Vec<String>,
    /// The operator's private key; its public half lies beside it.
    pub(crate) ssh_key_path: Option<PathBuf>,
    /// What isolates scripts on its servers, and the grid's images.
    pub(crate) sandbox: SandboxKind,
    pub(crate) images: Images,
}

impl OrchestratorConfig {
    /// # Errors
    /// When a setting is missing or cannot be read.
    pub(crate) fn of(settings: &mut Settings) -> Result<Self, ConfigError> {
        let spending = spending(settings);
        let config = Self {
            spending,
            workers_max: settings.with_default("orchestrator.max_workers", |text| text.parse::<u32>())?,
            patience: settings.with_default("orchestrator.patience", parse_duration)?,
            servers: ServerPolicy {
                types: list(settings, "hetzner.server_types"),
                locations: list(settings, "hetzner.locations"),
                ipv4: settings.with_default("hetzner.public_ipv4", store::switch)?,
                spend_per_hour_max: settings.parsed("orchestrator.spend_per_hour", euros)?,
                spend_per_month_max: settings.parsed("orchestrator.spend_per_month", euros)?,
                ..ServerPolicy::default()
            },
            public_url: settings.parsed("api.public_url", super::api::public_url)?,
            hetzner: HetznerConfig::of(settings)?,
            store: store::store(settings, "rgrid orchestrator")?,
        };
        if settings.text("ray.head_address").is_some() {
            settings.warn("RAY_HEAD_ADDRESS is set: Ray engine not in this version");
        }
        if settings.text("hetzner.api_token").is_some_and(|token| token.starts_with("placeholder")) {
            settings.warn("HETZNER_API_TOKEN is a placeholder: the provider will refuse it");
        }
        Ok(config)
    }
}

impl HetznerConfig {
    /// # Errors
    /// When a setting cannot be read.
    pub(crate) fn of(settings: &Settings) -> Result<Option<Self>, ConfigError> {
        let Some(token) = settings.text("hetzner.api_token").map(Token::new) else { return Ok(None) };
        Ok(Some(Self {
            endpoint: settings.required("hetzner.endpoint")?.to_owned(),
            token,
            image: settings.required("hetzner.image")?.to_owned(),
            ipv4: settings.with_default("hetzner.public_ipv4", store::switch)?,
            ipv6: settings.with_default("hetzner.public_ipv6", store::switch)?,
            network: settings.parsed("hetzner.network_id", |text| text.parse::<u64>())?,
            ssh_keys: list(settings, "hetzner.ssh_keys"),
            sandbox: settings.with_default("sandbox.kind", str::parse::<SandboxKind>)?,
            images: settings.parsed("sandbox.images", images)?.unwrap_or(Images::Own),
            ssh_key_path: settings.text("hetzner.ssh_key_path").map(PathBuf::from),
        }))
    }
}

fn list(settings: &Settings, key: &'static str) -> Vec<String> {
    let text = settings.text(key).unwrap_or_default();
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn euros(text: &str) -> Result<Micros, String> {
    text.parse::<Price>().map(Price::rounded).map_err(|error| error.to_string())
}

/// Exactly `true`, `1`, `yes` or `on`: a slip of the finger must not buy servers.
fn spending(settings: &mut Settings) -> Spending {
    let text = settings.text("orchestrator.enabled").unwrap_or_default().to_owned();
    match text.as_str() {
        "true" | "1" | "yes" | "on" => Spending::On,
        "" | "false" | "0" | "no" | "off" => Spending::Off,
        _ => {
            let source =
                settings.values.get("orchestrator.enabled").map_or(&Source::Default, |value| &value.source);
            let sentence =
                format!("{source} is {text:?}, which is none of true, 1, yes, on: no server will be bought");
            settings.warn(sentence);
            Spending::Off
        }
    }
}
