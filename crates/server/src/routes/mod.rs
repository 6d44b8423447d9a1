//! The whole URL table. One file per noun holds the handlers; what a path promises stands there, beside its code.

mod artifacts;
pub(crate) mod attempts;
mod binaries;
mod blobs;
mod cost;
mod docs;
mod document;
mod environments;
pub(crate) mod executions;
mod health;
mod heartbeats;
mod keys;
mod leases;
pub(crate) mod logs;
mod prune;
mod runtimes;
mod stdin;
pub(crate) mod workers;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::Response;
use rgrid_api::BASE;
use rgrid_api::error::{ErrorBody, ErrorCode};
use rgrid_api::events::FollowEvent;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::Refused;
use crate::state::App;
use crate::{Config, auth, metrics};

/// The front page of the document; paths come from the handlers.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "RGrid",
        description = "Runs unmodified Python scripts on other machines as simply as on your own.\n\n\
            Send `Authorization: Bearer rg_...` with every request but those of `grid` and signed blob addresses. \
            Every answer that is not a success is an ErrorBody with a closed set of codes. Where a path names an \
            execution, an unambiguous prefix of its id or `last` does too. A POST that creates takes an \
            `Idempotency-Key`: the same key with the same body is carried out once within 24 hours."
    ),
    tags(
        (name = "executions", description = "One invocation of a script: submit it, follow it, end it, fetch what it wrote."),
        (name = "blobs", description = "Bytes by their hash: what is missing is put in parts, then committed."),
        (name = "keys", description = "Who may do what."),
        (name = "workers", description = "The machines that run attempts."),
        (name = "runner", description = "What a worker's runner says and asks; needs a worker's credential."),
        (name = "grid", description = "What the grid says of itself; needs no key."),
    ),
    components(schemas(ErrorBody, FollowEvent))
)]
struct Front;

/// The table: one line per path and method.
fn table() -> OpenApiRouter<App> {
    let versioned = OpenApiRouter::new()
        // Executions, for people.
        .routes(routes!(executions::create, executions::list)) //    POST GET /executions
        .routes(routes!(executions::show)) //                        GET      /executions/{id}
        .routes(routes!(executions::cancel)) //                      POST     /executions/{id}/cancel
        .routes(routes!(executions::extend)) //                      POST     /executions/{id}/extend
        .routes(routes!(executions::retry)) //                       POST     /executions/{id}/retry
        .routes(routes!(executions::attempts)) //                    GET      /executions/{id}/attempts
        .routes(routes!(cost::show)) //                              GET      /cost
        .routes(routes!(logs::read)) //                              GET      /executions/{id}/logs
        .routes(routes!(logs::stream)) //                            GET      /executions/{id}/logs/stream
        .routes(routes!(environments::read_log)) //                  GET      /executions/{id}/environment/log
        .routes(routes!(stdin::write)) //                            POST     /executions/{id}/stdin
        .routes(routes!(artifacts::list)) //                         GET      /executions/{id}/artifacts
        .routes(routes!(artifacts::show)) //                         GET      /executions/{id}/artifacts/{path}
        // Blobs.
        .routes(routes!(blobs::missing)) //                          POST     /blobs/missing
        .routes(routes!(blobs::commit)) //                           POST     /blobs/commit
        .routes(routes!(blobs::put, blobs::get)) //                  PUT GET  /blobs/{sha256}
        .routes(routes!(prune::prune)) //                            POST     /prune
        .routes(routes!(runtimes::list)) //                          GET      /runtimes
        // Keys and workers.
        .routes(routes!(keys::whoami)) //                            GET      /whoami
        .routes(routes!(keys::list, keys::create)) //                GET POST /keys
        .routes(routes!(keys::revoke)) //                            DELETE   /keys/{id}
        .routes(routes!(workers::list)) //                           GET      /workers
        // Runners.
        .routes(routes!(workers::join)) //                           POST     /workers/join
        .routes(routes!(heartbeats::beat)) //                        POST     /heartbeats
        .routes(routes!(leases::poll)) //                            POST     /leases
        .routes(routes!(attempts::started)) //                       POST     /attempts/{execution}/{attempt}/started
        .routes(routes!(attempts::hand_back)) //                     POST     /attempts/{execution}/{attempt}/return
        .routes(routes!(attempts::push_logs)) //                     POST     /attempts/{execution}/{attempt}/logs
        .routes(routes!(attempts::read_stdin)) //                    GET      /attempts/{execution}/{attempt}/stdin
        .routes(routes!(attempts::blobs_missing)) //                 POST     /attempts/{execution}/{attempt}/blobs
        .routes(routes!(attempts::commit_blobs)) //                  POST     /attempts/{execution}/{attempt}/blobs/commit
        .routes(routes!(environments::wanted)) //                    POST     /attempts/{execution}/{attempt}/environment
        .routes(routes!(environments::built)) //                     POST     /attempts/{execution}/{attempt}/environment/built
        .routes(routes!(environments::tell_log)) //                  POST     /attempts/{execution}/{attempt}/environment/log
        .routes(routes!(environments::preparing)) //                 POST     /attempts/{execution}/{attempt}/preparing
        .routes(routes!(attempts::finish)) //                        POST     /attempts/{execution}/{attempt}/finish
        // The grid itself.
        .routes(routes!(binaries::show)) //                          GET      /binaries/{sha256}
        .routes(routes!(health::health)) //                          GET      /health
        .routes(routes!(health::ready)); //                          GET      /ready
    OpenApiRouter::with_openapi(Front::openapi()).nest(BASE, versioned)
}

/// Everything that is served.
pub(crate) fn router(app: App) -> Router {
    let (versioned, _) = table().split_for_parts();
    Router::new()
        // For load balancers and browsers, without the version: what a monitor asks must not change with it.
        .route("/health", axum::routing::get(health::health))
        .route("/ready", axum::routing::get(health::ready))
        .route("/metrics", axum::routing::get(health::metrics))
        .route("/docs", axum::routing::get(docs::page))
        .route(&format!("{BASE}/openapi.json"), axum::routing::get(docs::openapi))
        .merge(versioned)
        .fallback(unknown_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(app.clone(), auth::refuse_old_versions))
        .layer(map_response(harden))
        // Inside the router's layers, so that the route is known by its pattern.
        .layer(from_fn(metrics::measure))
        .with_state(app)
}

/// The OpenAPI document, as it is served.
pub(crate) fn openapi(config: &Config) -> Vec<u8> {
    document::written(table().into_openapi(), config)
}

async fn unknown_path(request: Request) -> Refused {
    Refused::new(ErrorCode::NotFound, format!("nothing is served at {:?}", request.uri().path()))
        .hint("/docs lists every path")
}

async fn method_not_allowed(request: Request) -> Refused {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    Refused::new(ErrorCode::MethodNotAllowed, format!("{method} is not defined for {path:?}"))
        .hint("/docs lists every path with its methods")
}

/// No browser may guess that an answer is something else than it says, nor keep one.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
