//! `POST/GET /executions` and what is done to one: cancel, extend, retry, and the list of its attempts.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use rgrid_api::executions::{
    AttemptList, CreateExecution, Created, Execution, ExecutionPage, Extend, ListExecutions,
};
use rgrid_core::execution::Status;
use rgrid_core::id::{AccountId, ExecutionId};
use rgrid_core::limits::{PAGE_ITEMS, TIMEOUT_MAX};
use rgrid_core::outcome::CancelledBy;
use rgrid_core::submission::{self, ParseSha256Error, Submission};
use rgrid_store::executions::{CreatedRow, ExecutionRow, Filter};
use rgrid_store::idempotency::Idempotency;
use sha2::{Digest, Sha256};

use crate::auth::Member;
use crate::error::Refused;
use crate::parse::{Body, IdempotencyKey, Named, Parameters, page_items, without_nul};
use crate::routes::blobs;
use crate::state::App;
use crate::{bodies, containers, sizes, waiting};

/// The longest text that can name an execution: a full id, with room for a slip of the finger.
const NAME_BYTES_MAX: usize = 64;

/// The execution a path names: by its full id, an unambiguous prefix, or `last`.
pub(crate) async fn resolve(app: &App, account: AccountId, text: &str) -> Result<ExecutionId, Refused> {
    if let Ok(id) = text.parse() {
        // A full id needs no look-up: every call below asks for the account's own.
        return Ok(id);
    }
    if text.is_empty()
        || text.len() > NAME_BYTES_MAX
        || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    {
        return Err(Refused::not_found("execution").hint("`rgrid list` shows what there is"));
    }
    Ok(app.store.resolve_execution(account, text).await?)
}

/// An execution with the reason why it waits.
pub(crate) async fn body(app: &App, row: &ExecutionRow) -> Result<Execution, Refused> {
    Ok(bodies::execution(row, waiting::sentence(app, row).await?))
}

async fn created(
    app: &App,
    account: AccountId,
    row: CreatedRow,
) -> Result<(StatusCode, Json<Created>), Refused> {
    let missing = blobs::uploads(app, account, &row.missing).await?;
    let status = if row.replayed { StatusCode::OK } else { StatusCode::CREATED };
    // Most executions hardly wait in the queue: whoever wants to know why it does asks again.
    let execution = bodies::execution(&row.execution, waiting::at_once(&row.execution));
    Ok((status, Json(Created { execution, missing, reused: false })))
}

/// Submit an execution
///
/// Answers which blobs must be uploaded; it is `queued` when the last of them is committed, at once when none is
/// missing. With `reuse` an earlier one that was the same may be the answer, and says so in `reused`.
#[utoipa::path(post, path = "/executions", tag = "executions", request_body = CreateExecution,
    params(("idempotency-key" = Option<String>, Header, description = "makes a repetition harmless", pattern = "^[!-~]{1,255}$")),
    responses((status = 201, body = Created),
        (status = 200, body = Created, description = "it was made before, or an earlier one is reused")))]
pub(crate) async fn create(
    State(app): State<App>,
    member: Member,
    IdempotencyKey(key): IdempotencyKey,
    body: Body<CreateExecution>,
) -> Result<(StatusCode, Json<Created>), Refused> {
    let submission = containers::settle(&app, body.value.parse()?)?;
    let stdin = body.value.stdin_sha256.as_deref().map(str::parse).transpose();
    let stdin = stdin.map_err(|error: ParseSha256Error| Refused::invalid("stdin_sha256", error))?;
    let idempotency = key.map(|key| Idempotency { route: "POST /executions", key, body_sha256: body.sha256 });
    sizes::check(&app, member.account(), &submission.wanted, idempotency.as_ref()).await?;
    if body.value.reuse
        && let Some(row) = reusable(&app, member.account(), stdin, &submission, idempotency.as_ref()).await?
    {
        let execution = bodies::execution(&row, None);
        return Ok((StatusCode::OK, Json(Created { execution, missing: Vec::new(), reused: true })));
    }
    containers::check(&app, member.account(), &submission.runtime, idempotency.as_ref()).await?;
    let row =
        app.store.create_execution(member.account(), &submission, body.value.follow, idempotency).await?;
    created(&app, member.account(), row).await
}

/// The execution that answers a submission without a run. A repetition of a request that made one gets that one.
async fn reusable(
    app: &App,
    account: AccountId,
    stdin: Option<submission::Sha256>,
    submission: &Submission,
    idempotency: Option<&Idempotency>,
) -> Result<Option<ExecutionRow>, Refused> {
    if let Some(key) = idempotency
        && app.store.made_before(account, key).await?.is_some()
    {
        return Ok(None);
    }
    Ok(app.store.reusable(account, submission, stdin).await?)
}

/// List executions
///
/// Newest first. Why one waits in the queue is only told when it is read by itself.
#[utoipa::path(get, path = "/executions", tag = "executions", params(ListExecutions),
    responses((status = 200, body = ExecutionPage)))]
pub(crate) async fn list(
    State(app): State<App>,
    member: Member,
    Parameters(query): Parameters<ListExecutions>,
) -> Result<Json<ExecutionPage>, Refused> {
    let limit = page_items(query.limit, PAGE_ITEMS)?;
    let cursor = query.cursor.map(|text| text.parse().map_err(|error| Refused::invalid("cursor", error)));
    let filter = Filter {
        statuses: statuses(query.status.as_deref())?,
        name: without_nul("name", query.name)?,
        metadata: without_nul("metadata", query.metadata)?.map(label).transpose()?,
    };
    let page = app.store.executions(member.account(), &filter, cursor.transpose()?, limit).await?;
    Ok(Json(ExecutionPage {
        executions: page.executions.iter().map(|row| bodies::execution(row, waiting::at_once(row))).collect(),
        next: page.next.map(|id| id.to_string()),
    }))
}

pub(crate) fn statuses(text: Option<&str>) -> Result<Vec<Status>, Refused> {
    let words = text.into_iter().flat_map(|text| text.split(','));
    words.map(|word| word.parse().map_err(|error| Refused::invalid("status", error))).collect()
}

pub(crate) fn label(text: String) -> Result<(String, String), Refused> {
    text.split_once('=')
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| Refused::invalid("metadata", format!("{text:?} is not of the form key=value")))
}

/// Read an execution
#[utoipa::path(get, path = "/executions/{id}", tag = "executions",
    params(("id" = String, Path, description = "an id, a prefix of one, or `last`")),
    responses((status = 200, body = Execution)))]
pub(crate) async fn show(
    State(app): State<App>,
    member: Member,
    Named(id): Named<String>,
) -> Result<Json<Execution>, Refused> {
    let id = resolve(&app, member.account(), &id).await?;
    let row = app.store.execution(member.account(), id).await?;
    Ok(Json(body(&app, &row).await?))
}

/// Cancel an execution
///
/// What does not run ends at once. What runs is told; it gets its grace, and ends when its output is safe.
#[utoipa::path(post, path = "/executions/{id}/cancel", tag = "executions",
    params(("id" = String, Path, description = "an id, a prefix of one, or `last`")),
    responses((status = 200, body = Execution)))]
pub(crate) async fn cancel(
    State(app): State<App>,
    member: Member,
    Named(id): Named<String>,
) -> Result<Json<Execution>, Refused> {
    let id = resolve(&app, member.account(), &id).await?;
    let row = app.store.cancel(member.account(), id, CancelledBy::User).await?;
    Ok(Json(bodies::execution(&row, None)))
}

/// Give an execution more time
#[utoipa::path(post, path = "/executions/{id}/extend", tag = "executions", request_body = Extend,
    params(("id" = String, Path, description = "an id, a prefix of one, or `last`")),
    responses((status = 200, body = Execution)))]
pub(crate) async fn extend(
    State(app): State<App>,
    member: Member,
    Named(id): Named<String>,
    body: Body<Extend>,
) -> Result<Json<Execution>, Refused> {
    let by = Duration::from_millis(body.value.by_ms);
    if by.is_zero() || by > TIMEOUT_MAX {
        return Err(Refused::invalid("by_ms", "must be above 0 and at most 30 days"));
    }
    let id = resolve(&app, member.account(), &id).await?;
    let row = app.store.extend(member.account(), id, by).await?;
    Ok(Json(self::body(&app, &row).await?))
}

/// Submit the same again
///
/// A new execution of what was submitted, with the same inputs and variables.
#[utoipa::path(post, path = "/executions/{id}/retry", tag = "executions",
    params(("id" = String, Path, description = "an id, a prefix of one, or `last`"),
        ("idempotency-key" = Option<String>, Header, description = "makes a repetition harmless", pattern = "^[!-~]{1,255}$")),
    responses((status = 201, body = Created), (status = 200, body = Created, description = "it was made before")))]
pub(crate) async fn retry(
    State(app): State<App>,
    member: Member,
    Named(id): Named<String>,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<(StatusCode, Json<Created>), Refused> {
    // There is no body: what is repeated is the path as it was typed, which stays the same when `last` moves on.
    let body_sha256 = Sha256::digest(id.as_bytes()).into();
    let idempotency = key.map(|key| Idempotency { route: "POST /executions/{id}/retry", key, body_sha256 });
    let id = resolve(&app, member.account(), &id).await?;
    let wanted = app.store.execution(member.account(), id).await?.wanted;
    sizes::check(&app, member.account(), &wanted, idempotency.as_ref()).await?;
    let row = app.store.retry_execution(member.account(), id, idempotency).await?;
    created(&app, member.account(), row).await
}

/// List an execution's attempts
#[utoipa::path(get, path = "/executions/{id}/attempts", tag = "executions",
    params(("id" = String, Path, description = "an id, a prefix of one, or `last`")),
    responses((status = 200, body = AttemptList)))]
pub(crate) async fn attempts(
    State(app): State<App>,
    member: Member,
    Named(id): Named<String>,
) -> Result<Json<AttemptList>, Refused> {
    let id = resolve(&app, member.account(), &id).await?;
    let rows = app.store.attempts(member.account(), id).await?;
    if rows.is_empty() {
        // None yet, or none of this account's.
        app.store.execution(member.account(), id).await?;
    }
    Ok(Json(AttemptList { attempts: rows.iter().map(bodies::attempt).collect() }))
}
