//! Standard input, from the grid into the job's pipe, while the job runs.

use std::io;
use std::os::fd::OwnedFd;

use rgrid_api::client::{AttemptRef, Client};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;

use crate::retry::Pauses;

/// Feeds the job until the stream is at its end, or the job closes its side. Dropping the future closes the pipe.
pub(crate) async fn feed(client: &Client, attempt: &AttemptRef, pipe: OwnedFd) -> io::Result<()> {
    let mut pipe = pipe::Sender::from_owned_fd(pipe)?;
    let mut offset = 0u64;
    let mut pauses = Pauses::new();
    loop {
        match client.read_stdin(attempt, offset).await {
            Ok((bytes, eof)) => {
                pauses.reset();
                match pipe.write_all(&bytes).await {
                    Ok(()) => offset += bytes.len() as u64,
                    // The job reads no more; that is its right.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                    Err(error) => return Err(error),
                }
                if eof {
                    return Ok(());
                }
            }
            Err(error) if error.is_passing() => tokio::time::sleep(pauses.next()).await,
            // A stale attempt learns of it elsewhere; to the job this is the end of its input.
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the grid refuses to hand out stdin"
                );
                return Ok(());
            }
        }
    }
}
