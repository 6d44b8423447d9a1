//! The two streams of a job, from its pipes to the grid: byte for byte, in order, within the log's limit.
//!
//! Memory is bounded: when what waits for the grid is too much, the pipes are left full, and the script waits in
//! its write as it would for a slow terminal. No byte is lost while the grid is away.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use chrono::Utc;
use rgrid_api::attempts::{LogsPushed, PushLogs};
use rgrid_api::client::{AttemptRef, Client, ClientError};
use rgrid_api::error::ErrorCode;
use rgrid_api::logs::{LogChunk, Stream};
use rgrid_api::workers::Directive;
use rgrid_core::limits;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::log_limit::{CHUNK_BYTES, LogLimit, Tail};
use crate::mask::Mask;
use crate::retry::{self, Pauses};

/// Bytes that wait for the grid before the pipes are left full.
const BUFFER_BYTES: usize = 4 * limits::LOG_PUSH_BYTES;
/// A pipe that is still open this long after the job's end is held by something else.
const PIPE_LINGER: Duration = Duration::from_secs(2);
/// Notices of ours that may wait; more are never made.
pub(crate) const NOTICES_MAX: usize = 8;

/// How a pump ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogEnd {
    /// Everything is on the grid.
    Pushed {
        /// Bytes of standard output.
        stdout_bytes: u64,
        /// Bytes of standard error.
        stderr_bytes: u64,
    },
    /// The attempt is not current any more.
    Stale,
    /// The grid stayed away too long.
    GaveUp,
    /// The grid refused the log for good.
    Refused,
}

/// The job's ends of the pipes are elsewhere; these are ours, and what is heard meanwhile.
pub(crate) struct Sources {
    /// The reading end of standard output.
    pub(crate) stdout: OwnedFd,
    /// The reading end of standard error.
    pub(crate) stderr: OwnedFd,
    /// Lines of ours that go to standard error.
    pub(crate) notices: mpsc::Receiver<String>,
    /// Tells whether somebody follows.
    pub(crate) directive: watch::Receiver<Directive>,
    /// Fires when the attempt is not current any more; a push may be the first to learn it.
    pub(crate) stale: CancellationToken,
    /// The job has ended: what still keeps a pipe open is not waited for.
    pub(crate) ended: CancellationToken,
    /// Takes secrets out of what is read, before anything counts its bytes.
    pub(crate) mask: Mask,
    /// Push no more: the patience is over, or nobody wants it.
    pub(crate) abandoned: CancellationToken,
}

type Push = Pin<Box<dyn Future<Output = Result<LogsPushed, ClientError>> + Send>>;

/// What a push said of the attempt.
#[derive(PartialEq, Eq)]
enum Pushed {
    Known,
    Stale,
}

struct Pump<'a> {
    client: &'a Client,
    attempt: &'a AttemptRef,
    limit: LogLimit,
    waiting: VecDeque<LogChunk>,
    waiting_bytes: usize,
    /// When the oldest waiting byte came.
    waiting_since: Instant,
    last_push: Option<Instant>,
    followed: bool,
    /// Of standard output and of standard error.
    masks: [Mask; 2],
    /// The grid refused the log: the pipes are read on, for a log never ends a job, and what comes is dropped.
    refused: bool,
    stderr_at_line_start: bool,
}

/// Pumps until both pipes are at their end and everything is pushed.
pub(crate) async fn pump(
    client: &Client,
    attempt: &AttemptRef,
    mut sources: Sources,
    spool_folder: &Path,
) -> io::Result<LogEnd> {
    let mut stdout = Some(pipe::Receiver::from_owned_fd(sources.stdout)?);
    let mut stderr = Some(pipe::Receiver::from_owned_fd(sources.stderr)?);
    let followed = sources.directive.borrow_and_update().followed;
    let mut pump = Pump {
        client,
        attempt,
        limit: LogLimit::new(attempt.attempt, limits::LOG_BYTES_MAX, spool_folder),
        waiting: VecDeque::new(),
        waiting_bytes: 0,
        waiting_since: Instant::now(),
        last_push: None,
        followed,
        masks: [sources.mask.clone(), sources.mask],
        refused: false,
        stderr_at_line_start: true,
    };
    let mut push: Option<Push> = None;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut heard = true;
    let mut linger_until: Option<Instant> = None;
    while stdout.is_some() || stderr.is_some() {
        let room = pump.waiting_bytes < BUFFER_BYTES;
        let due = pump.due();
        tokio::select! {
            biased;
            () = sources.abandoned.cancelled() => return Ok(LogEnd::GaveUp),
            answer = async { push.as_mut().expect("guarded by the condition").await }, if push.is_some() => {
                push = None;
                if pump.pushed(answer) == Pushed::Stale {
                    sources.stale.cancel();
                    return Ok(LogEnd::Stale);
                }
            }
            () = tokio::time::sleep_until(due), if push.is_none() && !pump.waiting.is_empty() => {
                push = Some(pump.push());
            }
            ready = readable(&stdout), if room && stdout.is_some() => {
                ready?;
                pump.read(&mut stdout, Stream::Stdout, &mut buffer)?;
                // A flood on one stream must not hold up the other.
                pump.read(&mut stderr, Stream::Stderr, &mut buffer)?;
            }
            ready = readable(&stderr), if room && stderr.is_some() => {
                ready?;
                pump.read(&mut stderr, Stream::Stderr, &mut buffer)?;
            }
            Some(notice) = sources.notices.recv() => pump.notice(&notice),
            changed = sources.directive.changed(), if heard => {
                heard = changed.is_ok();
                pump.followed |= sources.directive.borrow_and_update().followed;
            }
            () = sources.ended.cancelled(), if linger_until.is_none() => {
                linger_until = Some(Instant::now() + PIPE_LINGER);
            }
            // With the job's tree gone the pipes are at their end; what still keeps one open is not the job.
            () = tokio::time::sleep_until(linger_until.unwrap_or(due)), if room && linger_until.is_some() => break,
        }
    }
    // A pipe that something else keeps open has not ended by itself.
    for stream in [Stream::Stdout, Stream::Stderr] {
        pump.end_of(stream);
    }
    pump.drain(push, &sources.abandoned).await
}

async fn readable(pipe: &Option<pipe::Receiver>) -> io::Result<()> {
    match pipe {
        Some(pipe) => pipe.readable().await,
        None => std::future::pending().await,
    }
}

impl Pump<'_> {
    /// When the next push may start: at once when a push is full or somebody follows, and no sooner than a period
    /// after the last.
    fn due(&self) -> Instant {
        if self.waiting_bytes >= limits::LOG_PUSH_BYTES {
            return Instant::now();
        }
        match (self.followed, self.last_push) {
            (true, None) => self.waiting_since,
            (true, Some(last)) => last + limits::LOG_PUSH_FOLLOWED,
            (false, _) => self.waiting_since + limits::LOG_PUSH_UNFOLLOWED,
        }
    }

    fn read(
        &mut self,
        pipe: &mut Option<pipe::Receiver>,
        stream: Stream,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        let Some(open) = pipe else { return Ok(()) };
        match open.try_read(buffer) {
            Ok(0) => {
                *pipe = None;
                self.end_of(stream);
            }
            Ok(count) => {
                let mask = self.mask(stream);
                if mask.is_idle() {
                    self.accept(stream, &buffer[..count]);
                } else {
                    let shown = mask.pass(&buffer[..count]);
                    self.accept(stream, &shown);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn mask(&mut self, stream: Stream) -> &mut Mask {
        match stream {
            Stream::Stdout => &mut self.masks[0],
            Stream::Stderr => &mut self.masks[1],
        }
    }

    /// Shows what the mask held back.
    fn end_of(&mut self, stream: Stream) {
        let rest = self.mask(stream).end();
        self.accept(stream, &rest);
    }

    fn accept(&mut self, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if stream == Stream::Stderr {
            self.stderr_at_line_start = bytes.last() == Some(&b'\n');
        }
        let passed = self.limit.accept(stream, bytes, Utc::now());
        if let Some(chunk) = passed.filter(|_| !self.refused) {
            self.enqueue(chunk);
        }
    }

    /// A line of ours, on a line of its own.
    fn notice(&mut self, notice: &str) {
        let line = format!("{}rgrid: {notice}\n", if self.stderr_at_line_start { "" } else { "\n" });
        self.accept(Stream::Stderr, line.as_bytes());
    }

    fn enqueue(&mut self, chunk: LogChunk) {
        if self.waiting.is_empty() {
            self.waiting_since = Instant::now();
        }
        self.waiting_bytes += chunk.bytes.0.len();
        match self.waiting.back_mut() {
            Some(last)
                if last.stream == chunk.stream
                    && last.gap_bytes == 0
                    && chunk.gap_bytes == 0
                    && last.bytes.0.len() + chunk.bytes.0.len() <= CHUNK_BYTES =>
            {
                last.bytes.0.extend_from_slice(&chunk.bytes.0);
            }
            Some(_) | None => self.waiting.push_back(chunk),
        }
    }

    fn push(&mut self) -> Push {
        let mut chunks = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.waiting.front()
            && (chunks.is_empty() || bytes + next.bytes.0.len() <= limits::LOG_PUSH_BYTES)
        {
            bytes += next.bytes.0.len();
            chunks.extend(self.waiting.pop_front());
        }
        self.waiting_bytes -= bytes;
        self.waiting_since = Instant::now();
        self.last_push = Some(self.waiting_since);
        let (client, attempt, body) = (self.client.clone(), self.attempt.clone(), PushLogs { chunks });
        Box::pin(async move {
            let mut pauses = Pauses::new();
            loop {
                match client.push_logs(&attempt, &body).await {
                    Err(error) if error.is_passing() => tokio::time::sleep(pauses.next()).await,
                    other => return other,
                }
            }
        })
    }

    fn pushed(&mut self, answer: Result<LogsPushed, ClientError>) -> Pushed {
        match answer {
            Ok(pushed) => self.followed = pushed.followed,
            Err(error) if retry::code(&error) == Some(ErrorCode::NotCurrent) => return Pushed::Stale,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the grid refuses the log");
                self.refused = true;
                self.waiting.clear();
                self.waiting_bytes = 0;
            }
        }
        Pushed::Known
    }

    /// Pushes what is left, one push after the other.
    async fn drain(mut self, mut push: Option<Push>, abandoned: &CancellationToken) -> io::Result<LogEnd> {
        let (stdout_bytes, stderr_bytes) =
            (self.limit.written(Stream::Stdout), self.limit.written(Stream::Stderr));
        let spent = LogLimit::new(self.attempt.attempt, 0, Path::new(""));
        let mut tail: Tail = std::mem::replace(&mut self.limit, spent).into_tail();
        loop {
            if self.refused {
                return Ok(LogEnd::Refused);
            }
            while self.waiting_bytes < limits::LOG_PUSH_BYTES
                && let Some(chunk) = tail.next()
            {
                self.enqueue(chunk);
            }
            let current = match push.take() {
                Some(running) => running,
                None if self.waiting.is_empty() => return Ok(LogEnd::Pushed { stdout_bytes, stderr_bytes }),
                None => self.push(),
            };
            let answer = tokio::select! {
                () = abandoned.cancelled() => return Ok(LogEnd::GaveUp),
                answer = current => answer,
            };
            if self.pushed(answer) == Pushed::Stale {
                return Ok(LogEnd::Stale);
            }
        }
    }
}
