//! `rgrid runner`: runs executions on this machine. It is told an address and a token, and nothing else of the grid.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use rgrid_cli::Audience;
use rgrid_core::runtime::Images;
use rgrid_runner::{Isolation, JoinSource, NetworkPolicy};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::command_line::RunnerArgs;
use crate::config::RunnerConfig;
use crate::embedded::home::Home;
use crate::embedded::{sandbox, tools};

pub(crate) fn run(args: &RunnerArgs) -> ExitCode {
    let (embedded, parent) = (args.embedded, args.parent);
    // Jobs inherit it: files that a script makes shall look as they do where most people work. What is ours and secret
    // is made so by name.
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    // While there is one thread.
    let own_mounts = rgrid_runner::sandbox::keep_mounts_to_itself();
    let configure = |settings: &mut crate::config::Settings| {
        if let Some(parent) = parent {
            tie_to(parent)?;
        }
        let config = RunnerConfig::of(settings)?;
        let join = match config.join_token_file.as_os_str() == "-" {
            true => JoinSource::Stdin,
            false => JoinSource::File(config.join_token_file),
        };
        Ok(rgrid_runner::Config {
            api_url: config.api_url,
            join,
            data_folder: config.data_folder,
            slots: config.slots,
            embedded,
            launcher: our_program()?,
            bwrap: bubblewrap(),
            docker_socket: config.docker_socket,
            isolation: match embedded {
                true => sandbox::isolation(&Home::locate()?, config.embedded_sandbox),
                false => Isolation::Only(config.sandbox),
            },
            images_ahead: match config.images {
                // On their own machine people fetch images themselves.
                Images::Listed(_) if embedded => Vec::new(),
                Images::Listed(listed) => listed.values().map(ToString::to_string).collect(),
                Images::Own => Vec::new(),
            },
            uv: uv(),
            fetch_uv: None,
            own_mounts,
            network: NetworkPolicy {
                allow_private_ranges: config.allow_private_addresses,
                ..NetworkPolicy::default()
            },
        })
    };
    super::serve(&args.service, args.flags(), configure, serve)
}

async fn serve(mut config: rgrid_runner::Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    // On a person's own machine the command that locks packages has fetched it already.
    if !config.embedded {
        let (fetch, wanted) = mpsc::channel(1);
        config.fetch_uv = Some(fetch);
        tokio::spawn(fetch_uv(wanted));
    }
    Ok(rgrid_runner::run(config, shutdown).await?)
}

fn bubblewrap() -> Option<PathBuf> {
    match Home::locate() {
        Ok(home) => tools::bubblewrap(&home),
        Err(_) => tools::find(tools::BUBBLEWRAP.program),
    }
}

/// Where uv lies when a command has fetched it, or when it came with this program.
fn uv() -> Vec<PathBuf> {
    Home::locate().map(|home| tools::uv_places(&home)).unwrap_or_default()
}

/// Fetches uv whenever somebody asks, as a worker that was just bought has none.
async fn fetch_uv(mut wanted: mpsc::Receiver<oneshot::Sender<()>>) {
    while let Some(tried) = wanted.recv().await {
        let fetch = || {
            let fetched = async { tools::uv(&Home::locate()?, &Journal).await };
            tokio::runtime::Handle::current().block_on(fetched)
        };
        match tokio::task::spawn_blocking(fetch)
            .await
            .map_err(anyhow::Error::from)
            .and_then(|fetched| fetched)
        {
            Ok(program) => tracing::info!(program = %program.display(), "uv was fetched"),
            Err(error) => tracing::warn!(error = format!("{error:#}"), "no uv for packages"),
        }
        // Whoever asked may have given up.
        let _ = tried.send(());
    }
}

/// Nobody watches a worker while it fetches.
struct Journal;

impl Audience for Journal {
    fn say(&self, sentence: &str) {
        tracing::info!("{sentence}");
    }

    fn transfer(&self, _verb: &'static str, _total_bytes: u64) {}

    fn advance(&self, _bytes: u64) {}

    fn clear(&self) {}
}

/// Ends with the daemon that started us, however that ends: without its API there is nobody to work for. Jobs end
/// with us, because their sandboxes are tied in the same way.
fn tie_to(parent: i32) -> anyhow::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    anyhow::ensure!(
        nix::unistd::getppid().as_raw() == parent,
        "the daemon that started this runner has ended"
    );
    Ok(())
}

/// The file of this program, which is also the launcher inside a sandbox. An update may have replaced it while we
/// run; then the new one lies in its place.
fn our_program() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("this program cannot find itself")?;
    let replaced = program.to_str().and_then(|path| path.strip_suffix(" (deleted)")).map(PathBuf::from);
    Ok(replaced.filter(|path| path.exists()).unwrap_or(program))
}
