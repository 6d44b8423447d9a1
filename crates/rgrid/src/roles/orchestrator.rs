//! `rgrid orchestrator`: keeps the fleet right. Any number may run; one leads.
//!
//! With a token of a provider it buys servers, if the switch says so; without one it looks after workers that joined by
//! themselves.

use std::process::ExitCode;

use anyhow::Context as _;
use rgrid_core::fleet::{Backing, FleetPolicy};
use rgrid_core::limits;
use rgrid_core::runtime::Images;
use rgrid_core::worker::Capacity;
use rgrid_orchestrator::cloud::Cloud;
use rgrid_orchestrator::cloud::hetzner::{self, Boot, Hetzner};
use rgrid_orchestrator::cloud::local::{Local, RunnerCommand};
use rgrid_orchestrator::{Period, Spending};
use rgrid_store::Store;
use sha2::Digest as _;
use tokio_util::sync::CancellationToken;

use crate::command_line::ServiceArgs;
use crate::config::{self, HetznerConfig, OrchestratorConfig};

pub(crate) fn run(args: &ServiceArgs) -> ExitCode {
    super::serve(args, Vec::new(), |settings| Ok(OrchestratorConfig::of(settings)?), serve)
}

async fn serve(config: OrchestratorConfig, shutdown: CancellationToken) -> anyhow::Result<()> {
    let spending = spending(&config);
    match &spending {
        Spending::On => tracing::warn!(workers_max = config.workers_max, "servers will be bought"),
        Spending::Off(why) => tracing::info!(why, "no server will be bought"),
    }
    let store = Store::connect(&config.store).await.context("the store cannot be opened")?;
    match &config.hetzner {
        Some(hetzner) => {
            let api_url = config.public_url.clone().unwrap_or_default();
            let cloud = provider(hetzner, &store, api_url, public_key(hetzner).await).await?;
            keep(&config, spending, &store, cloud, Backing::Server, shutdown).await?;
        }
        None => {
            // It is never asked to start one, because the policy allows no worker.
            let none =
                RunnerCommand { program: "/nonexistent".into(), args: Vec::new(), environment: Vec::new() };
            keep(&config, spending, &store, Local::new(none), Backing::Static, shutdown).await?;
        }
    }
    store.close().await;
    Ok(())
}

async fn keep<C: Cloud>(
    config: &OrchestratorConfig,
    spending: Spending,
    store: &Store,
    cloud: C,
    backing: Backing,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let fleet = rgrid_orchestrator::Config {
        holder: holder(),
        policy: policy(config, backing),
        retire: CancellationToken::new(),
        spending,
        period: Period::default(),
    };
    Ok(rgrid_orchestrator::run(fleet, store.clone(), cloud, shutdown).await?)
}

/// Whether money may be spent, and if not, why not.
fn spending(config: &OrchestratorConfig) -> Spending {
    let off = |why: &str| Spending::Off(why.to_owned());
    match (config.spending, &config.hetzner, &config.public_url) {
        (config::Spending::Off, _, _) => off("ORCHESTRATOR_ENABLED is not on"),
        (config::Spending::On, None, _) => off("HETZNER_API_TOKEN is not set"),
        (config::Spending::On, Some(_), None) => {
            off("RGRID_PUBLIC_URL is not set, so that no server could reach this grid")
        }
        (config::Spending::On, Some(hetzner), _)
            if !hetzner.ipv4 && !hetzner.ipv6 && hetzner.network.is_none() =>
        {
            off(
                "RGRID_PUBLIC_IPV4 and RGRID_PUBLIC_IPV6 are off, and RGRID_NETWORK_ID is not set: a server needs an address",
            )
        }
        (config::Spending::On, Some(_), Some(_)) => Spending::On,
    }
}

/// The public half of the operator's key pair, if one is named and can be had: work does not wait for it.
async fn public_key(config: &HetznerConfig) -> Option<String> {
    let path = config.ssh_key_path.clone()?;
    let asked = path.clone();
    let read = tokio::task::spawn_blocking(move || super::ssh_key::public_half(&asked)).await;
    match read.map_err(anyhow::Error::from).and_then(|public| public) {
        Ok(public) => Some(public),
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(path = %path.display(), error, "HETZNER_SSH_KEY_PATH: servers get no key of yours");
            None
        }
    }
}

/// The provider of servers.
pub(super) async fn provider(
    config: &HetznerConfig,
    store: &Store,
    api_url: String,
    ssh_public_key: Option<String>,
) -> anyhow::Result<Hetzner> {
    let program = tokio::task::spawn_blocking(|| std::fs::read("/proc/self/exe"));
    let program = program.await?.context("this program cannot read itself")?;
    let digest = rgrid_core::submission::Sha256(sha2::Sha256::digest(&program).into());
    drop(program);
    Ok(Hetzner::new(hetzner::Config {
        endpoint: config.endpoint.clone(),
        token: config.token.clone(),
        grid: store.grid_id().await?,
        epoch: store.grid_state().await?.epoch,
        image: config.image.clone(),
        ipv4: config.ipv4,
        ipv6: config.ipv6,
        network: config.network,
        ssh_keys: config.ssh_keys.clone(),
        ssh_public_key,
        boot: Boot {
            api_url,
            binary_sha256: digest.to_string(),
            sandbox: config.sandbox,
            images: match &config.images {
                Images::Listed(listed) => {
                    listed.iter().map(|(short, image)| format!("{short}={image}")).collect()
                }
                Images::Own => Vec::new(),
            },
        },
        probe: hetzner::PROBE,
    })?)
}

/// Host and process, for people who ask who leads.
fn holder() -> String {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    format!("{}:{}", host.as_deref().unwrap_or("unknown-host"), std::process::id())
}

fn policy(config: &OrchestratorConfig, backing: Backing) -> FleetPolicy {
    let nothing = Capacity { cpu_millis: 0, memory_bytes: 0, disk_bytes: 0 };
    FleetPolicy {
        backing,
        workers_max: if backing == Backing::Server { config.workers_max } else { 0 },
        new_worker: nothing,
        new_worker_slots: 1,
        patience: config.patience,
        local_idle: limits::LOCAL_IDLE,
        join_deadline: limits::JOIN_DEADLINE,
        servers: config.servers.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn money_is_spent_only_when_all_that_a_server_needs_is_said() {
        let why = |text: &str| {
            let rest = "[database]\nurl = \"postgres://x/y\"\n[objects]\nfolder = \"/x\"\n[vault]\nkey_file = \"/x\"\n";
            let file = (std::path::PathBuf::from("/x.toml"), format!("{rest}{text}"));
            let mut settings = Settings::of_layers(Some(file), |_| None, Vec::new()).unwrap();
            match spending(&OrchestratorConfig::of(&mut settings).unwrap()) {
                Spending::On => String::new(),
                Spending::Off(why) => why,
            }
        };
        let on = "[orchestrator]\nenabled = true\n";
        let token = "[hetzner]\napi_token = \"x\"\n";
        let url = "[api]\npublic_url = \"https://x\"\n";
        assert_eq!(why(&format!("{url}{token}")), "ORCHESTRATOR_ENABLED is not on");
        assert_eq!(why(&format!("{on}{url}")), "HETZNER_API_TOKEN is not set");
        assert!(why(&format!("{on}{token}")).starts_with("RGRID_PUBLIC_URL is not set"));
        assert_eq!(why(&format!("{on}{url}{token}")), "");
        let nowhere = format!("{on}{url}{token}public_ipv4 = false\npublic_ipv6 = false\n");
        assert!(why(&nowhere).ends_with("a server needs an address"), "{}", why(&nowhere));
        assert_eq!(why(&format!("{nowhere}network_id = 4711\n")), "");
    }
}
