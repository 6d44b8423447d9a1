//! `rgrid workers`: the machines that run executions.

use crate::errors::Error;
use crate::grid::EmbeddedGrid;
use crate::session::Session;
use crate::terminal;

pub(super) async fn workers<G: EmbeddedGrid>(session: &Session<'_, G>) -> Result<u8, Error> {
    let connection = session.connect().await?;
    let list = connection.client().workers().await.map_err(|error| connection.failed(error))?;
    terminal::print(&session.output().workers(&list.workers));
    Ok(0)
}
