//! `rgrid download`: brings back what an execution wrote, now or again.

use std::path::PathBuf;
use std::time::SystemTime;

use rgrid_api::artifacts::ArtifactKind;
use rgrid_api::executions::Execution;
use rgrid_core::outcome::EXIT_INTERRUPTED;
use rgrid_core::path::AbsolutePath;

use crate::args::DownloadArgs;
use crate::conclusion::texts;
use crate::discovery;
use crate::download::{self, Before, Place, Sent};
use crate::errors::{Doing, Error};
use crate::grid::EmbeddedGrid;
use crate::interrupt::Signals;
use crate::progress::Progress;
use crate::session::{Connection, Session};
use crate::terminal;

pub(super) async fn download<G: EmbeddedGrid>(
    args: DownloadArgs,
    session: &Session<'_, G>,
) -> Result<u8, Error> {
    let connection = session.connect().await?;
    let execution =
        connection.client().execution(&args.id).await.map_err(|error| connection.failed(error))?;
    if execution.finished_at.is_none() {
        return Err(Error::NotEnded { id: execution.id, status: execution.status });
    }
    let place = place(&execution, args.output_dir.as_deref())?;
    let before = before(&connection, &execution).await?;
    let progress = Progress::new(session.terminal, session.notes);
    let mut signals = Signals::install();
    let downloaded = tokio::select! {
        report = download::download(&connection, &execution.id, &place, &before, &progress, session.notes) => report?,
        _ = signals.next() => {
            progress.clear();
            session.notes.insist(&format!("not all is here: rgrid download {} goes on", execution.id));
            return Ok(EXIT_INTERRUPTED);
        }
    };
    terminal::print(&session.output().downloaded(&texts(&downloaded.written)));
    Ok(0)
}

/// Where the outputs of `execution` go: all into `folder`, or to their own places. Then they must lie in the project
/// that this command is run in: which folders of this machine may be written is not for the grid to say.
pub(super) fn place(execution: &Execution, folder: Option<&str>) -> Result<Place, Error> {
    let root: AbsolutePath = execution
        .project_root
        .parse()
        .map_err(|_| Error::NotAnAddress { text: execution.project_root.clone() })?;
    if let Some(folder) = folder {
        let failed = |source| Error::File { doing: Doing::Write, path: PathBuf::from(folder), source };
        return Ok(Place::folder(root, std::path::absolute(folder).map_err(failed)?));
    }
    let failed = |source| Error::File { doing: Doing::Read, path: PathBuf::from("."), source };
    let cwd = std::env::current_dir().map_err(failed)?;
    let here = discovery::project_root(&cwd, &cwd);
    let here: AbsolutePath = here
        .to_str()
        .and_then(|here| here.parse().ok())
        .ok_or_else(|| failed(std::io::Error::other("its path is not UTF-8")))?;
    if !root.is_within(&here) && !here.is_within(&root) {
        return Err(Error::AnotherProject { id: execution.id.clone(), root: root.to_string() });
    }
    Ok(Place::new(here.clone(), vec![here], None))
}

/// What was sent, as the grid remembers it.
pub(super) async fn before(connection: &Connection, execution: &Execution) -> Result<Before, Error> {
    let inputs = download::list(connection, &execution.id, ArtifactKind::Input).await?;
    let sent = inputs.into_iter().filter_map(|input| {
        let sent = Sent {
            sha256: input.sha256?,
            size_bytes: input.size_bytes,
            modified_ns: Some(input.modified_ns),
        };
        Some((input.path, sent))
    });
    Ok(Before { sent: sent.collect(), submitted: SystemTime::from(execution.created_at) })
}
