//! `rgrid runtimes`: what executions can be run by.

use crate::errors::Error;
use crate::grid::EmbeddedGrid;
use crate::session::Session;
use crate::terminal;

pub(super) async fn runtimes<G: EmbeddedGrid>(session: &Session<'_, G>) -> Result<u8, Error> {
    let connection = session.connect().await?;
    let list = connection.client().runtimes().await.map_err(|error| connection.failed(error))?;
    terminal::print(&session.output().runtimes(&list));
    Ok(0)
}
