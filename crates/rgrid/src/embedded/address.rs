//! How the daemon tells where it is, and how a command makes sure that it is still there: the process must live, and
//! what answers must know the key.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use rgrid_cli::GridAddress;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::home::{self, Home};
use super::process::Process;

/// A grid on this machine answers within this, or is busy starting, stopping or swapping.
const PROBE_DEADLINE: Duration = Duration::from_secs(2);
/// Enough of an answer to read its status.
const PROBE_BYTES: usize = 64;
/// The release this binary is.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What `grid.json` says. Written when the grid is ready, removed as the first act of its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notice {
    /// Scheme, host and port.
    pub(crate) url: String,
    /// An admin key of the default account.
    pub(crate) key: String,
    /// The daemon.
    pub(crate) process: Process,
    /// The release it is of.
    pub(crate) version: String,
}

impl Notice {
    /// What the home's file says, if it can be read.
    pub(crate) fn read(home: &Home) -> Option<Self> {
        serde_json::from_slice(&fs::read(home.notice()).ok()?).ok()
    }

    /// # Errors
    /// When the disk refuses.
    pub(crate) fn write(&self, home: &Home) -> io::Result<()> {
        home::write_private(&home.notice(), &serde_json::to_vec_pretty(self)?)
    }

    /// From here on nobody new comes.
    pub(crate) fn remove(path: &Path) {
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, ?path, "the notice cannot be removed");
        }
    }

    /// Where commands connect.
    pub(crate) fn address(&self) -> GridAddress {
        GridAddress { url: self.url.clone(), key: self.key.clone() }
    }

    /// True when that grid answers and knows the key.
    pub(crate) async fn answers(&self) -> bool {
        if !self.process.is_alive() {
            return false;
        }
        matches!(tokio::time::timeout(PROBE_DEADLINE, self.probe()).await, Ok(Ok(true)))
    }

    /// One request by hand: this is on the path of every command, and a whole HTTP client would take longer to set
    /// up than the answer takes.
    async fn probe(&self) -> io::Result<bool> {
        let host = self.url.strip_prefix("http://").unwrap_or(&self.url);
        let mut stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        let base = rgrid_api::BASE;
        let request = format!(
            "GET {base}/whoami HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            self.key
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(PROBE_BYTES);
        stream.take(PROBE_BYTES as u64).read_to_end(&mut answer).await?;
        Ok(answer.starts_with(b"HTTP/1.1 200 "))
    }
}

/// The three numbers of a release, for comparing.
fn release(version: &str) -> Option<[u64; 3]> {
    let numbers = version.split(['-', '+']).next()?;
    let mut parts = numbers.split('.').map(|part| part.parse().ok());
    let mut next = || parts.next().flatten();
    Some([next()?, next()?, next()?])
}

/// True when a daemon of `version` must make way for this binary. A newer one serves older commands.
pub(crate) fn is_older(version: &str) -> bool {
    release(version) < release(VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_by_number() {
        assert!(release("0.9.10") > release("0.9.9"));
        assert!(release("1.0.0-rc.1") == release("1.0.0"));
        assert!(is_older("0.0.9") && !is_older(VERSION) && !is_older("999.0.0"));
        // What cannot be read was not written by a release of ours that we know how to use.
        assert!(is_older("nonsense"));
    }
}
