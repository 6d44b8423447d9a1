//! `/attempts/{execution}/{attempt}/environment...`: a runner needs an environment, has built one, or says what it does
//! before the script starts. And what people read of that.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::Utc;
use rgrid_api::dependencies::{
    EnvironmentAnswer, EnvironmentBuilt, EnvironmentLog, EnvironmentWanted, Preparing, TellEnvironmentLog,
};
use rgrid_core::environment::Installation;
use rgrid_core::limits::{IMAGE_BYTES_MAX, LEASE_POLL_WAIT, POLL_FALLBACK, PREPARING_BYTES_MAX};
use rgrid_core::submission::Sha256;
use rgrid_store::dependency_cache::EnvironmentRow;
use rgrid_store::executions::BlobName;
use tokio::time::Instant;

use super::attempts::{Holder, look_at_damage};
use super::executions;
use crate::auth::Member;
use crate::bodies;
use crate::error::Refused;
use crate::parse::{Body, Named};
use crate::state::App;

fn hash(field: &'static str, text: &str) -> Result<Sha256, Refused> {
    text.parse().map_err(|error| Refused::invalid(field, error))
}

/// Ask for an environment
///
/// Packed in a blob, to be built by the one who asks, or being built by another attempt: then the answer waits up to 20 s.
#[utoipa::path(post, path = "/attempts/{execution}/{attempt}/environment", tag = "runner", request_body = EnvironmentWanted,
    params(("execution" = String, Path), ("attempt" = u32, Path), ("x-rgrid-attempt-token" = String, Header, max_length = 256)),
    responses((status = 200, body = EnvironmentAnswer)))]
pub(crate) async fn wanted(
    State(app): State<App>,
    Holder(holder): Holder,
    body: Body<EnvironmentWanted>,
) -> Result<Json<EnvironmentAnswer>, Refused> {
    let key = hash("key", &body.value.key)?;
    let damaged = body.value.damaged.as_deref().map(|text| hash("damaged", text)).transpose()?;
    let deadline = Instant::now() + LEASE_POLL_WAIT;
    let mut looked = false;
    loop {
        let (account, found) = app.store.environment(&holder, key, damaged).await?;
        if let Some(sha256) = damaged
            && !std::mem::replace(&mut looked, true)
        {
            tokio::spawn(look_at_damage(app.clone(), account, sha256));
        }
        let answer = match found {
            EnvironmentRow::Ready { sha256, size_bytes } => EnvironmentAnswer::Ready {
                sha256: sha256.to_string(),
                size_bytes,
                url: bodies::blob_url(&app.signer, account, sha256, Utc::now()),
            },
            EnvironmentRow::Build => EnvironmentAnswer::Build,
            EnvironmentRow::Wait => EnvironmentAnswer::Wait,
        };
        let next = Instant::now() + POLL_FALLBACK;
        if answer != EnvironmentAnswer::Wait || next > deadline {
            return Ok(Json(answer));
        }
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            () = app.shutdown.cancelled() => return Ok(Json(answer)),
        }
    }
}

/// Say that an environment was built
///
/// Its blob must be committed. Repeating it is harmless.
#[utoipa::path(post, path = "/attempts/{execution}/{attempt}/environment/built", tag = "runner",
    request_body = EnvironmentBuilt,
    params(("execution" = String, Path), ("attempt" = u32, Path), ("x-rgrid-attempt-token" = String, Header, max_length = 256)),
    responses((status = 204)))]
pub(crate) async fn built(
    State(app): State<App>,
    Holder(holder): Holder,
    body: Body<EnvironmentBuilt>,
) -> Result<StatusCode, Refused> {
    let key = hash("key", &body.value.key)?;
    let packed = BlobName { sha256: hash("sha256", &body.value.sha256)?, size_bytes: body.value.size_bytes };
    app.store.environment_built(&holder, key, packed).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tell where an environment came from
///
/// And what was said while it was built, of which at most 64 KiB are taken. Repeating it is harmless.
#[utoipa::path(post, path = "/attempts/{execution}/{attempt}/environment/log", tag = "runner",
    request_body = TellEnvironmentLog,
    params(("execution" = String, Path), ("attempt" = u32, Path), ("x-rgrid-attempt-token" = String, Header, max_length = 256)),
    responses((status = 204)))]
pub(crate) async fn tell_log(
    State(app): State<App>,
    Holder(holder): Holder,
    body: Body<TellEnvironmentLog>,
) -> Result<StatusCode, Refused> {
    let log = body.value.log.as_ref().map(|log| log.0.as_slice());
    app.store.tell_environment_log(&holder, body.value.origin.into(), log).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Read what was said while packages were installed
///
/// For the newest attempt: the end of it, at most 64 KiB, once its environment is there or could not be built.
#[utoipa::path(get, path = "/executions/{id}/environment/log", tag = "executions",
    params(("id" = String, Path, description = "an id, a prefix of one, or `last`")),
    responses((status = 200, body = EnvironmentLog)))]
pub(crate) async fn read_log(
    State(app): State<App>,
    member: Member,
    Named(id): Named<String>,
) -> Result<Json<EnvironmentLog>, Refused> {
    let id = executions::resolve(&app, member.account(), &id).await?;
    let (known, log) = app.store.environment_log(member.account(), id).await?;
    Ok(Json(EnvironmentLog::new(Installation::of(&known), log)))
}

/// Say what is done before the script starts
///
/// And exactly which container image it is done in, where it is in one.
#[utoipa::path(post, path = "/attempts/{execution}/{attempt}/preparing", tag = "runner", request_body = Preparing,
    params(("execution" = String, Path), ("attempt" = u32, Path), ("x-rgrid-attempt-token" = String, Header, max_length = 256)),
    responses((status = 204)))]
pub(crate) async fn preparing(
    State(app): State<App>,
    Holder(holder): Holder,
    body: Body<Preparing>,
) -> Result<StatusCode, Refused> {
    let sentence = body.value.sentence.as_deref();
    if sentence.is_some_and(|text| text.len() > PREPARING_BYTES_MAX || text.contains('\0')) {
        return Err(Refused::invalid(
            "sentence",
            format!("must be a text of at most {PREPARING_BYTES_MAX} bytes, without NUL"),
        ));
    }
    let image = body.value.image.as_deref();
    if image.is_some_and(|text| text.len() > IMAGE_BYTES_MAX || text.chars().any(|c| !c.is_ascii_graphic())) {
        return Err(Refused::invalid(
            "image",
            format!("must be a name of at most {IMAGE_BYTES_MAX} bytes, in printable ASCII without blanks"),
        ));
    }
    app.store.attempt_prepares(&holder, sentence, image).await?;
    Ok(StatusCode::NO_CONTENT)
}
