//! Brings back what an execution wrote, to where the script would have written it, or into a folder of choice.
//!
//! A file is written aside, checked, and renamed. What a local file is worth is decided in `conflict.rs`, where a
//! path may lead in `place.rs`; the bytes of one file are `fetch.rs`'s.

mod conflict;
mod fetch;
mod place;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use futures_util::StreamExt;
use rgrid_api::artifacts::{Artifact, ArtifactKind, ListArtifacts};
use rgrid_core::id::ExecutionId;
use rgrid_core::submission::Sha256;

use crate::errors::{Doing, Error};
use crate::progress::Progress;
use crate::session::Connection;
use crate::terminal::{Notes, shown};

pub(crate) use conflict::Sent;
pub(crate) use place::Place;

/// Files on their way at once.
const FILES_AT_ONCE: usize = 6;

/// What is known of the local files.
#[derive(Debug, Clone)]
pub(crate) struct Before {
    /// What was sent, by its path.
    pub sent: HashMap<String, Sent>,
    /// When the script was handed over: a file that was not sent, and is younger, is somebody's newer work.
    pub submitted: SystemTime,
}

/// What became of the outputs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Where files were written, in the order of their paths.
    pub written: Vec<PathBuf>,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were kept, and where ours lies instead.
    pub kept: Vec<(PathBuf, PathBuf)>,
    /// Files that could not be written, and why.
    pub failed: Vec<(PathBuf, String)>,
}

/// Brings back all outputs of execution `id`.
pub(crate) async fn download(
    connection: &Connection,
    id: &str,
    place: &Place,
    before: &Before,
    progress: &Progress,
    notes: Notes,
) -> Result<Report, Error> {
    // It becomes part of names.
    if id.parse::<ExecutionId>().is_err() {
        return Err(Error::NotAnAddress { text: id.to_owned() });
    }
    let artifacts = list(connection, id, ArtifactKind::Output).await?;
    progress.transfer(
        "bringing back",
        artifacts.iter().fold(0, |all, artifact| all.saturating_add(artifact.size_bytes)),
        0,
    );
    let mut report = Report::default();
    let mut results = futures_util::stream::iter(artifacts)
        .map(|artifact| one(connection, id, artifact, place, before, progress))
        .buffered(FILES_AT_ONCE);
    let mut grid_failed = None;
    while let Some((path, result)) = results.next().await {
        match result {
            Ok(Written::Whole { bytes }) => {
                report.bytes += bytes;
                report.written.push(path);
            }
            Ok(Written::Beside { bytes, beside }) => {
                report.bytes += bytes;
                report.kept.push((path, beside));
            }
            Ok(Written::Folder | Written::Equal) => {}
            Err(Error::File { doing, path, source }) => {
                let message = Error::File { doing, path: path.clone(), source }.message().what;
                report.failed.push((path, message));
            }
            // The others may still come through: the first failure is told when all were tried.
            Err(error) => grid_failed = grid_failed.or(Some(error)),
        }
    }
    progress.clear();
    for (path, beside) in &report.kept {
        notes.insist(&format!(
            "{} changed here meanwhile and was kept; what the script wrote is {}",
            shown(&path.to_string_lossy()),
            shown(&beside.to_string_lossy())
        ));
    }
    for (_, message) in &report.failed {
        notes.insist(message);
    }
    match grid_failed {
        Some(error) => Err(error),
        None if report.failed.is_empty() => Ok(report),
        None => Err(Error::NotAllWritten { id: id.to_owned(), failed: report.failed.len() as u64 }),
    }
}

/// All artifacts of one kind, ordered by path: a folder comes before what lies in it.
pub(crate) async fn list(
    connection: &Connection,
    id: &str,
    kind: ArtifactKind,
) -> Result<Vec<Artifact>, Error> {
    let mut query = ListArtifacts { kind: Some(kind), cursor: None, limit: None };
    let mut artifacts = Vec::new();
    loop {
        let page =
            connection.client().artifacts(id, &query).await.map_err(|error| connection.failed(error))?;
        artifacts.extend(page.artifacts);
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return Ok(artifacts),
        }
    }
}

/// What became of one artifact.
enum Written {
    /// It lies at its place.
    Whole { bytes: u64 },
    /// Its place holds somebody's newer work; it lies beside.
    Beside { bytes: u64, beside: PathBuf },
    /// The same bytes were there already.
    Equal,
    /// It is a folder.
    Folder,
}

async fn one(
    connection: &Connection,
    id: &str,
    artifact: Artifact,
    place: &Place,
    before: &Before,
    progress: &Progress,
) -> (PathBuf, Result<Written, Error>) {
    let path = match place.of(&artifact.path) {
        Ok(path) => path,
        Err(problem) => {
            let path = PathBuf::from(&artifact.path);
            let source = std::io::Error::other(problem);
            return (path.clone(), Err(Error::File { doing: Doing::Write, path, source }));
        }
    };
    let result = write(connection, id, &artifact, &path, before, progress).await;
    (path, result)
}

async fn write(
    connection: &Connection,
    id: &str,
    artifact: &Artifact,
    path: &Path,
    before: &Before,
    progress: &Progress,
) -> Result<Written, Error> {
    let failed = |source| Error::File { doing: Doing::Write, path: path.to_owned(), source };
    let Some(sha256) = artifact.sha256.as_deref().filter(|_| !artifact.folder) else {
        std::fs::create_dir_all(path).map_err(failed)?;
        return Ok(Written::Folder);
    };
    // It becomes part of a name.
    if let Err(error) = sha256.parse::<Sha256>() {
        return Err(failed(std::io::Error::other(error)));
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let verdict =
        conflict::judge(path, sha256, before.sent.get(&artifact.path), before.submitted).map_err(failed)?;
    let bytes = artifact.size_bytes;
    match verdict {
        conflict::Verdict::Equal => {
            progress.advance(bytes);
            fetch::finish(path, artifact).map_err(failed)?;
            Ok(Written::Equal)
        }
        conflict::Verdict::Replace => {
            fetch::fetch(connection, id, artifact, sha256, path, progress).await?;
            Ok(Written::Whole { bytes })
        }
        conflict::Verdict::Keep => {
            let beside = conflict::beside(path, id);
            // An earlier download of the same execution may have put it there.
            if !conflict::hash(&beside).is_ok_and(|here| here == sha256) {
                fetch::fetch(connection, id, artifact, sha256, &beside, progress).await?;
            }
            Ok(Written::Beside { bytes, beside })
        }
    }
}
