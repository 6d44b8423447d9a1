//! `/attempts/{execution}/{attempt}/...`: what a runner says of an attempt it holds. Every call is fenced by number
//! and token; a stale one is answered `not_current` and has changed nothing.

use std::collections::HashSet;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rgrid_api::artifacts::ArtifactKind;
use rgrid_api::attempts::{Finish, Finished, LogsPushed, PushLogs};
use rgrid_api::blobs::{BlobsMissing, BlobsWanted, CommitBlobs, Committed};
use rgrid_api::error::ErrorCode;
use rgrid_api::logs::{LogChunk, Stream};
use rgrid_api::outcome::OutcomeBody;
use rgrid_api::{ATTEMPT_TOKEN, STDIN_EOF};
use rgrid_core::id::AccountId;
use rgrid_core::limits::{self, LEASE_POLL_WAIT, POLL_FALLBACK};
use rgrid_core::outcome::Outcome;
use rgrid_core::submission::Sha256;
use rgrid_store::attempts::{AttemptAuth, FinishRow, OutputRow};
use rgrid_store::logs::{LogPiece, LogStream};
use serde::Deserialize;
use tokio::time::Instant;

use crate::auth::WorkerCredential;
use crate::error::{Causes, Refused};
use crate::parse::{Body, Named, Parameters};
use crate::routes::{blobs, stdin};
use crate::state::App;

/// Files that a finish may name as not brought back.
const NOT_BROUGHT_BACK_MAX: usize = 100;
/// Bytes of one answer with stdin.
const STDIN_READ_BYTES: usize = 1 << 20;
/// The longest token.
const TOKEN_BYTES_MAX: usize = 256;

/// The attempt that a call names and proves to hold.
pub(crate) struct Holder(pub(super) AttemptAuth);

impl FromRequestParts<App> for Holder {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refused> {
        let WorkerCredential(worker_id) = WorkerCredential::from_request_parts(parts, app).await?;
        let Named((execution, attempt)) = Named::<(String, u32)>::from_request_parts(parts, app).await?;
        let execution_id = execution.parse().map_err(|_| Refused::not_found("execution"))?;
        let token = parts.headers.get(ATTEMPT_TOKEN).and_then(|value| value.to_str().ok());
        let token = token.filter(|token| token.len() <= TOKEN_BYTES_MAX).ok_or_else(|| {
            Refused::new(
                ErrorCode::Malformed,
                format!("the header {ATTEMPT_TOKEN} must carry the attempt's token"),
            )
        })?;
        if i32::try_from(attempt).is_err() {
            return Err(rgrid_store::Error::NotCurrent.into());
        }
        Ok(Self(AttemptAuth { execution_id, attempt, token: token.to_owned(), worker_id }))
    }
}

/// Begin with an attempt
#[utoipa::path(post, path = "/attempts/{execution}/{attempt}/started", tag = "runner",
    params(("execution" = String, Path), ("attempt" = u32, Path), ("x-rgrid-attempt-token" = String, Header, max_length = 256)),
    responses((status = 204)))]
pub(crate) async fn started(State(app): State<App>, Holder(holder): Holder) -> Result<StatusCode, Refused> {
    app.store.attempt_started(&holder).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Hand an attempt back
///
/// Unharmed, and for no retry: the runner was told to stop.
#[utoipa::path(post, path = "/attempts/{execution}/{attempt}/return", tag = "runner",
    params(("execution" = String, Path), ("attempt" = u32, Path), ("x-rgrid-attempt-token" = String, Header, max_length = 256)),
    responses((status = 204)))]
pub(crate) async fn hand_back(State(app): State<App>, Holder(holder): Holder) -> Result<StatusCode, Refused> {
    app.store.hand_back(&holder).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Push log bytes
///
/// At most 256 KiB, without holes; bytes that are known already are skipped, so a repetition is harmless.
#[utoipa::path(post, path = "/attempts/{execution}/{attempt}/logs", tag = "runner", request_body = PushLogs,
    params(("execution" = String, Path), ("attempt" = u32, Path), ("x-rgrid-attempt-token" = String, Header, max_length = 256)),
    responses((status = 200, body = LogsPushed)))]
pub(crate) async fn push_logs(
    State(app): State<App>,
    Holder(holder): Holder,
    body: Body<PushLogs>,
) -> Result<Json<LogsPushed>, Refused> {
    let pieces = pieces(body.value, holder.attempt)?;
    let appended = app.store.append_logs(&holder, &pieces).await?;
    Ok(Json(LogsPushed {
        stdout: appended.sizes.stdout,
        stderr: appended.sizes.stderr,
        followed: appended.followed,
    }))
}

/// The chunks of a push as the store takes them.
pub(crate) fn pieces(push: PushLogs, attempt: u32) -> Result<Vec<LogPiece>, Refused> {
    let piece = |chunk: LogChunk| {
        if chunk.attempt != attempt {
            return Err(Refused::invalid("chunks", "one names another attempt than the path"));
        }
        Ok(LogPiece {
            stream: match chunk.stream {
                Stream::Stdout => LogStream::Stdout,
                Stream::Stderr => LogStream::Stderr,
            },
            offset: chunk.offset,
            bytes: chunk.bytes.0,
            gap_bytes: chunk.gap_bytes,
            at: chunk.at,
        })
    };
    push.chunks.into_iter().map(piece).collect()
}

/// The query of a read of stdin.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReadStdin {
    /// Offset of the first byte wanted.
    offset: u64,
}

/// Read standard input
///
/// A long poll of up to 20 s: the bytes from `offset` on, and the header `x-rgrid-eof` when nothing follows them.
#[utoipa::path(get, path = "/attempts/{execution}/{attempt}/stdin", tag = "runner",
    params(("execution" = String, Path), ("attempt" = u32, Path), ("x-rgrid-attempt-token" = String, Header, max_length = 256),
        ReadStdin),
    responses((status = 200, content_type = "application/octet-stream", description = "the bytes")))]
pub(crate) async fn read_stdin(
    State(app): State<App>,
    Holder(holder): Holder,
    Parameters(query): Parameters<ReadStdin>,
) -> Result<Response, Refused> {
    // Listen before looking: what comes in between must not be missed.
    let mut moved = app.nudges.listen(stdin::STDIN_NUDGE);
    let deadline = Instant::now() + LEASE_POLL_WAIT;
    let read = loop {
        let read = app.store.read_stdin(&holder, query.offset, STDIN_READ_BYTES).await?;
        if !read.bytes.is_empty() || read.eof {
            break read;
        }
        tokio::select! {
            () = moved.rung() => {}
            () = tokio::time::sleep(POLL_FALLBACK) => {}
            () = tokio::time::sleep_until(deadline) => break read,
            () = app.shutdown.cancelled() => break read,
        }
    };
    let mut response = ([(header::CONTENT_TYPE, "application/octet-stream")], read.bytes).into_response();
    if read.eof {
        response.headers_mut().insert(HeaderName::from_static(STDIN_EOF), HeaderValue::from_static("1"));
    }
    Ok(response)
}

/// Ask where the outputs go
///
/// As `POST /blobs/missing`, for the account that the attempt works for.
#[utoipa::path(post, path = "/attempts/{execution}/{attempt}/blobs", tag = "runner", request_body = BlobsWanted,
    params(("execution" = String, Path), ("attempt" = u32, Path), ("x-rgrid-attempt-token" = String, Header, max_length = 256)),
    responses((status = 200, body = BlobsMissing)))]
pub(crate) async fn blobs_missing(
    State(app): State<App>,
    Holder(holder): Holder,
    body: Body<BlobsWanted>,
) -> Result<Json<BlobsMissing>, Refused> {
    let account = app.store.check_attempt(&holder).await?;
    let names = blobs::parse_names(&body.value)?;
    Ok(Json(BlobsMissing { missing: blobs::uploads(&app, account, &names).await? }))
}

/// Commit uploaded outputs
///
/// As `POST /blobs/commit`, for the account that the attempt works for.
#[utoipa::path(post, path = "/attempts/{execution}/{attempt}/blobs/commit", tag = "runner",
    request_body = CommitBlobs,
    params(("execution" = String, Path), ("attempt" = u32, Path), ("x-rgrid-attempt-token" = String, Header, max_length = 256)),
    responses((status = 200, body = Committed)))]
pub(crate) async fn commit_blobs(
    State(app): State<App>,
    Holder(holder): Holder,
    body: Body<CommitBlobs>,
) -> Result<Json<Committed>, Refused> {
    let account = app.store.check_attempt(&holder).await?;
    blobs::commit_for(&app, account, &body.value).await
}

/// Finish an attempt
///
/// Outcome and outputs as one set, all or nothing. Repeating the same body is harmless.
#[utoipa::path(post, path = "/attempts/{execution}/{attempt}/finish", tag = "runner", request_body = Finish,
    params(("execution" = String, Path), ("attempt" = u32, Path), ("x-rgrid-attempt-token" = String, Header, max_length = 256)),
    responses((status = 200, body = Finished)))]
pub(crate) async fn finish(
    State(app): State<App>,
    Holder(holder): Holder,
    body: Body<Finish>,
) -> Result<Json<Finished>, Refused> {
    let row = finish_row(&body.value)?;
    if let Outcome::InputMissing { path, corrupt: true } = &row.outcome {
        let account = app.store.check_attempt(&holder).await?;
        if let Ok(path) = path.parse() {
            let sha256 = app.store.artifact_blob(account, holder.execution_id, &path).await?;
            tokio::spawn(look_at_damage(app.clone(), account, sha256));
        }
    }
    let status = app.store.finish(&holder, &row, body.sha256).await?;
    Ok(Json(Finished { status: status.to_string() }))
}

/// A runner says that a blob is damaged: it is read again, and forgotten if that is so, so that the next upload
/// repairs it. That may take long, and nobody waits for it.
pub(super) async fn look_at_damage(app: App, account: AccountId, sha256: Sha256) {
    tokio::select! {
        damaged = app.store.blob_damaged(account, sha256) => match damaged {
            Ok(damaged) => tracing::warn!(%account, %sha256, damaged, "a runner called a blob damaged"),
            Err(error) => tracing::warn!(%account, %sha256, error = %Causes(&error), "a blob could not be looked at"),
        },
        () = app.shutdown.cancelled() => {}
    }
}

pub(crate) fn finish_row(finish: &Finish) -> Result<FinishRow, Refused> {
    let texts = words(&finish.outcome).into_iter().chain(finish.not_brought_back.iter().map(String::as_str));
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(Refused::invalid("outcome", "a text holds a NUL byte"));
    }
    if finish.not_brought_back.len() > NOT_BROUGHT_BACK_MAX {
        return Err(Refused::invalid(
            "not_brought_back",
            format!("at most {NOT_BROUGHT_BACK_MAX} files are named"),
        ));
    }
    if let OutcomeBody::TimedOut { timeout_ms } = finish.outcome {
        counted("outcome", timeout_ms)?;
    }
    Ok(FinishRow {
        outcome: (&finish.outcome).try_into().map_err(|error| Refused::invalid("outcome", error))?,
        outputs: outputs(finish)?,
        not_brought_back: finish.not_brought_back.clone(),
        stdout_bytes: counted("stdout_bytes", finish.stdout_bytes)?,
        stderr_bytes: counted("stderr_bytes", finish.stderr_bytes)?,
        peak_memory_bytes: finish.peak_memory_bytes.map(|n| counted("peak_memory_bytes", n)).transpose()?,
        cpu_ms: finish.cpu_ms.map(|n| counted("cpu_ms", n)).transpose()?,
        platform: finish
            .platform
            .as_deref()
            .map(|text| text.parse().map_err(|error| Refused::invalid("platform", error)))
            .transpose()?,
    })
}

fn outputs(finish: &Finish) -> Result<Vec<OutputRow>, Refused> {
    if finish.outputs.len() > limits::OUTPUT_FILES_MAX {
        return Err(Refused::from(rgrid_store::Error::TooLarge {
            what: "the number of outputs",
            limit: limits::OUTPUT_FILES_MAX as u64,
        }));
    }
    let mut bytes: u64 = 0;
    let mut paths = HashSet::with_capacity(finish.outputs.len());
    finish
        .outputs
        .iter()
        .map(|output| {
            let invalid = |reason: &str| Refused::invalid("outputs", format!("{:?} {reason}", output.path));
            match output.kind {
                ArtifactKind::Output => {}
                ArtifactKind::Input | ArtifactKind::Log => return Err(invalid("is not an output")),
            }
            if output.folder == output.sha256.is_some() {
                return Err(invalid("must be a folder or have a hash, not both"));
            }
            if output.mode > 0o7777 {
                return Err(invalid("has a mode above 07777"));
            }
            bytes = bytes.saturating_add(output.size_bytes);
            if bytes > limits::OUTPUT_BYTES_MAX {
                return Err(Refused::from(rgrid_store::Error::TooLarge {
                    what: "the size of all outputs",
                    limit: limits::OUTPUT_BYTES_MAX,
                }));
            }
            if !paths.insert(output.path.as_str()) {
                return Err(invalid("stands there twice"));
            }
            let sha256 = output.sha256.as_deref().map(str::parse).transpose();
            Ok(OutputRow {
                path: output.path.parse().map_err(|error| Refused::invalid("outputs", error))?,
                sha256: sha256.map_err(|error| Refused::invalid("outputs", error))?,
                size_bytes: output.size_bytes,
                mode: output.mode,
                modified_ns: output.modified_ns,
            })
        })
        .collect()
}

/// The texts of an outcome that a runner writes.
fn words(outcome: &OutcomeBody) -> Vec<&str> {
    match outcome {
        OutcomeBody::DependenciesFailed { message } | OutcomeBody::SandboxFailed { message } => vec![message],
        OutcomeBody::InputMissing { path, .. } => vec![path],
        OutcomeBody::WorkerLost { workers } => workers.iter().map(String::as_str).collect(),
        OutcomeBody::Exited { .. }
        | OutcomeBody::Signalled { .. }
        | OutcomeBody::OutOfMemory { .. }
        | OutcomeBody::TimedOut { .. }
        | OutcomeBody::Cancelled { .. }
        | OutcomeBody::OutputTooLarge { .. }
        | OutcomeBody::DiskFull { .. }
        | OutcomeBody::Expired => Vec::new(),
    }
}

/// A number that the database can hold.
fn counted(field: &'static str, number: u64) -> Result<u64, Refused> {
    if i64::try_from(number).is_ok() { Ok(number) } else { Err(Refused::invalid(field, "is above 2^63")) }
}
