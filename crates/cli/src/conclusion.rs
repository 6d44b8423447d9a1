//! The last steps after an execution has ended: its files, what is to be said, the result in JSON, the exit code.

use std::path::PathBuf;

use rgrid_api::executions::Execution;
use rgrid_core::outcome::{EXIT_GRID_FAILED, EXIT_INTERRUPTED};

use crate::download::{self, Before, Place, Report};
use crate::ending;
use crate::errors::{Error, Message};
use crate::grid::EmbeddedGrid;
use crate::interrupt::Signals;
use crate::output::{files, size};
use crate::progress::Progress;
use crate::session::{Connection, Session};
use crate::terminal;

/// Brings the files back and gives the exit code. `said` is what the person is told of the end;
/// `reused` says that it is an earlier execution that answers.
pub(crate) async fn conclude<G: EmbeddedGrid>(
    session: &Session<'_, G>,
    connection: &Connection,
    execution: &Execution,
    (place, before): (&Place, &Before),
    (said, reused): (Option<Message>, bool),
    signals: &mut Signals,
) -> Result<u8, Error> {
    let mut exit_code = execution.exit_code.unwrap_or(EXIT_GRID_FAILED);
    let mut report = Report::default();
    // The end said how many there are: none cost no request.
    if execution.output_files > 0 {
        let progress = Progress::new(session.terminal, session.notes);
        let downloading =
            download::download(connection, &execution.id, place, before, &progress, session.notes);
        let downloaded = tokio::select! {
            downloaded = downloading => downloaded,
            _ = signals.next() => {
                progress.clear();
                session.notes.insist(&format!("its files are not all here: rgrid download {} brings the rest", execution.id));
                return Ok(EXIT_INTERRUPTED);
            }
        };
        match downloaded {
            Ok(done) => report = done,
            Err(error) => {
                // The script's own failure is the one to tell in the exit code.
                if exit_code == 0 {
                    exit_code = error.exit_code();
                }
                say(session, &error.message());
            }
        }
        if session.terminal.stderr && !report.written.is_empty() {
            let size = size(report.bytes);
            session.notes.say(&format!("{} with {size} came back", files(report.written.len() as u64)));
        }
    }
    if let Some(message) = said {
        say(session, &message);
    }
    if let Some(sentence) = ending::not_brought_back(&execution.not_brought_back) {
        session.notes.say(&sentence);
    }
    terminal::print(&session.output().ended(execution, &texts(&report.written), reused));
    Ok(exit_code)
}

fn say<G>(session: &Session<'_, G>, message: &Message) {
    terminal::write_stderr(&message.render(session.terminal.colour && session.terminal.stderr));
}

/// Paths as texts; what is not UTF-8 cannot have travelled.
pub(crate) fn texts(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.to_string_lossy().into_owned()).collect()
}
