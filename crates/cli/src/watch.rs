//! Stays with an execution until it ends or the person leaves: its output, stdin on its way in, and what Ctrl-C means.

use rgrid_api::executions::Execution;
use rgrid_api::logs::Cursor;

use crate::args::OnInterrupt;
use crate::errors::Error;
use crate::follow::{self, Ended, Show};
use crate::grid::EmbeddedGrid;
use crate::interrupt::{Answer, Asked, Signals, answer};
use crate::patience::{Again, CALL_PATIENCE, Patience};
use crate::session::{Connection, Session};
use crate::stdin;

/// How it ended.
#[derive(Debug)]
pub(crate) enum Watched {
    /// The execution ended.
    Ended {
        execution: Box<Execution>,
        /// The end of what it wrote to standard error.
        stderr_tail: String,
        /// This command asked for the end.
        cancelled_here: bool,
    },
    /// The person left; the execution goes on, or was told to end.
    Left,
}

/// What to watch, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch<'a> {
    /// The execution.
    pub id: &'a str,
    /// From where on its output is shown.
    pub cursor: Cursor,
    /// Which streams.
    pub show: Show,
    /// What Ctrl-C does.
    pub policy: OnInterrupt,
    /// Stream our stdin to it, from here.
    pub stdin: Option<stdin::Source<'a>>,
}

/// Watches until the execution ends or the person leaves.
pub(crate) async fn watch<G: EmbeddedGrid>(
    session: &Session<'_, G>,
    connection: &Connection,
    watch: Watch<'_>,
    signals: &mut Signals,
) -> Result<Watched, Error> {
    let Watch { id, cursor, show, policy, stdin } = watch;
    let mut following = std::pin::pin!(follow::follow(session, connection, id, cursor, show));
    let mut pump_runs = stdin.is_some();
    let source = stdin.unwrap_or(stdin::Source::Pipe);
    let mut pumping = std::pin::pin!(stdin::pump(connection, id, source, session.notes));
    let mut cancelling = std::pin::pin!(cancel(connection, id));
    let (mut cancel_asked, mut cancel_runs) = (false, false);
    loop {
        let asked = tokio::select! {
            ended = &mut following => match ended? {
                Ended::Execution { execution, stderr_tail } => {
                    return Ok(Watched::Ended { execution, stderr_tail, cancelled_here: cancel_asked });
                }
                // `| head` has read enough: for Python that is an error that ends the script.
                Ended::ReaderLeft => {
                    if policy == OnInterrupt::Cancel {
                        cancel(connection, id).await?;
                    }
                    return Ok(Watched::Left);
                }
            },
            asked = signals.next() => asked,
            pumped = &mut pumping, if pump_runs => {
                pump_runs = false;
                if let Err(error) = pumped {
                    // The script sees the end of its input; what the person should know is why.
                    session.notes.insist(&format!("standard input: {}", error.message().what));
                }
                continue;
            }
            cancelled = &mut cancelling, if cancel_runs => {
                cancel_runs = false;
                cancelled?;
                continue;
            }
        };
        match answer(asked, policy, cancel_asked) {
            Answer::Cancel => {
                (cancel_asked, cancel_runs) = (true, true);
                session.notes.say("ending the script, as Ctrl-C does (use -d to keep one running); once more leaves at once");
            }
            Answer::Detach => {
                if asked == Asked::Interrupt && session.terminal.stderr {
                    // Past the terminal's own ^C.
                    crate::terminal::write_stderr("\n");
                }
                session.notes.insist(&format!("left {id}, which goes on"));
                session.notes.insist(&format!("  to see it again:  rgrid logs {id} -f"));
                session.notes.insist(&format!("  to end it:        rgrid cancel {id}"));
                return Ok(Watched::Left);
            }
            Answer::LeaveNow => {
                session.notes.insist(&format!(
                    "left {id}, which was told to end: rgrid status {id} shows whether it has"
                ));
                return Ok(Watched::Left);
            }
        }
    }
}

/// Asks the grid to end an execution.
pub(crate) async fn cancel(connection: &Connection, id: &str) -> Result<Execution, Error> {
    let mut patience = Patience::new(CALL_PATIENCE);
    loop {
        match connection.client().cancel(id).await {
            Ok(execution) => return Ok(execution),
            Err(error) if error.is_passing() && patience.failed().await != Again::GiveUp => {}
            Err(error) => return Err(connection.failed(error)),
        }
    }
}
