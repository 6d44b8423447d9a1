//! One file per command, and the one place that runs them.

mod cancel;
mod completions;
mod config;
mod cost;
mod doctor;
mod download;
mod extend;
mod init;
mod keys;
mod list;
mod logs;
mod outputs;
mod prune;
mod retry;
mod run;
mod runtimes;
mod status;
mod whoami;
mod workers;

use std::process::ExitCode;

use rgrid_core::outcome::{EXIT_GRID_FAILED, EXIT_REFUSED};

use crate::args::{Command, Globals};
use crate::errors::Error;
use crate::grid::EmbeddedGrid;
use crate::session::Session;
use crate::terminal;

/// Runs one command to its end and gives the exit code of DESIGN section 5. `grid` is the one of this machine.
pub fn run(command: Command, globals: Globals, grid: &impl EmbeddedGrid) -> ExitCode {
    let session = Session::new(globals, grid);
    // One thread suffices for all that a person waits for, and starts fastest.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            session.notes.insist(&format!("this machine gives no event queue: {error}"));
            return ExitCode::from(EXIT_GRID_FAILED);
        }
    };
    let result = runtime.block_on(Box::pin(dispatch(command, &session)));
    // A thread may still wait for stdin: it must not hold up the end.
    runtime.shutdown_background();
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let message = error.message();
            if session.globals.json {
                let error = serde_json::json!({ "message": message.what, "next": message.next });
                terminal::print(&format!("{}\n", serde_json::json!({ "error": error })));
            }
            terminal::write_stderr(&message.render(session.terminal.colour && session.terminal.stderr));
            ExitCode::from(error.exit_code())
        }
    }
}

async fn dispatch<G: EmbeddedGrid>(command: Command, session: &Session<'_, G>) -> Result<u8, Error> {
    match command {
        Command::Run(args) => Box::pin(run::run(*args, session)).await,
        Command::Status(args) => status::status(args, session).await,
        Command::List(args) => list::list(args, session).await,
        Command::Logs(args) => Box::pin(logs::logs(args, session)).await,
        Command::Outputs(args) => outputs::outputs(args, session).await,
        Command::Download(args) => Box::pin(download::download(args, session)).await,
        Command::Cancel(args) => cancel::cancel(args, session).await,
        Command::Extend(args) => extend::extend(args, session).await,
        Command::Retry(args) => Box::pin(retry::retry(args, session)).await,
        Command::Cost(args) => cost::cost(args, session).await,
        Command::Workers => workers::workers(session).await,
        Command::Init(args) => init::init(args, session).await,
        Command::Keys(args) => keys::keys(args, session).await,
        Command::Runtimes => runtimes::runtimes(session).await,
        Command::Whoami => whoami::whoami(session).await,
        Command::Config(args) => config::config(args, session).await,
        Command::Doctor => doctor::doctor(session).await,
        Command::Prune => prune::prune(session).await,
        Command::Completions(args) => completions::completions(args, session),
    }
}

/// Prints what clap has to say of a command line, and gives the exit code: 0 for help and version, 126 for wrong
/// usage. (clap's own 2 would look like a script's.)
pub fn usage(error: &clap::Error) -> ExitCode {
    // Nowhere to tell that the terminal is gone.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(EXIT_REFUSED) } else { ExitCode::SUCCESS }
}
