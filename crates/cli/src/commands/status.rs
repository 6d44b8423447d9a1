//! `rgrid status`: where one execution stands, and why it waits.

use crate::args::ExecutionArg;
use crate::errors::Error;
use crate::grid::EmbeddedGrid;
use crate::session::Session;
use crate::terminal;

pub(super) async fn status<G: EmbeddedGrid>(
    args: ExecutionArg,
    session: &Session<'_, G>,
) -> Result<u8, Error> {
    let connection = session.connect().await?;
    let client = connection.client();
    let execution = client.execution(&args.id).await.map_err(|error| connection.failed(error))?;
    let attempts = if execution.attempt > 1 {
        client.attempts(&execution.id).await.map_err(|error| connection.failed(error))?.attempts
    } else {
        Vec::new()
    };
    terminal::print(&session.output().execution(&execution, &attempts));
    Ok(0)
}
