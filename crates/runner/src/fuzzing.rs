//! Private readers of outside bytes, opened for the crate that fuzzes them (`fuzz/`). No logic of its own.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use rgrid_api::executions::InputBody;
use rgrid_api::logs::{LogChunk, Stream};
use rgrid_api::workers::Lease;

use crate::blob_cache::{BlobCache, BlobKey};
use crate::log_limit::LogLimit;
use crate::mask::Mask;
use crate::sandbox::Place;
use crate::workspace::Workspace;
use crate::{machine, outputs};

/// What is shown of a stream that comes in these parts.
pub fn masked(environment: &BTreeMap<String, String>, parts: &[&[u8]]) -> Vec<u8> {
    let mut mask = Mask::of(environment);
    let mut shown: Vec<u8> = parts.iter().flat_map(|part| mask.pass(part)).collect();
    shown.extend(mask.end());
    shown
}

/// The chunks of a log that comes in these parts.
pub fn limited(bytes_max: u64, spool_folder: &Path, parts: &[(Stream, &[u8])]) -> Vec<LogChunk> {
    let mut limit = LogLimit::new(1, bytes_max, spool_folder);
    let at = chrono::DateTime::UNIX_EPOCH;
    let mut chunks: Vec<LogChunk> =
        parts.iter().filter_map(|(stream, bytes)| limit.accept(*stream, bytes, at)).collect();
    chunks.extend(limit.into_tail());
    chunks
}

/// A lease's inputs, placed in a new workspace in `folder`, which is removed again after `look`. Each blob holds nothing.
///
/// # Errors
/// When one cannot be placed.
pub fn placed(folder: &Path, lease: &Lease, look: impl FnOnce(&Path)) -> io::Result<()> {
    let cache = BlobCache::open(&folder.join("cache"), 1 << 20)?;
    for input in &lease.inputs {
        if let (InputBody::File { sha256, .. }, Ok(account)) = (input, lease.account_id.parse())
            && let Ok(sha256) = sha256.parse()
        {
            let blob = cache.path(BlobKey { account, sha256 });
            blob.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::write(blob, "")?;
        }
    }
    let mut workspace = Workspace::make(Place::watched(folder.to_owned()), "workspace", None)?;
    let result = workspace.place(&lease.account_id, lease.inputs.iter(), &cache);
    look(&workspace.root);
    workspace.remove();
    result
}

/// A name of a job's file, as it is told.
pub fn escaped(path: &Path) -> String {
    outputs::escaped(path)
}

/// A line of `/proc/meminfo`, in bytes.
pub fn meminfo(text: &str, name: &str) -> Option<u64> {
    machine::meminfo(text, name)
}
