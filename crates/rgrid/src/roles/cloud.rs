//! `rgrid cloud`: what is billed and whose it is, and an end to all spending. On the grid's own host, because it needs the
//! database and the provider's token.

use std::process::ExitCode;

use anyhow::Context as _;
use rgrid_store::Store;

use crate::command_line::{CloudArgs, CloudCommand};
use crate::config::{HetznerConfig, Settings, store_of};

pub(crate) fn run(args: &CloudArgs) -> ExitCode {
    let outcome = std::cell::Cell::new(true);
    let done = super::once(async {
        outcome.set(carry_out(args).await?);
        Ok(())
    });
    if outcome.get() { done } else { ExitCode::FAILURE }
}

/// False when something is not as it should be.
async fn carry_out(args: &CloudArgs) -> anyhow::Result<bool> {
    let mut settings = Settings::load(args.service.config.as_deref(), Vec::new())?;
    let hetzner = HetznerConfig::of(&settings)?;
    let store = Store::connect(&store_of(&mut settings, "rgrid cloud")?)
        .await
        .context("the store cannot be opened")?;
    let missing = store.migrations_missing().await?;
    anyhow::ensure!(missing.is_empty(), rgrid_store::Error::MigrationsMissing { missing });
    match args.command {
        CloudCommand::Stop => {
            store.stop_spending(true).await?;
            super::note(
                "stopped: nothing is bought any more; idle servers go now, busy ones when their work is done. \
                 `rgrid cloud resume` allows it again",
            );
            Ok(true)
        }
        CloudCommand::Resume => {
            store.stop_spending(false).await?;
            super::note("allowed: servers are bought again, if ORCHESTRATOR_ENABLED is on");
            Ok(true)
        }
        CloudCommand::Audit => {
            let hetzner = hetzner.context("HETZNER_API_TOKEN is not set: there is no provider to ask")?;
            audit(&store, &hetzner).await
        }
    }
}

/// Everything that is billed to this grid, and its owner. False when something has none.
async fn audit(store: &Store, hetzner: &HetznerConfig) -> anyhow::Result<bool> {
    let provider = super::orchestrator::provider(hetzner, store, String::new(), None).await?;
    let audit = rgrid_orchestrator::audit::audit(store, &provider).await?;
    for billed in &audit.billed {
        let price = billed.hour.map_or_else(|| "unknown".to_owned(), |hour| format!("{hour} an hour"));
        super::print(&format!(
            "{}  {}  {}  paid until {}  {price}  {}",
            billed.item,
            billed.id,
            billed.name,
            billed.paid_until.format("%F %H:%M:%S"),
            billed.owner,
        ))?;
    }
    for (name, server) in &audit.not_shown {
        super::note(&format!("not at the provider any more: {name} {server}"));
    }
    let count = |item| audit.billed.iter().filter(|billed| billed.item == item).count();
    let (servers, addresses) = (count("server"), count("ipv4"));
    super::note(&format!("at the provider: {servers} servers of this grid, {addresses} IPv4 addresses"));
    if !audit.is_owned() {
        super::note("what nobody owns is billed until it is deleted; a label on an address says whose it is");
    }
    Ok(audit.is_owned())
}
