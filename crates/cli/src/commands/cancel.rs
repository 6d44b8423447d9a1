//! `rgrid cancel`: ends an execution, and waits until it has ended.

use std::time::Duration;

use rgrid_core::outcome::EXIT_INTERRUPTED;

use crate::args::ExecutionArg;
use crate::errors::Error;
use crate::grid::EmbeddedGrid;
use crate::interrupt::Signals;
use crate::patience::{Again, FOLLOW_PATIENCE, Patience};
use crate::session::Session;
use crate::{terminal, watch};

/// The execution is looked at this often, less and less.
const LOOK_FIRST: Duration = Duration::from_millis(50);
/// The longest pause between two looks.
const LOOK_MAX: Duration = Duration::from_secs(1);

pub(super) async fn cancel<G: EmbeddedGrid>(
    args: ExecutionArg,
    session: &Session<'_, G>,
) -> Result<u8, Error> {
    let connection = session.connect().await?;
    let mut execution = watch::cancel(&connection, &args.id).await?;
    let id = execution.id.clone();
    let mut signals = Signals::install();
    let mut pause = LOOK_FIRST;
    let mut patience = Patience::new(FOLLOW_PATIENCE);
    while execution.finished_at.is_none() {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = signals.next() => {
                session.notes.insist(&format!("{id} was told to end: rgrid status {id} shows whether it has"));
                return Ok(EXIT_INTERRUPTED);
            }
        }
        pause = (pause * 2).min(LOOK_MAX);
        match connection.client().execution(&id).await {
            Ok(now) => {
                patience.restored();
                execution = now;
            }
            Err(error) if error.is_passing() && patience.failed().await != Again::GiveUp => {}
            Err(error) => return Err(connection.failed(error)),
        }
    }
    terminal::print(&session.output().cancelled(&execution));
    Ok(0)
}
