//! What is measured of the server, and the middleware that measures requests.
//!
//! Labels are routes, methods and status codes: closed sets. No id, name or address ever becomes a label.

use std::panic::AssertUnwindSafe;
use std::sync::OnceLock;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use rgrid_api::error::ErrorCode;
use rgrid_core::execution::Status;
use rgrid_core::worker::WorkerStatus;
use rgrid_store::census::Census;

use crate::error::Refused;

/// Requests that were answered.
pub(crate) const REQUESTS: &str = "rgrid_http_requests_total";
/// Time from the first byte of a request to the head of its answer.
pub(crate) const REQUEST_SECONDS: &str = "rgrid_http_request_seconds";
/// Attempts that were handed out.
pub(crate) const CLAIMED: &str = "rgrid_attempts_claimed_total";
/// Time of one claim.
pub(crate) const CLAIM_SECONDS: &str = "rgrid_claim_seconds";
/// Polls for work that wait.
pub(crate) const POLLS_WAITING: &str = "rgrid_polls_waiting";
/// Log streams that are open.
pub(crate) const FOLLOWERS: &str = "rgrid_followers";
/// Connections that were one too many.
pub(crate) const CONNECTIONS_REFUSED: &str = "rgrid_connections_refused_total";
/// Heartbeats that were accepted.
pub(crate) const HEARTBEATS: &str = "rgrid_heartbeats_total";
/// Executions by status, those that are not terminal.
pub(crate) const EXECUTIONS: &str = "rgrid_executions";
/// Workers by status, those that are not terminated.
pub(crate) const WORKERS: &str = "rgrid_workers";

/// Bounds of the histograms, in seconds: from one cached answer to a long poll.
const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0];

/// The process's recorder. There is one per process: the embedded grid's roles share it.
pub(crate) fn recorder() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let recorder = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BOUNDS)
                .expect("the bounds are not empty")
                .build_recorder();
            let handle = recorder.handle();
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::warn!("another metrics recorder is installed: /metrics will be empty");
            }
            metrics::describe_counter!(REQUESTS, "requests that were answered");
            metrics::describe_histogram!(REQUEST_SECONDS, "time to the head of the answer");
            metrics::describe_counter!(CLAIMED, "attempts that were handed out");
            metrics::describe_histogram!(CLAIM_SECONDS, "time of one claim");
            metrics::describe_gauge!(POLLS_WAITING, "polls for work that wait");
            metrics::describe_gauge!(FOLLOWERS, "log streams that are open");
            metrics::describe_counter!(HEARTBEATS, "heartbeats that were accepted");
            metrics::describe_gauge!(EXECUTIONS, "executions that are not terminal, by status");
            metrics::describe_gauge!(WORKERS, "workers, by status");
            handle
        })
        .clone()
}

/// Counts and logs a request. The query is left out: it may carry a signature.
pub(crate) async fn measure(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("unknown", |path| path.as_str()).to_owned();
    let method = match request.method().as_str() {
        known @ ("GET" | "PUT" | "POST" | "DELETE" | "HEAD" | "OPTIONS" | "PATCH") => known.to_owned(),
        // Anybody can invent a method, and each would become a label.
        _ => "other".to_owned(),
    };
    let begun = Instant::now();
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    // The panic hook has logged where; the caller gets an answer, and other requests go on.
    let response = answered.unwrap_or_else(|_| {
        tracing::error!(route, method, "a handler panicked");
        Refused::new(ErrorCode::Internal, "the grid failed, and not by your doing").into_response()
    });
    let seconds = begun.elapsed().as_secs_f64();
    let status = response.status().as_u16();
    tracing::debug!(route, method, status, seconds, "request");
    metrics::counter!(REQUESTS, "route" => route.clone(), "method" => method.clone(), "status" => status.to_string())
        .increment(1);
    metrics::histogram!(REQUEST_SECONDS, "route" => route, "method" => method).record(seconds);
    response
}

/// Sets the gauges of what is not final; a status that none has is 0.
pub(crate) fn count(census: &Census) {
    for status in Status::ALL.into_iter().filter(|status| !status.is_terminal()) {
        let number =
            census.executions.iter().find(|(counted, _)| *counted == status).map_or(0, |(_, number)| *number);
        metrics::gauge!(EXECUTIONS, "status" => status.as_str()).set(number as f64);
    }
    for status in WorkerStatus::ALL {
        let number =
            census.workers.iter().find(|(counted, _)| *counted == status).map_or(0, |(_, number)| *number);
        metrics::gauge!(WORKERS, "status" => status.as_str()).set(number as f64);
    }
}

/// A gauge that counts what lives, down again when it is dropped however that happens.
pub(crate) struct Alive(&'static str);

impl Alive {
    pub(crate) fn new(gauge: &'static str) -> Self {
        metrics::gauge!(gauge).increment(1.0);
        Self(gauge)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        metrics::gauge!(self.0).decrement(1.0);
    }
}
