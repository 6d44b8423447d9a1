//! `POST /prune`: what no execution needs, and what is beyond its retention, goes now.

use axum::Json;
use axum::extract::State;
use rgrid_api::health::Pruned;

use crate::auth::Member;
use crate::error::Refused;
use crate::state::App;

/// Remove what is not needed
///
/// Blobs that no execution needs and executions beyond their retention, of the key's account.
#[utoipa::path(post, path = "/prune", tag = "blobs", responses((status = 200, body = Pruned)))]
pub(crate) async fn prune(State(app): State<App>, member: Member) -> Result<Json<Pruned>, Refused> {
    let pruned = app.store.prune(member.account()).await?;
    Ok(Json(Pruned { blobs: pruned.blobs, bytes: pruned.bytes, executions: pruned.executions }))
}
