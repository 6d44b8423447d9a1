//! `rgrid logs`: what an execution wrote, byte for byte; with `-f` until it ends; with `--packages` what was said before,
//! while its packages were installed.

use std::io;

use rgrid_api::dependencies::EnvironmentLog;
use rgrid_api::logs::{Cursor, ReadLogs, Stream};
use rgrid_core::outcome::{EXIT_GRID_FAILED, EXIT_INTERRUPTED};

use crate::args::{LogsArgs, OnInterrupt};
use crate::errors::{Doing, Error};
use crate::follow::{Show, Sink};
use crate::grid::EmbeddedGrid;
use crate::interrupt::Signals;
use crate::session::{Connection, Session};
use crate::terminal;
use crate::transcript::{Addition, Transcript};
use crate::watch::{Watch, Watched, watch};

pub(super) async fn logs<G: EmbeddedGrid>(args: LogsArgs, session: &Session<'_, G>) -> Result<u8, Error> {
    let connection = session.connect().await?;
    if args.packages {
        return packages(session, &connection, &args.id).await;
    }
    let execution =
        connection.client().execution(&args.id).await.map_err(|error| connection.failed(error))?;
    let show = match (args.stdout_only, args.stderr_only) {
        (true, _) => Show::StdoutOnly,
        (false, true) => Show::StderrOnly,
        (false, false) => Show::Both,
    };
    let mut cursor = Cursor { attempt: execution.attempt, ..Cursor::default() };
    if !args.follow || args.tail.is_some() {
        let Some(end) = read(session, &connection, &execution.id, args.tail, show).await? else {
            return Ok(0);
        };
        cursor = end;
    }
    if !args.follow {
        return Ok(0);
    }
    let what = Watch { id: &execution.id, cursor, show, policy: OnInterrupt::Detach, stdin: None };
    match watch(session, &connection, what, &mut Signals::install()).await? {
        Watched::Ended { execution, .. } => {
            if session.globals.json {
                terminal::write_stderr(&session.output().ended(&execution, &[], false));
            }
            Ok(execution.exit_code.unwrap_or(EXIT_GRID_FAILED))
        }
        Watched::Left => Ok(EXIT_INTERRUPTED),
    }
}

/// Prints what was said while the packages of the newest attempt were installed.
async fn packages<G: EmbeddedGrid>(
    session: &Session<'_, G>,
    connection: &Connection,
    id: &str,
) -> Result<u8, Error> {
    let told = connection.client().environment_log(id).await.map_err(|error| connection.failed(error))?;
    if let Some(sentence) = told.installation().sentence() {
        session.notes.say(sentence);
    }
    if let EnvironmentLog::Told { log: Some(log), .. } = told {
        // Nothing follows it that a reader who left would miss.
        written(Sink::new(Show::Both).write(Stream::Stdout, &log.0).await)?;
    }
    Ok(0)
}

/// Whether anybody reads on.
#[derive(PartialEq, Eq)]
enum Reader {
    Reads,
    Left,
}

fn written(result: io::Result<()>) -> Result<Reader, Error> {
    match result {
        Ok(()) => Ok(Reader::Reads),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Left),
        Err(source) => Err(Error::File { doing: Doing::Write, path: "standard output".into(), source }),
    }
}

/// Prints what is there, from `tail` lines before the end on, and gives the cursor behind it; `None` when the reader
/// left.
async fn read<G: EmbeddedGrid>(
    session: &Session<'_, G>,
    connection: &Connection,
    id: &str,
    tail: Option<u32>,
    show: Show,
) -> Result<Option<Cursor>, Error> {
    let mut sink = Sink::new(show);
    let mut query = ReadLogs { cursor: None, tail };
    let mut cursor = Cursor::default();
    loop {
        let page = connection.client().logs(id, &query).await.map_err(|error| connection.failed(error))?;
        // The first chunk says where the page starts: what is before it was not asked for.
        for chunk in &page.chunks {
            let start = Cursor { attempt: chunk.attempt, stdout: chunk.offset, stderr: chunk.offset };
            for addition in Transcript::from(start).take(chunk) {
                match addition {
                    Addition::Bytes(stream, bytes) => {
                        if written(sink.write(stream, &bytes).await)? == Reader::Left {
                            return Ok(None);
                        }
                    }
                    Addition::Note(sentence) => session.notes.insist(&sentence),
                }
            }
        }
        cursor = page.next.parse().unwrap_or_else(|_| page.chunks.iter().fold(cursor, Cursor::after));
        if page.complete || page.chunks.is_empty() {
            return Ok(Some(cursor));
        }
        query = ReadLogs { cursor: Some(page.next), tail: None };
    }
}
