//! `rgrid cost`: what executions cost on servers that a provider bills.

use rgrid_api::cost::CostQuery;

use crate::args::CostArgs;
use crate::errors::Error;
use crate::grid::EmbeddedGrid;
use crate::session::Session;
use crate::terminal;

pub(super) async fn cost<G: EmbeddedGrid>(args: CostArgs, session: &Session<'_, G>) -> Result<u8, Error> {
    let connection = session.connect().await?;
    let query = CostQuery { since: args.since, execution: args.id, limit: Some(args.limit) };
    let cost = connection.client().cost(&query).await.map_err(|error| connection.failed(error))?;
    terminal::print(&session.output().cost(&cost, query.execution.is_some()));
    Ok(0)
}
