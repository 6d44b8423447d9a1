//! What the embedded grid takes of the disk: objects up to a cap, logs up to a size.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use rgrid_core::quantity::format_bytes;
use rgrid_store::Store;

use super::home::Home;
use super::tools;
use crate::config::EmbeddedConfig;

/// How often the disk is looked at.
const PERIOD: Duration = Duration::from_secs(60);
/// A log above this is cut to its newest half.
const LOG_BYTES_MAX: u64 = 8 << 20;

/// Keeps the grid within its share of the disk, for as long as it lives.
pub(crate) async fn keep(store: &Store, home: &Home, config: &EmbeddedConfig) {
    loop {
        tokio::time::sleep(PERIOD).await;
        limit_log(&home.postgres_log());
        limit_log(&home.daemon_log());
        if let Err(error) = keep_store(store, home, config).await {
            tracing::warn!(error = &*error, "the store cannot be kept within its cap");
        }
    }
}

async fn keep_store(store: &Store, home: &Home, config: &EmbeddedConfig) -> anyhow::Result<()> {
    let cap = cap(&home.objects(), config)?;
    let gone = store.shrink_blobs(cap).await?;
    if gone.blobs > 0 {
        tracing::info!(
            cap = format_bytes(cap),
            bytes = gone.bytes,
            blobs = gone.blobs,
            "the store was over its cap"
        );
    }
    Ok(())
}

/// Bytes that the store may take: so many, and at most a share of its disk.
fn cap(objects: &Path, config: &EmbeddedConfig) -> io::Result<u64> {
    let disk = statvfs(objects)?;
    let share = disk.blocks() * disk.fragment_size() / 100 * config.store_percent;
    Ok(config.store_bytes.min(share))
}

/// Cuts a log that has grown too long. Whoever writes to it appends, so the next line lands at the new end.
pub(crate) fn limit_log(path: &Path) {
    let cut = || -> io::Result<()> {
        if fs::metadata(path)?.len() <= LOG_BYTES_MAX {
            return Ok(());
        }
        let newest = tools::tail(path, LOG_BYTES_MAX / 2);
        let from = newest.find('\n').map_or(0, |end| end + 1);
        let mut log = File::options().append(true).open(path)?;
        log.set_len(0)?;
        log.write_all(&newest.as_bytes()[from..])
    };
    if let Err(error) = cut()
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, ?path, "a log cannot be cut");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_keeps_its_newest_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let lines: String = (0..1_000_000u32).map(|n| format!("line {n:08}\n")).collect();
        fs::write(&path, &lines).unwrap();
        limit_log(&path);
        let kept = fs::read_to_string(&path).unwrap();
        assert!(kept.len() as u64 <= LOG_BYTES_MAX / 2);
        assert!(kept.starts_with("line ") && kept.ends_with("line 00999999\n"));
    }
}
