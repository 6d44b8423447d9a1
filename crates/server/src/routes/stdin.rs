//! `POST /executions/{id}/stdin`: bytes for the script's standard input, while it runs or before.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use rgrid_api::logs::{StdinWritten, WriteStdin};
use rgrid_core::limits::POLL_FALLBACK;
use rgrid_store::notify::Nudge;
use rgrid_store::stdin::StdinEnd;
use tokio::time::Instant;

use crate::auth::Member;
use crate::error::Refused;
use crate::parse::{Named, Parameters, read_body};
use crate::routes::executions;
use crate::state::App;

/// Bytes of one write.
const WRITE_BYTES_MAX: usize = 1 << 20;
/// Standard input is told with the logs: bytes came, or room for more was made.
pub(crate) const STDIN_NUDGE: Nudge = Nudge::Logs;
/// A write that finds the buffer full waits this long for room before it is answered with none taken.
const ROOM_WAIT: Duration = Duration::from_secs(5);

/// Write to standard input
///
/// The body is the bytes, at most 1 MiB. The answer says from where to go on: when the buffer is full, from the same
/// place.
#[utoipa::path(post, path = "/executions/{id}/stdin", tag = "executions",
    params(("id" = String, Path, description = "an id, a prefix of one, or `last`"), WriteStdin),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = StdinWritten)))]
pub(crate) async fn write(
    State(app): State<App>,
    member: Member,
    Named(id): Named<String>,
    Parameters(query): Parameters<WriteStdin>,
    request: Request,
) -> Result<Json<StdinWritten>, Refused> {
    let id = executions::resolve(&app, member.account(), &id).await?;
    let sha256 = query.sha256.map(|text| text.parse().map_err(|error| Refused::invalid("sha256", error)));
    let sha256 = sha256.transpose()?;
    let end = if query.eof { StdinEnd::Here(sha256) } else { StdinEnd::Open };
    let bytes = read_body(request, WRITE_BYTES_MAX, app.bounds.body).await?;
    // Listen before looking: room that is made in between must not be missed.
    let mut moved = app.nudges.listen(STDIN_NUDGE);
    let deadline = Instant::now() + ROOM_WAIT;
    loop {
        let written = app.store.write_stdin(member.account(), id, query.offset, &bytes, end).await?;
        let is_full = written.wanted && written.next <= query.offset && !bytes.is_empty();
        if !is_full || Instant::now() >= deadline || app.shutdown.is_cancelled() {
            return Ok(Json(StdinWritten { next: written.next, wanted: written.wanted }));
        }
        tokio::select! {
            () = moved.rung() => {}
            () = tokio::time::sleep(POLL_FALLBACK) => {}
            () = app.shutdown.cancelled() => {}
        }
    }
}
