//! `rgrid api`: answers HTTP. Any number of replicas.

use std::process::ExitCode;

use anyhow::Context as _;
use rgrid_store::{Error, Store};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::command_line::ApiArgs;
use crate::config::ApiConfig;

/// Descriptors that are no callers' connections: the database's, and files on their way.
const DESCRIPTORS_KEPT: usize = 256;

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
    let bounds = bounds();
    let server = rgrid_server::Config {
        public_url: config.public_url,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        bounds,
        // No provider of servers is in this version: workers join by themselves.
        largest_type: None,
        images: config.images,
        sandbox: config.sandbox,
        docker: rgrid_server::Docker::OfWorkers,
    };
    rgrid_server::run(server, store.clone(), listener, shutdown).await?;
    store.close().await;
    Ok(())
}

/// Each worker and each person has a connection: takes as many descriptors as the system allows, and lets in no more
/// connections than there are descriptors for.
fn bounds() -> rgrid_server::Bounds {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let wanted = rgrid_server::Bounds::default();
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        Ok(usize::try_from(hard).unwrap_or(usize::MAX))
    });
    match raised {
        Ok(descriptors) if descriptors >= wanted.all + DESCRIPTORS_KEPT => wanted,
        Ok(descriptors) => {
            let all = descriptors.saturating_sub(DESCRIPTORS_KEPT).max(1);
            tracing::warn!(descriptors, connections = all, "few descriptors are allowed: so are connections");
            rgrid_server::Bounds { all, ..wanted }
        }
        Err(error) => {
            tracing::warn!(%error, "the limit of descriptors stays as it is");
            wanted
        }
    }
}
