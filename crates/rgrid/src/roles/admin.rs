//! `rgrid admin`: what only the host of a grid may do, because it needs no key. It speaks to the database.

use std::process::ExitCode;

use anyhow::Context as _;
use rgrid_store::Store;
use rgrid_store::accounts::AccountRow;
use rgrid_store::keys::Role;

use crate::command_line::{AdminArgs, AdminCommand};
use crate::config::{Settings, store_of};

/// A join token that is printed for a person is good for this long.
const JOIN_TOKEN_TTL: std::time::Duration = std::time::Duration::from_secs(3600);

pub(crate) fn run(args: &AdminArgs) -> ExitCode {
    super::once(administer(args))
}

async fn administer(args: &AdminArgs) -> anyhow::Result<()> {
    let mut settings = Settings::load(args.service.config.as_deref(), Vec::new())?;
    match &args.command {
        AdminCommand::Settings => super::print(settings.to_string().trim_end()),
        AdminCommand::Key { name, account, role } => {
            let store = open(&mut settings).await?;
            key(&store, name, account, *role).await
        }
        AdminCommand::Accounts { create } => {
            let store = open(&mut settings).await?;
            accounts(&store, create.as_deref()).await
        }
        AdminCommand::Restored => {
            let epoch = open(&mut settings).await?.restored().await?;
            super::note(&format!("this is life {epoch} of the grid: restart its orchestrators"));
            Ok(())
        }
        AdminCommand::JoinToken => {
            let store = open(&mut settings).await?;
            super::print(&store.create_join_token(None, JOIN_TOKEN_TTL).await?)
        }
    }
}

async fn open(settings: &mut Settings) -> anyhow::Result<Store> {
    let config = store_of(settings, "rgrid admin")?;
    for warning in settings.warnings() {
        super::note(&format!("warning: {warning}"));
    }
    let store = Store::connect(&config).await.context("the store cannot be opened")?;
    let missing = store.migrations_missing().await?;
    anyhow::ensure!(missing.is_empty(), rgrid_store::Error::MigrationsMissing { missing });
    Ok(store)
}

async fn key(store: &Store, name: &str, account: &str, role: Role) -> anyhow::Result<()> {
    let account = named(store, account).await?;
    let (row, secret) = store.create_key(account.id, name, role).await?;
    super::note(&format!(
        "{} key {} of account {}; its secret is shown only now:",
        role, row.id, account.name
    ));
    super::print(&secret)
}

async fn named(store: &Store, name: &str) -> anyhow::Result<AccountRow> {
    let accounts = store.accounts().await?;
    accounts.into_iter().find(|account| account.name == name).with_context(|| {
        format!("there is no account {name:?}; make it with `rgrid admin accounts --create {name}`")
    })
}

async fn accounts(store: &Store, create: Option<&str>) -> anyhow::Result<()> {
    if let Some(name) = create {
        let account = store.create_account(name).await?;
        return super::print(&format!("{}  {}", account.id, account.name));
    }
    for account in store.accounts().await? {
        super::print(&format!(
            "{}  {}  {}",
            account.id,
            account.created_at.format("%Y-%m-%d"),
            account.name
        ))?;
    }
    Ok(())
}
