//! Seals what was gathered: hashes the files whose hashes are not remembered, drops folders that their files imply,
//! and sorts it all by path.

use std::io;
use std::path::{Path, PathBuf};

use rgrid_core::limits;
use rgrid_core::submission::{Input, InputKind};

use super::gather::{Entry, Gather};
use super::hashes::{Remembered, hash_files};
use super::place::portable;
use super::{DiscoveryError, Found, NotSent, Obstacle, Reason};

/// The manifest's lines, and what stays here.
pub(crate) fn seal(
    mut gather: Gather,
    remembered: &mut Remembered,
) -> Result<(Vec<Found>, Vec<NotSent>), DiscoveryError> {
    let entries = without_implied_folders(std::mem::take(&mut gather.entries));
    if entries.len() > limits::MANIFEST_FILES_MAX {
        return Err(DiscoveryError::TooManyFiles { files: entries.len() });
    }
    let mut found = Vec::with_capacity(entries.len());
    let mut unknown = Vec::new();
    for (path, entry, reason) in &entries {
        let (kind, size_bytes) = match entry {
            Entry::Folder => (InputKind::Folder, 0),
            Entry::Link { target } => (InputKind::Symlink { target: target.clone() }, 0),
            Entry::File { stamp, mode } => match remembered.hash(path, stamp) {
                Some(sha256) => (file(sha256, stamp, *mode), stamp.size_bytes),
                None => {
                    unknown.push((path.as_path(), stamp.size_bytes, *mode, reason));
                    continue;
                }
            },
        };
        found.push(Found {
            input: Input { path: portable(path)?, kind },
            reason: reason.clone(),
            size_bytes,
        });
    }
    let paths: Vec<_> = unknown.iter().map(|(path, size, ..)| (*path, *size)).collect();
    for ((path, _, mode, reason), hashed) in unknown.iter().zip(hash_files(&paths)) {
        match hashed {
            Ok((stamp, sha256)) => {
                remembered.keep_hash(path, stamp, sha256);
                let input = Input { path: portable(path)?, kind: file(sha256, &stamp, *mode) };
                found.push(Found { input, reason: (*reason).clone(), size_bytes: stamp.size_bytes });
            }
            Err(error) => left(path, error, reason, &mut gather.not_sent)?,
        }
    }
    found.sort_by(|a, b| a.input.path.cmp(&b.input.path));
    Ok((found, gather.not_sent))
}

fn file(sha256: rgrid_core::submission::Sha256, stamp: &super::hashes::Stamp, mode: u32) -> InputKind {
    InputKind::File { sha256, size_bytes: stamp.size_bytes, mode, modified_ns: stamp.modified_ns }
}

/// What was named outright must be readable; what was found on the way is left here, and said.
fn left(
    path: &Path,
    error: io::Error,
    reason: &Reason,
    not_sent: &mut Vec<NotSent>,
) -> Result<(), DiscoveryError> {
    match reason {
        Reason::Program | Reason::Argument { .. } | Reason::Input => {
            Err(DiscoveryError::Unreadable { path: path.to_owned(), source: error })
        }
        Reason::Imported(_) | Reason::Literal(_) | Reason::Include { .. } | Reason::LinkTarget { .. } => {
            let obstacle = Obstacle::Unreadable(error.to_string());
            not_sent.push(NotSent { path: path.to_owned(), obstacle, named_by: reason.clone() });
            Ok(())
        }
    }
}

/// A folder that holds something else that travels is there anyway. The map sorts a folder right before what it holds.
fn without_implied_folders(
    entries: std::collections::BTreeMap<PathBuf, (Entry, Reason)>,
) -> Vec<(PathBuf, Entry, Reason)> {
    let mut entries = entries.into_iter().peekable();
    let mut kept = Vec::with_capacity(entries.len());
    while let Some((path, (entry, reason))) = entries.next() {
        let is_implied =
            matches!(entry, Entry::Folder) && entries.peek().is_some_and(|(next, _)| next.starts_with(&path));
        if !is_implied {
            kept.push((path, entry, reason));
        }
    }
    kept
}
