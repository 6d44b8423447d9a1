//! `rgrid outputs`: the files that an execution wrote.

use rgrid_api::artifacts::ArtifactKind;

use crate::args::ExecutionArg;
use crate::download;
use crate::errors::Error;
use crate::grid::EmbeddedGrid;
use crate::session::Session;
use crate::terminal;

pub(super) async fn outputs<G: EmbeddedGrid>(
    args: ExecutionArg,
    session: &Session<'_, G>,
) -> Result<u8, Error> {
    let connection = session.connect().await?;
    let execution =
        connection.client().execution(&args.id).await.map_err(|error| connection.failed(error))?;
    if execution.finished_at.is_none() {
        return Err(Error::NotEnded { id: execution.id, status: execution.status });
    }
    let outputs = download::list(&connection, &execution.id, ArtifactKind::Output).await?;
    terminal::print(&session.output().outputs(&outputs));
    Ok(0)
}
