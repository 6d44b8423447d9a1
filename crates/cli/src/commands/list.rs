//! `rgrid list`: executions, newest first.

use rgrid_api::executions::ListExecutions;
use rgrid_core::limits::PAGE_ITEMS_MAX;

use crate::args::ListArgs;
use crate::errors::Error;
use crate::grid::EmbeddedGrid;
use crate::session::Session;
use crate::terminal;

pub(super) async fn list<G: EmbeddedGrid>(args: ListArgs, session: &Session<'_, G>) -> Result<u8, Error> {
    let connection = session.connect().await?;
    let statuses: Vec<_> = args.status.iter().map(|status| status.as_str()).collect();
    let mut query = ListExecutions {
        status: (!statuses.is_empty()).then(|| statuses.join(",")),
        name: args.name,
        metadata: args.metadata,
        cursor: None,
        limit: None,
    };
    let wanted = args.limit as usize;
    let mut executions = Vec::new();
    while executions.len() < wanted {
        query.limit = Some(PAGE_ITEMS_MAX.min((wanted - executions.len()) as u32));
        let page = connection.client().executions(&query).await.map_err(|error| connection.failed(error))?;
        executions.extend(page.executions);
        query.cursor = page.next;
        if query.cursor.is_none() {
            break;
        }
    }
    terminal::print(&session.output().executions(&executions));
    Ok(0)
}
