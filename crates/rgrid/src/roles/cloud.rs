//! `rgrid cloud`: what is billed and whose it is, and an end to all spending. On the grid's own host, because it needs the
//! database and the provider's token.

use std::process::ExitCode;

use anyhow::Context as _;
use rgrid_core::money::paid_until;
use rgrid_orchestrator::cloud::Cloud as _;
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

/// Every billed server of this grid and its owner. False when one has none.
async fn audit(store: &Store, hetzner: &HetznerConfig) -> anyhow::Result<bool> {
    let provider = super::orchestrator::provider(hetzner, store, String::new(), None).await?;
    let listing = provider.list(&[]).await?;
    let rows = store.servers().await?;
    let now = provider.now();
    let mut owned = true;
    for listed in &listing.servers {
        let row = rows.iter().find(|row| row.intent == listed.intent && !row.ended);
        let owner = match row.and_then(|row| row.worker) {
            Some(worker) => worker.to_string(),
            None => {
                owned = false;
                "nobody".to_owned()
            }
        };
        let price = row.map_or_else(|| "unknown".to_owned(), |row| format!("{} an hour", row.price.hour()));
        super::print(&format!(
            "{}  {}  paid until {}  {price}  owned by {owner}",
            listed.server.id,
            listed.name,
            paid_until(listed.server.created, now).format("%F %H:%M:%S"),
        ))?;
    }
    let shown =
        |id: &Option<String>| listing.servers.iter().any(|listed| Some(&listed.server.id) == id.as_ref());
    for row in rows.iter().filter(|row| row.server.is_some() && !shown(&row.server)) {
        super::note(&format!(
            "not at the provider any more: {} {}",
            row.name,
            row.server.as_deref().unwrap_or("")
        ));
    }
    super::note(&format!("{} servers of this grid at the provider", listing.servers.len()));
    Ok(owned)
}
