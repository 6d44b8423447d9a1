//! `rgrid whoami`: which grid, account and key this is.

use crate::errors::Error;
use crate::grid::EmbeddedGrid;
use crate::session::Session;
use crate::terminal;

pub(super) async fn whoami<G: EmbeddedGrid>(session: &Session<'_, G>) -> Result<u8, Error> {
    let connection = session.connect().await?;
    let whoami = connection.client().whoami().await.map_err(|error| connection.failed(error))?;
    terminal::print(&session.output().whoami(&whoami, &connection.url()));
    Ok(0)
}
