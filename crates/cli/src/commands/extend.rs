//! `rgrid extend`: more time for a running execution.

use crate::args::ExtendArgs;
use crate::errors::Error;
use crate::grid::EmbeddedGrid;
use crate::session::Session;
use crate::terminal;

pub(super) async fn extend<G: EmbeddedGrid>(args: ExtendArgs, session: &Session<'_, G>) -> Result<u8, Error> {
    let connection = session.connect().await?;
    // Not repeated by itself: a lost answer would add the time twice.
    let execution =
        connection.client().extend(&args.id, args.by).await.map_err(|error| connection.failed(error))?;
    terminal::print(&session.output().extended(&execution));
    Ok(0)
}
