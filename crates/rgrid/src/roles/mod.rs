//! The roles of a grid: settings in, `run(config, shutdown)` of the crate that does it, exit code out. One file per
//! role, each with the same moves.

pub(crate) mod admin;
pub(crate) mod api;
pub(crate) mod cloud;
pub(crate) mod down;
pub(crate) mod migrate;
pub(crate) mod orchestrator;
pub(crate) mod runner;
pub(crate) mod simulate;
mod ssh_key;
pub(crate) mod up;

use std::io::Write as _;
use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use crate::command_line::ServiceArgs;
use crate::config::{Flag, Settings};
use crate::{logging, shutdown};

/// Reads the settings, starts logging, and runs a service until a signal ends it.
fn serve<C, F>(
    args: &ServiceArgs,
    flags: Vec<Flag>,
    configure: impl FnOnce(&mut Settings) -> anyhow::Result<C>,
    role: impl FnOnce(C, CancellationToken) -> F,
) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    let read = || -> anyhow::Result<(C, Settings)> {
        let mut settings = Settings::load(args.config.as_deref(), flags)?;
        Ok((configure(&mut settings)?, settings))
    };
    let (config, settings) = match read() {
        Ok(read) => read,
        Err(error) => return refused(&error),
    };
    logging::start(&settings);
    let serving = || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async { role(config, shutdown::on_signals()?).await })
    };
    match serving() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs something short to its end.
fn once<F>(work: F) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    let done = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match done.map_err(Into::into).and_then(|runtime| runtime.block_on(work)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refused(&error),
    }
}

/// Says why not, to a person.
fn refused(error: &anyhow::Error) -> ExitCode {
    note(&format!("error: {error:#}"));
    ExitCode::FAILURE
}

/// For people: standard error. Whoever closed it does not want to know.
fn note(sentence: &str) {
    let _ = writeln!(std::io::stderr(), "{sentence}");
}

/// For programs: standard output.
fn print(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
