//! `rgrid migrate`: brings the database up to date, and says what was done.

use std::process::ExitCode;

use anyhow::Context as _;
use rgrid_store::Store;

use crate::command_line::ServiceArgs;
use crate::config::{Settings, store_of};

pub(crate) fn run(args: &ServiceArgs) -> ExitCode {
    super::once(migrate(args))
}

async fn migrate(args: &ServiceArgs) -> anyhow::Result<()> {
    let mut settings = Settings::load(args.config.as_deref(), Vec::new())?;
    let config = store_of(&mut settings, "rgrid migrate")?;
    for warning in settings.warnings() {
        super::note(&format!("warning: {warning}"));
    }
    let store = Store::connect(&config).await.context("the store cannot be opened")?;
    let applied = store.migrate().await?;
    let versions: Vec<String> = applied.iter().map(ToString::to_string).collect();
    super::note(&match versions.is_empty() {
        true => "the database was up to date".to_owned(),
        false => format!("applied to the database: {}", versions.join(", ")),
    });
    store.close().await;
    Ok(())
}
