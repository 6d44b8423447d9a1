//! `GET /health`, `/ready` and `/metrics`: what the grid says of itself, to monitors and without a key.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use rgrid_api::health::{Health, Ready};

use crate::error::Causes;
use crate::metrics;
use crate::state::App;

/// A monitor is answered within this, whatever the database does.
const PROBE_DEADLINE: Duration = Duration::from_secs(3);

/// Whether the grid's heart beats
///
/// 200 with `ok (db: connected)`, or 503 and a true status when the database does not answer.
#[utoipa::path(get, path = "/health", tag = "grid", responses((status = 200, body = Health), (status = 503, body = Health)))]
pub(crate) async fn health(State(app): State<App>) -> (StatusCode, Json<Health>) {
    let (code, status) = match tokio::time::timeout(PROBE_DEADLINE, app.store.ping()).await {
        Ok(Ok(())) => (StatusCode::OK, "ok (db: connected)"),
        Ok(Err(error)) => {
            tracing::warn!(error = %Causes(&error), "the database is not available");
            (StatusCode::SERVICE_UNAVAILABLE, "unavailable (db: not connected)")
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable (db: no answer)"),
    };
    let health = Health { status: status.to_owned(), version: app.version.clone(), timestamp: Utc::now() };
    (code, Json(health))
}

/// Whether the grid can work
///
/// 200 when the database, the object store and the migrations are as this version needs them, else 503.
#[utoipa::path(get, path = "/ready", tag = "grid", responses((status = 200, body = Ready), (status = 503, body = Ready)))]
pub(crate) async fn ready(State(app): State<App>) -> (StatusCode, Json<Ready>) {
    let (database, objects, missing) = tokio::join!(
        bounded(app.store.ping()),
        bounded(app.store.check_objects()),
        tokio::time::timeout(PROBE_DEADLINE, app.store.migrations_missing()),
    );
    let migrations = match missing {
        Ok(Ok(missing)) if missing.is_empty() => OK.to_owned(),
        Ok(Ok(missing)) => format!("missing: {missing:?}; run `rgrid migrate`"),
        Ok(Err(_)) | Err(_) => "not known while the database does not answer".to_owned(),
    };
    let ready = database == OK && objects == OK && migrations == OK;
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Ready { ready, database, objects, migrations }))
}

const OK: &str = "ok";

async fn bounded(probe: impl Future<Output = Result<(), rgrid_store::Error>>) -> String {
    match tokio::time::timeout(PROBE_DEADLINE, probe).await {
        Ok(Ok(())) => OK.to_owned(),
        Ok(Err(error)) => {
            tracing::warn!(error = %Causes(&error), "not ready");
            if let rgrid_store::Error::Objects(error) = &error {
                // What an operator can act on, and no secret is in it.
                return error.to_string();
            }
            "it does not answer; the server's log says why".to_owned()
        }
        Err(_) => format!("no answer within {} s", PROBE_DEADLINE.as_secs()),
    }
}

/// `GET /metrics`, as Prometheus reads them.
pub(crate) async fn metrics(State(app): State<App>) -> Response {
    // Without the database there is still something to tell.
    if let Ok(Ok(census)) = tokio::time::timeout(PROBE_DEADLINE, app.store.census()).await {
        metrics::count(&census);
    }
    let headers = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (headers, app.metrics.render()).into_response()
}
