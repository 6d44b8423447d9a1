//! `GET /executions/{id}/logs` by pages, and `/logs/stream` live. The stream's life is in `follow.rs`.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use rgrid_api::bytes64::Bytes64;
use rgrid_api::events::SentEvent;
use rgrid_api::logs::{Cursor, LogChunk, LogPage, ReadLogs, Stream};
use rgrid_core::id::{AccountId, ExecutionId};
use rgrid_store::logs::{LogCursor, LogStream};
use tokio_stream::wrappers::ReceiverStream;

use crate::auth::Member;
use crate::error::Refused;
use crate::follow;
use crate::parse::{Named, Parameters};
use crate::routes::executions;
use crate::state::App;

/// Bytes of one page.
const PAGE_BYTES: usize = 1 << 20;
/// A stream without events says so this often.
const COMMENT_PERIOD: Duration = Duration::from_secs(10);
/// Lines that `tail` may ask for.
const TAIL_LINES_MAX: u32 = 1_000_000;

/// Read a log
///
/// Pages of about 1 MiB, in the order in which it was written.
#[utoipa::path(get, path = "/executions/{id}/logs", tag = "executions",
    params(("id" = String, Path, description = "an id, a prefix of one, or `last`"), ReadLogs),
    responses((status = 200, body = LogPage)))]
pub(crate) async fn read(
    State(app): State<App>,
    member: Member,
    Named(id): Named<String>,
    Parameters(query): Parameters<ReadLogs>,
) -> Result<Json<LogPage>, Refused> {
    let account = member.account();
    let id = executions::resolve(&app, account, &id).await?;
    let cursor = first_cursor(&app, account, id, &query).await?;
    let page = page(&app, account, id, cursor).await?;
    Ok(Json(LogPage { chunks: page.chunks, next: page.next.to_string(), complete: page.complete }))
}

/// Follow a log
///
/// Server-sent events; the data of each is a FollowEvent. `Last-Event-ID` resumes without gap or duplicate. The
/// stream ends after the event `end`; one that ends without it was cut.
#[utoipa::path(get, path = "/executions/{id}/logs/stream", tag = "executions",
    params(("id" = String, Path, description = "an id, a prefix of one, or `last`"), ReadLogs,
        ("last-event-id" = Option<String>, Header, description = "the `id:` of the last event that was read")),
    responses((status = 200, body = SentEvent, content_type = "text/event-stream")))]
pub(crate) async fn stream(
    State(app): State<App>,
    member: Member,
    Named(id): Named<String>,
    Parameters(mut query): Parameters<ReadLogs>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let account = member.account();
    let id = executions::resolve(&app, account, &id).await?;
    if let Some(last) = headers.get("last-event-id") {
        query.cursor = Some(String::from_utf8_lossy(last.as_bytes()).into_owned());
    }
    let cursor = first_cursor(&app, account, id, &query).await?;
    // The first page is read before the stream is answered: what is wrong with the request is still an error now.
    page(&app, account, id, cursor).await?;
    let events = ReceiverStream::new(follow::start(&app, &member, id, cursor)?).map(Ok::<_, Infallible>);
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(COMMENT_PERIOD)).into_response();
    // A proxy that collects an answer would hold the lines back.
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// Where a reader starts, and whether there is such an execution at all.
async fn first_cursor(
    app: &App,
    account: AccountId,
    id: ExecutionId,
    query: &ReadLogs,
) -> Result<Cursor, Refused> {
    match (&query.cursor, query.tail) {
        (Some(text), _) => text.parse().map_err(|error| Refused::invalid("cursor", error)),
        (None, Some(lines)) if lines > TAIL_LINES_MAX => {
            Err(Refused::invalid("tail", format!("at most {TAIL_LINES_MAX} lines")))
        }
        (None, Some(lines)) => Ok(cursor_body(app.store.log_tail_cursor(account, id, lines).await?)),
        (None, None) => Ok(cursor_body(app.store.log_start_cursor(account, id).await?)),
    }
}

/// A page of a log, in the API's words.
pub(crate) struct Page {
    pub(crate) chunks: Vec<LogChunk>,
    pub(crate) next: Cursor,
    pub(crate) complete: bool,
    /// The page ends because it is full.
    pub(crate) full: bool,
}

/// What follows `cursor`.
pub(crate) async fn page(
    app: &App,
    account: AccountId,
    id: ExecutionId,
    cursor: Cursor,
) -> Result<Page, Refused> {
    let from = LogCursor { attempt: cursor.attempt, stdout: cursor.stdout, stderr: cursor.stderr };
    let page = app.store.read_logs(account, id, from, PAGE_BYTES).await?;
    let bytes: usize = page.chunks.iter().map(|chunk| chunk.piece.bytes.len()).sum();
    Ok(Page {
        chunks: page.chunks.into_iter().map(chunk).collect(),
        next: cursor_body(page.next),
        complete: page.complete,
        full: bytes >= PAGE_BYTES,
    })
}

fn chunk(row: rgrid_store::logs::LogChunk) -> LogChunk {
    LogChunk {
        attempt: row.attempt,
        stream: match row.piece.stream {
            LogStream::Stdout => Stream::Stdout,
            LogStream::Stderr => Stream::Stderr,
        },
        offset: row.piece.offset,
        bytes: Bytes64(row.piece.bytes),
        gap_bytes: row.piece.gap_bytes,
        at: row.piece.at,
    }
}

fn cursor_body(row: LogCursor) -> Cursor {
    Cursor { attempt: row.attempt, stdout: row.stdout, stderr: row.stderr }
}
