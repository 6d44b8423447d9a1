//! `rgrid prune`: removes what the grid no longer needs.

use crate::errors::Error;
use crate::grid::EmbeddedGrid;
use crate::session::Session;
use crate::terminal;

pub(super) async fn prune<G: EmbeddedGrid>(session: &Session<'_, G>) -> Result<u8, Error> {
    let connection = session.connect().await?;
    let pruned = connection.client().prune().await.map_err(|error| connection.failed(error))?;
    terminal::print(&session.output().pruned(&pruned));
    Ok(0)
}
