//! `/attempts/{execution}/{attempt}/environment...`: a runner needs an environment, has built one, or says what it does
//! before the script starts.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::Utc;
use rgrid_api::dependencies::{EnvironmentAnswer, EnvironmentBuilt, EnvironmentWanted, Preparing};
use rgrid_core::limits::{IMAGE_BYTES_MAX, LEASE_POLL_WAIT, POLL_FALLBACK, PREPARING_BYTES_MAX};
use rgrid_core::submission::Sha256;
use rgrid_store::dependency_cache::EnvironmentRow;
use rgrid_store::executions::BlobName;
use tokio::time::Instant;

use super::attempts::{Holder, look_at_damage};
use crate::bodies;
use crate::error::Refused;
use crate::parse::Body;
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
