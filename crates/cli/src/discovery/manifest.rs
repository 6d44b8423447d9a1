//! Seals what was gathered: hashes the files whose hashes are not remembered, drops folders that their files imply,
//! and sorts it all by path.

use std::io;
use std::path::{Path, PathBuf};

use rgrid_core::limits;
use rgrid_core::quantity::format_bytes;
use rgrid_core::submission::{Input, InputKind};

use super::gather::{Entry, Gather};
use super::hashes::{Remembered, hash_files};
use super::place::portable;
use super::{DiscoveryError, Found, NotSent, Obstacle, Reason};

/// Sentences about files that stay here.
const SURPRISES_MAX: usize = 5;

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
    // What one way left here, another may have taken whole.
    let mut not_sent = gather.not_sent;
    not_sent.retain(|left| !gather.taken.contains(&left.path));
    Ok((found, not_sent))
}

/// Sentences about files that a script would find here and not there, for reasons that nobody asked for.
pub(crate) fn surprises(not_sent: &[NotSent]) -> Vec<String> {
    let sentence = |left: &NotSent| {
        let path = left.path.as_os_str();
        match &left.obstacle {
            Obstacle::Unreadable(words) => Some(format!("{path:?} was not sent: {words}")),
            Obstacle::Name => Some(format!("{path:?} was not sent: its name is not UTF-8, or too long")),
            Obstacle::TooLarge { size_bytes } => Some(format!(
                "{path:?} was not sent: it holds {} and at most {} travel in one file",
                format_bytes(*size_bytes),
                format_bytes(limits::BLOB_BYTES_MAX)
            )),
            Obstacle::IgnoredBy { .. }
            | Obstacle::NeverSent
            | Obstacle::NoInput
            | Obstacle::Special
            | Obstacle::Dangling
            | Obstacle::WholeDisk
            | Obstacle::OutsideProject => None,
        }
    };
    let mut sentences: Vec<_> = not_sent.iter().filter_map(sentence).collect();
    if sentences.len() > SURPRISES_MAX {
        let more = sentences.len() - SURPRISES_MAX;
        sentences.truncate(SURPRISES_MAX);
        sentences.push(format!("{more} more files were not sent for such reasons: --dry-run lists them"));
    }
    sentences
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
        Reason::Imported(_)
        | Reason::Literal(_)
        | Reason::Include { .. }
        | Reason::Package
        | Reason::LinkTarget { .. } => {
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
