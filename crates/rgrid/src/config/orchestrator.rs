//! What `rgrid orchestrator` is told, the switch that lets it spend money before all.

use rgrid_store::StoreConfig;

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
    pub(crate) store: StoreConfig,
}

impl OrchestratorConfig {
    /// # Errors
    /// When a setting is missing or cannot be read.
    pub(crate) fn of(settings: &mut Settings) -> Result<Self, ConfigError> {
        let spending = spending(settings);
        let config = Self {
            spending,
            workers_max: settings.with_default("orchestrator.max_workers", |text| text.parse::<u32>())?,
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
