//! Follows an execution to its end: its bytes on the person's streams, unchanged, without a gap or a repetition,
//! however often the connection breaks.

use std::io;

use futures_util::StreamExt;
use rgrid_api::client::ClientError;
use rgrid_api::events::FollowEvent;
use rgrid_api::executions::Execution;
use rgrid_api::logs::{Cursor, Stream};
use tokio::io::{AsyncWriteExt, Stderr, Stdout};
use tokio::time::Instant;

use crate::errors::{Doing, Error};
use crate::grid::EmbeddedGrid;
use crate::patience::{Again, FOLLOW_PATIENCE, Patience, WORTH_A_SENTENCE};
use crate::progress::Progress;
use crate::session::{Connection, Session};
use crate::terminal::shown;
use crate::transcript::{Addition, Transcript};

/// Which of the script's streams are shown, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// Each on its own.
    Both,
    /// Only standard output.
    StdoutOnly,
    /// Only standard error.
    StderrOnly,
    /// Both on stderr: stdout is for a result in JSON.
    BothOnStderr,
}

/// How a follow ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The execution ended.
    Execution {
        execution: Box<Execution>,
        /// The end of what it wrote to standard error.
        stderr_tail: String,
    },
    /// Nobody reads our stdout any more, as after `| head`.
    ReaderLeft,
}

/// Prints what execution `id` wrote and writes, from `cursor` on, until it ends.
pub(crate) async fn follow<G: EmbeddedGrid>(
    session: &Session<'_, G>,
    connection: &Connection,
    id: &str,
    cursor: Cursor,
    show: Show,
) -> Result<Ended, Error> {
    let mut follower = Follower {
        transcript: Transcript::from(cursor),
        sink: Sink::new(show),
        progress: Progress::new(session.terminal, session.notes),
        session,
    };
    let mut patience = Patience::new(FOLLOW_PATIENCE);
    let result = loop {
        let last = match connection.client().follow(id, follower.transcript.cursor()).await {
            Ok(events) => match follower.read(events, &mut patience).await {
                Read::Cut(error) => error,
                Read::End(ended) => break Ok(ended),
                Read::Unwritable(error) => break unwritable(error),
            },
            Err(error) => Some(error),
        };
        if let Some(error) = last.as_ref().filter(|error| !error.is_passing()) {
            // A damaged stream reads as no grid's answer; the next one may be whole.
            if matches!(error, ClientError::Api(_)) {
                break Err(connection.failed(last.expect("it was looked at just now")));
            }
        }
        match patience.failed().await {
            Again::GiveUp => break Err(Error::FollowCut { id: id.to_owned(), source: last.map(Box::new) }),
            Again::Try { tell } => {
                if tell {
                    follower.progress.clear();
                    session
                        .notes
                        .insist("the grid does not answer; the script goes on, and this waits for the grid");
                }
            }
        }
        if matches!(last, Some(ClientError::Unreachable { .. }))
            && let Err(error) = session.renew(connection).await
            && patience.failed().await == Again::GiveUp
        {
            break Err(error);
        }
    };
    follower.progress.clear();
    result
}

struct Follower<'a, G> {
    transcript: Transcript,
    sink: Sink,
    progress: Progress,
    session: &'a Session<'a, G>,
}

/// How one stream of events ended.
enum Read {
    Cut(Option<ClientError>),
    End(Ended),
    Unwritable(io::Error),
}

/// Our own stdout takes no more: its reader left, or there is a fault to tell.
fn unwritable(source: io::Error) -> Result<Ended, Error> {
    if source.kind() == io::ErrorKind::BrokenPipe {
        return Ok(Ended::ReaderLeft);
    }
    Err(Error::File { doing: Doing::Write, path: "standard output".into(), source })
}

impl<G: EmbeddedGrid> Follower<'_, G> {
    async fn read(
        &mut self,
        mut events: impl futures_util::Stream<Item = Result<FollowEvent, ClientError>> + Unpin,
        patience: &mut Patience,
    ) -> Read {
        let mut waiting: Option<String> = None;
        let mut told: Option<String> = None;
        let worth_a_sentence = Instant::now() + WORTH_A_SENTENCE;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = tokio::time::sleep_until(worth_a_sentence), if waiting.is_some() && waiting != told => {
                    self.tell_waiting(waiting.as_deref().unwrap_or_default());
                    told.clone_from(&waiting);
                    continue;
                }
            };
            let event = match event {
                Some(Ok(event)) => event,
                Some(Err(error)) => return Read::Cut(Some(error)),
                None => return Read::Cut(None),
            };
            if patience.restored() {
                self.session.notes.insist("the grid answers again");
            }
            match event {
                FollowEvent::Status { execution } => {
                    waiting = execution.waiting;
                    if waiting.is_none() {
                        self.progress.clear();
                    }
                }
                FollowEvent::Log { chunk } => {
                    waiting = None;
                    let additions = self.transcript.take(&chunk);
                    if let Err(error) = self.print(additions).await {
                        return Read::Unwritable(error);
                    }
                }
                FollowEvent::End { execution } => {
                    let additions = self.transcript.end();
                    if let Err(error) = self.print(additions).await {
                        return Read::Unwritable(error);
                    }
                    let stderr_tail = self.transcript.stderr_tail();
                    return Read::End(Ended::Execution { execution, stderr_tail });
                }
            }
        }
    }

    /// Why it waits: a line that goes again on a terminal, else a sentence of its own.
    fn tell_waiting(&self, sentence: &str) {
        if self.progress.is_visible() {
            self.progress.wait(sentence);
        } else {
            self.session.notes.say(&shown(sentence));
        }
    }

    async fn print(&mut self, additions: Vec<Addition>) -> io::Result<()> {
        if !additions.is_empty() {
            self.progress.clear();
        }
        for addition in additions {
            match addition {
                Addition::Bytes(stream, bytes) => self.sink.write(stream, &bytes).await?,
                Addition::Note(sentence) => self.session.notes.insist(&sentence),
            }
        }
        Ok(())
    }
}

/// The person's two streams. Writes go through the runtime, so that a slow pager does not hold up a Ctrl-C.
pub(crate) struct Sink {
    show: Show,
    stdout: Stdout,
    stderr: Stderr,
}

impl Sink {
    pub(crate) fn new(show: Show) -> Self {
        Self { show, stdout: tokio::io::stdout(), stderr: tokio::io::stderr() }
    }

    /// Writes the bytes at once, whole. Only stdout can fail: a closed stderr must not end a job whose results
    /// still arrive.
    pub(crate) async fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        match (self.show, stream) {
            (Show::Both | Show::StdoutOnly, Stream::Stdout) => {
                self.stdout.write_all(bytes).await?;
                self.stdout.flush().await
            }
            (Show::Both | Show::StderrOnly, Stream::Stderr)
            | (Show::BothOnStderr, Stream::Stdout | Stream::Stderr) => {
                if self.stderr.write_all(bytes).await.is_ok() {
                    // As above.
                    let _ = self.stderr.flush().await;
                }
                Ok(())
            }
            (Show::StdoutOnly, Stream::Stderr) | (Show::StderrOnly, Stream::Stdout) => Ok(()),
        }
    }
}
