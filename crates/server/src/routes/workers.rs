//! `GET /workers` for people, and `POST /workers/join`, by which a runner becomes one.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use rgrid_api::workers::{Join, Joined, WorkerList};
use rgrid_core::limits::METADATA_BYTES_MAX;
use rgrid_core::worker::LimitGrade;
use rgrid_store::workers::{JoinRow, SandboxRow};

use crate::auth::Admin;
use crate::error::Refused;
use crate::parse::Body;
use crate::state::App;
use crate::{bodies, version};

/// Attempts that one worker may run at once: far more than any machine can.
const SLOTS_MAX: u32 = 4096;

/// List workers
///
/// All that are not terminated, and those terminated within the last hour.
#[utoipa::path(get, path = "/workers", tag = "workers", responses((status = 200, body = WorkerList)))]
pub(crate) async fn list(State(app): State<App>, _admin: Admin) -> Result<Json<WorkerList>, Refused> {
    let rows = app.store.workers().await?;
    let (servers, now) = (app.store.servers().await?, app.store.now().await?);
    Ok(Json(WorkerList { workers: rows.iter().map(|row| bodies::worker(row, &servers, now)).collect() }))
}

/// Join the grid as a worker
///
/// The token is the permission; no key is needed. Repeating it with the same nonce is safe until the first heartbeat.
#[utoipa::path(post, path = "/workers/join", tag = "runner", request_body = Join, security(()),
    responses((status = 201, body = Joined)))]
pub(crate) async fn join(
    State(app): State<App>,
    body: Body<Join>,
) -> Result<(StatusCode, Json<Joined>), Refused> {
    let row = parse(&app.version, body.value)?;
    let (worker_id, credential) = app.store.join(&row).await?;
    tracing::info!(worker = %worker_id, hostname = row.hostname, version = row.version, "a worker joined");
    Ok((StatusCode::CREATED, Json(Joined { worker_id: worker_id.to_string(), credential })))
}

pub(crate) fn parse(ours: &str, join: Join) -> Result<JoinRow, Refused> {
    version::check(ours, &join.version)?;
    let texts = [
        ("token", &join.token),
        ("nonce", &join.nonce),
        ("version", &join.version),
        ("hostname", &join.hostname),
    ];
    for (field, text) in texts {
        if text.is_empty() || text.len() > METADATA_BYTES_MAX || text.contains('\0') {
            return Err(Refused::invalid(field, format!("has 1 to {METADATA_BYTES_MAX} bytes and no NUL")));
        }
    }
    if !(1..=SLOTS_MAX).contains(&join.slots) {
        return Err(Refused::invalid("slots", format!("must be between 1 and {SLOTS_MAX}")));
    }
    let known = |field, text: String, words: &[&str]| {
        if words.contains(&text.as_str()) {
            Ok(text)
        } else {
            Err(Refused::invalid(field, format!("{text:?} is none of {}", words.join(", "))))
        }
    };
    let grade =
        |field, text: &str| text.parse::<LimitGrade>().map_err(|error| Refused::invalid(field, error));
    Ok(JoinRow {
        capacity: bodies::capacity(join.capacity),
        sandbox: SandboxRow {
            kind: known("sandbox.kind", join.sandbox.kind, &["process", "docker"])?,
            network: known("sandbox.network", join.sandbox.network, &["veth", "pasta", "none"])?,
            limits: grade("sandbox.limits", &join.sandbox.limits)?,
            disk: grade("sandbox.disk", &join.sandbox.disk)?,
        },
        docker: join.docker,
        token: join.token,
        nonce: join.nonce,
        version: join.version,
        hostname: join.hostname,
        slots: join.slots,
    })
}
