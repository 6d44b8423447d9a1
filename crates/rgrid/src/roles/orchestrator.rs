//! `rgrid orchestrator`: keeps the fleet right. Any number may run; one leads.
//!
//! No provider of servers is in this version: it looks after workers that joined by themselves, and buys nothing,
//! whatever the switch says.

use std::process::ExitCode;

use anyhow::Context as _;
use rgrid_core::fleet::{Backing, FleetPolicy, ServerPolicy};
use rgrid_core::limits;
use rgrid_core::worker::Capacity;
use rgrid_orchestrator::cloud::local::{Local, RunnerCommand};
use rgrid_store::Store;
use tokio_util::sync::CancellationToken;

use crate::command_line::ServiceArgs;
use crate::config::{OrchestratorConfig, Spending};

pub(crate) fn run(args: &ServiceArgs) -> ExitCode {
    super::serve(args, Vec::new(), |settings| Ok(OrchestratorConfig::of(settings)?), serve)
}

async fn serve(config: OrchestratorConfig, shutdown: CancellationToken) -> anyhow::Result<()> {
    match config.spending {
        Spending::On => tracing::warn!(
            workers_max = config.workers_max,
            "ORCHESTRATOR_ENABLED is on, and this version knows no provider of servers: none will be bought"
        ),
        Spending::Off => tracing::info!("ORCHESTRATOR_ENABLED is off: no server will be bought"),
    }
    let store = Store::connect(&config.store).await.context("the store cannot be opened")?;
    let fleet =
        rgrid_orchestrator::Config { holder: holder(), policy: policy(), retire: CancellationToken::new() };
    // It is never asked to start one, because the policy allows no worker.
    let none = RunnerCommand { program: "/nonexistent".into(), args: Vec::new(), environment: Vec::new() };
    rgrid_orchestrator::run(fleet, store.clone(), Local::new(none), shutdown).await?;
    store.close().await;
    Ok(())
}

/// Host and process, for people who ask who leads.
fn holder() -> String {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    format!("{}:{}", host.as_deref().unwrap_or("unknown-host"), std::process::id())
}

fn policy() -> FleetPolicy {
    let nothing = Capacity { cpu_millis: 0, memory_bytes: 0, disk_bytes: 0 };
    FleetPolicy {
        backing: Backing::Static,
        workers_max: 0,
        new_worker: nothing,
        new_worker_slots: 1,
        patience: std::time::Duration::ZERO,
        local_idle: limits::LOCAL_IDLE,
        join_deadline: limits::JOIN_DEADLINE,
        servers: ServerPolicy::default(),
    }
}
