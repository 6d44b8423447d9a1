//! `POST /heartbeats`: a worker lives, and holds these attempts.

use axum::Json;
use axum::extract::State;
use rgrid_api::workers::{Heartbeat, HeartbeatAnswer};
use rgrid_store::workers::HeartbeatRow;

use crate::auth::WorkerCredential;
use crate::bodies;
use crate::error::Refused;
use crate::parse::Body;
use crate::state::App;

/// Say that a worker lives
///
/// Only attempts that are named keep their leases. Every 5 s.
#[utoipa::path(post, path = "/heartbeats", tag = "runner", request_body = Heartbeat,
    responses((status = 200, body = HeartbeatAnswer)))]
pub(crate) async fn beat(
    State(app): State<App>,
    WorkerCredential(worker_id): WorkerCredential,
    body: Body<Heartbeat>,
) -> Result<Json<HeartbeatAnswer>, Refused> {
    let holding = bodies::holding(body.value.holding)?;
    let directives = app.heartbeats.beat(HeartbeatRow { worker_id, holding }).await?;
    Ok(Json(HeartbeatAnswer {
        not_current: directives.not_current.into_iter().map(bodies::held).collect(),
        directives: directives.directives.iter().map(bodies::directive).collect(),
        drain: directives.drain,
    }))
}
