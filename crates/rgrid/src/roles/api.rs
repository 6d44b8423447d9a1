//! `rgrid api`: answers HTTP. Any number of replicas.

use std::process::ExitCode;

use anyhow::Context as _;
use rgrid_store::{Error, Store};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::command_line::ApiArgs;
use crate::config::ApiConfig;

pub(crate) fn run(args: &ApiArgs) -> ExitCode {
    super::serve(&args.service, args.flags(), |settings| Ok(ApiConfig::of(settings)?), serve)
}

async fn serve(config: ApiConfig, shutdown: CancellationToken) -> anyhow::Result<()> {
    let store = Store::connect(&config.store).await.context("the store cannot be opened")?;
    let missing = store.migrations_missing().await?;
    if !missing.is_empty() {
        return Err(Error::MigrationsMissing { missing }.into());
    }
    let address = (config.host.as_str(), config.port);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {}:{}", config.host, config.port))?;
    tracing::info!(address = %listener.local_addr()?, "API listening");
    let server =
        rgrid_server::Config { public_url: config.public_url, version: env!("CARGO_PKG_VERSION").to_owned() };
    rgrid_server::run(server, store.clone(), listener, shutdown).await?;
    store.close().await;
    Ok(())
}
