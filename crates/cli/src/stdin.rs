//! Piped stdin on its way to a running script. It is read as the grid takes it, never awaited: the script's end ends
//! the command, whatever the pipe does.

use std::fs::File;
use std::io::{self, Read, Seek as _, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::time::Duration;

use rgrid_api::logs::WriteStdin;
use rgrid_core::limits::STDIN_BYTES_MAX;
use rgrid_core::quantity::format_bytes;
use rgrid_core::submission::Sha256;
use sha2::Digest as _;
use tokio::sync::mpsc;

use crate::errors::{Doing, Error};
use crate::patience::{Again, FOLLOW_PATIENCE, Patience};
use crate::session::Connection;
use crate::terminal::{Notes, Terminal};

/// One read of the pipe.
const READ_BYTES: usize = 64 << 10;
/// Reads that may wait for the grid.
const READS_WAITING_MAX: usize = 16;
/// One request holds at most this many bytes: half of what the API takes.
const REQUEST_BYTES_MAX: usize = 512 << 10;
/// The pause after the grid's buffer was found full.
const FULL_PAUSE: Duration = Duration::from_millis(20);
/// The longest such pause.
const FULL_PAUSE_MAX: Duration = Duration::from_secs(1);

/// True when there is something to stream: a pipe, a file or a socket, and not a terminal or `/dev/null`.
pub(crate) fn is_piped(terminal: Terminal) -> bool {
    if terminal.stdin {
        return false;
    }
    let Ok(copy) = io::stdin().as_fd().try_clone_to_owned() else { return false };
    let Ok(found) = File::from(copy).metadata() else { return false };
    !(found.file_type().is_char_device() && found.rdev() == null_device())
}

/// Where standard input comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'a> {
    /// It is read as the grid takes it.
    Pipe,
    /// It was read to its end before, into this file.
    Spooled(&'a File),
}

/// All of stdin, read before anything was sent.
#[derive(Debug)]
pub(crate) struct Spooled {
    file: File,
    /// Hash of it; `None` when there is more than an execution takes.
    pub(crate) sha256: Option<String>,
}

impl Spooled {
    /// Reads stdin to its end: only then it is known whether it was the same before.
    pub(crate) async fn read() -> Result<Self, Error> {
        let spooled = tokio::task::spawn_blocking(|| -> io::Result<Self> {
            let mut file = tempfile::tempfile()?;
            // One byte more tells that there is too much.
            io::copy(&mut io::stdin().take(STDIN_BYTES_MAX + 1), &mut file)?;
            file.rewind()?;
            let mut hash = sha2::Sha256::new();
            let size_bytes = io::copy(&mut &file, &mut Hashing(&mut hash))?;
            let sha256 = (size_bytes <= STDIN_BYTES_MAX).then(|| hexadecimal(hash));
            Ok(Self { file, sha256 })
        });
        let result = spooled.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        result.map_err(|source| Error::File { doing: Doing::Read, path: "standard input".into(), source })
    }

    pub(crate) fn source(&self) -> Source<'_> {
        Source::Spooled(&self.file)
    }
}

struct Hashing<'a>(&'a mut sha2::Sha256);

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hexadecimal(hash: sha2::Sha256) -> String {
    Sha256(hash.finalize().into()).to_string()
}

fn null_device() -> u64 {
    std::fs::metadata("/dev/null").map_or(u64::MAX, |found| found.rdev())
}

/// The bytes of stdin, read by a thread of their own: a read of a silent pipe can be neither polled nor ended. The
/// thread dies with the process. The channel's end is the end of stdin.
fn reads(source: Source<'_>) -> io::Result<mpsc::Receiver<io::Result<Vec<u8>>>> {
    let (sender, receiver) = mpsc::channel(READS_WAITING_MAX);
    let mut stdin: Box<dyn Read + Send> = match source {
        Source::Pipe => Box::new(io::stdin()),
        Source::Spooled(file) => {
            let mut file = file.try_clone()?;
            file.rewind()?;
            Box::new(file)
        }
    };
    std::thread::spawn(move || {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => Ok(buffer[..n].to_vec()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            if sender.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    Ok(receiver)
}

/// Streams stdin to execution `id` until it ends, or the script wants no more. What fails ends the script's input:
/// it must not wait for bytes that never come.
pub(crate) async fn pump(
    connection: &Connection,
    id: &str,
    source: Source<'_>,
    notes: Notes,
) -> Result<(), Error> {
    let mut offset = 0;
    let streamed = stream(connection, id, source, notes, &mut offset).await;
    if streamed.is_err() {
        let end = WriteStdin { offset, eof: true, sha256: None };
        // The first failure is the one to tell.
        let _ = connection.client().write_stdin(id, &end, Vec::new()).await;
    }
    streamed
}

async fn stream(
    connection: &Connection,
    id: &str,
    source: Source<'_>,
    notes: Notes,
    offset: &mut u64,
) -> Result<(), Error> {
    let failed = |source| Error::File { doing: Doing::Read, path: "standard input".into(), source };
    let mut reads = reads(source).map_err(failed)?;
    let mut hash = sha2::Sha256::new();
    let mut waiting = Vec::new();
    let mut eof = false;
    while !eof {
        match reads.recv().await {
            Some(read) => append(&mut waiting, read)?,
            None => eof = true,
        }
        // What is there already goes along.
        while waiting.len() + READ_BYTES <= REQUEST_BYTES_MAX {
            match reads.try_recv() {
                Ok(read) => append(&mut waiting, read)?,
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    eof = true;
                    break;
                }
            }
        }
        if *offset + waiting.len() as u64 > STDIN_BYTES_MAX {
            notes.insist(&format!(
                "more than {} on standard input: what is beyond was not sent; give a file as an argument instead",
                format_bytes(STDIN_BYTES_MAX)
            ));
            waiting.truncate((STDIN_BYTES_MAX - *offset) as usize);
            eof = true;
        }
        hash.update(&waiting);
        let end = eof.then(|| hexadecimal(hash.clone()));
        if !send(connection, id, offset, std::mem::take(&mut waiting), end).await? {
            return Ok(());
        }
    }
    Ok(())
}

fn append(waiting: &mut Vec<u8>, read: io::Result<Vec<u8>>) -> Result<(), Error> {
    let bytes =
        read.map_err(|source| Error::File { doing: Doing::Read, path: "standard input".into(), source })?;
    waiting.extend_from_slice(&bytes);
    Ok(())
}

/// Sends `bytes`, however often it takes; `end` is the hash of all, with the last of them. False when the script wants no
/// more.
async fn send(
    connection: &Connection,
    id: &str,
    offset: &mut u64,
    bytes: Vec<u8>,
    end_sha256: Option<String>,
) -> Result<bool, Error> {
    let end = *offset + bytes.len() as u64;
    let mut rest = bytes;
    let mut patience = Patience::new(FOLLOW_PATIENCE);
    let mut full_pause = FULL_PAUSE;
    loop {
        let query = WriteStdin { offset: *offset, eof: end_sha256.is_some(), sha256: end_sha256.clone() };
        match connection.client().write_stdin(id, &query, rest.clone()).await {
            Ok(written) => {
                patience.restored();
                let taken = written.next.clamp(*offset, end);
                rest.drain(..(taken - *offset) as usize);
                let moved = taken > *offset;
                *offset = taken;
                if !written.wanted || *offset == end {
                    return Ok(written.wanted);
                }
                if moved {
                    full_pause = FULL_PAUSE;
                } else {
                    tokio::time::sleep(full_pause).await;
                    full_pause = (full_pause * 2).min(FULL_PAUSE_MAX);
                }
            }
            // The follow says so, and ends the command if it lasts.
            Err(error) if error.is_passing() => match patience.failed().await {
                Again::Try { .. } => {}
                Again::GiveUp => return Err(connection.failed(error)),
            },
            Err(error) => return Err(connection.failed(error)),
        }
    }
}
