//! Who asks: bearer keys, their roles, and the two refusals that come before any handler: an old version and a key
//! that asks too often.
//!
//! A handler takes [`Member`], [`Admin`] or [`WorkerCredential`] as its first argument and cannot be reached without.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use rgrid_api::CLIENT_VERSION;
use rgrid_api::error::ErrorCode;
use rgrid_core::id::{AccountId, WorkerId};
use rgrid_store::keys::{Principal, Role};
use sha2::{Digest, Sha256};

use crate::error::Refused;
use crate::guards;
use crate::rates::Caller;
use crate::state::App;
use crate::version;

/// A key that was just checked is not looked up again for this long. A key revoked on another replica, and the
/// credential of a worker that was removed, may be taken for as much longer.
const REMEMBERED: Duration = Duration::from_secs(1);
/// Keys that are remembered at once.
const REMEMBERED_MAX: usize = 10_000;
/// No secret of ours is longer.
const SECRET_BYTES_MAX: usize = 256;

/// Keys that were checked within [`REMEMBERED`], by the hash of their secret.
#[derive(Default)]
pub(crate) struct Remembered(Mutex<HashMap<[u8; 32], Checked>>);

struct Checked {
    principal: Arc<Principal>,
    until: Instant,
}

impl Remembered {
    fn get(&self, hash: &[u8; 32], now: Instant) -> Option<Arc<Principal>> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let checked = keys.get(hash)?;
        (checked.until > now).then(|| Arc::clone(&checked.principal))
    }

    fn put(&self, hash: [u8; 32], principal: Arc<Principal>, now: Instant) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= REMEMBERED_MAX {
            keys.retain(|_, checked| checked.until > now);
        }
        if keys.len() < REMEMBERED_MAX {
            keys.insert(hash, Checked { principal, until: now + REMEMBERED });
        }
    }

    /// Forgets all: a key was revoked here.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A person with a key of the account: a member or an admin.
pub(crate) struct Member(pub(crate) Arc<Principal>);

impl Member {
    /// Refuses a worker.
    pub(crate) fn of(principal: Arc<Principal>) -> Result<Self, Refused> {
        match principal.role {
            Role::Admin | Role::Member => Ok(Self(principal)),
            Role::Worker if !guards::holds(&guards::WORKER_IS_NO_PERSON) => Ok(Self(principal)),
            Role::Worker => Err(forbidden("a worker's credential cannot act for a person")),
        }
    }

    pub(crate) fn account(&self) -> AccountId {
        self.0.account_id
    }
}

/// A person with an admin's key.
pub(crate) struct Admin(pub(crate) Arc<Principal>);

/// A runner with its worker's credential.
pub(crate) struct WorkerCredential(pub(crate) WorkerId);

impl FromRequestParts<App> for Member {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refused> {
        Self::of(authenticate(app, &parts.headers).await?)
    }
}

impl FromRequestParts<App> for Admin {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refused> {
        let principal = authenticate(app, &parts.headers).await?;
        match principal.role {
            Role::Admin => Ok(Self(principal)),
            Role::Member if !guards::holds(&guards::ADMIN_ONLY) => Ok(Self(principal)),
            Role::Member => Err(forbidden("this needs a key with the role admin")),
            Role::Worker => Err(forbidden("a worker's credential cannot act for a person")),
        }
    }
}

impl FromRequestParts<App> for WorkerCredential {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refused> {
        let principal = authenticate(app, &parts.headers).await?;
        principal.worker.map(Self).ok_or_else(|| forbidden("only a worker's own credential can do this"))
    }
}

fn forbidden(message: &str) -> Refused {
    Refused::new(ErrorCode::Forbidden, message).hint("`rgrid whoami` shows what your key may do")
}

/// The key's owner, within the key's rate.
pub(crate) async fn authenticate(app: &App, headers: &HeaderMap) -> Result<Arc<Principal>, Refused> {
    let secret = bearer(headers)?;
    let now = Instant::now();
    let hash: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
    let principal = match app.remembered.get(&hash, now) {
        Some(principal) => principal,
        None => {
            let known = app.store.authenticate(secret).await?;
            let principal = Arc::new(known.ok_or_else(|| {
                Refused::new(ErrorCode::Unauthorized, "this key is not known to the grid, or was revoked")
                    .hint("`rgrid init` stores another; `rgrid config show` says which one is used")
            })?);
            app.remembered.put(hash, Arc::clone(&principal), now);
            principal
        }
    };
    let caller = if principal.worker.is_some() { Caller::Worker } else { Caller::Person };
    if app.rates.take(principal.key.id, caller, now) { Ok(principal) } else { Err(too_often(caller)) }
}

fn too_often(caller: Caller) -> Refused {
    let limit = caller.requests_per_second();
    Refused::new(ErrorCode::TooManyRequests, format!("this key sent more than {limit} requests per second"))
        .hint("wait a second; the limit is an average over ten")
        .details(serde_json::json!({ "limit_requests_per_second": limit }))
}

fn bearer(headers: &HeaderMap) -> Result<&str, Refused> {
    let refused = |message: &str| {
        Err(Refused::new(ErrorCode::Unauthorized, message)
            .hint("send `Authorization: Bearer rg_...`; `rgrid init` stores a key"))
    };
    let Some(value) = headers.get(header::AUTHORIZATION) else { return refused("this needs a key") };
    let parts = value.to_str().ok().and_then(|text| text.split_once(' '));
    match parts {
        Some((scheme, secret))
            if scheme.eq_ignore_ascii_case("bearer") && secret.len() <= SECRET_BYTES_MAX =>
        {
            Ok(secret.trim())
        }
        Some(_) | None => refused("the authorization header does not carry a bearer key"),
    }
}

/// Middleware: a caller that names a version we do not serve is refused by name, whatever it asks.
pub(crate) async fn refuse_old_versions(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, Refused> {
    if let Some(theirs) = request.headers().get(CLIENT_VERSION)
        && !tells_the_version(request.uri().path())
        && guards::holds(&guards::OLD_VERSIONS)
    {
        version::check(&app.version, &String::from_utf8_lossy(theirs.as_bytes()))?;
    }
    Ok(next.run(request).await)
}

/// A refused caller must still be able to learn which version this grid is.
fn tells_the_version(path: &str) -> bool {
    path.ends_with("/health") || path.ends_with("/ready") || path.ends_with("/whoami")
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    #[tokio::test]
    async fn a_key_that_asks_too_often_is_told_its_rate_and_when_to_come_back() {
        let answer = too_often(Caller::Person).into_response();
        assert_eq!(answer.status().as_u16(), 429);
        assert_eq!(answer.headers()[header::RETRY_AFTER], "1");
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        let body: rgrid_api::error::ErrorBody = serde_json::from_slice(&body).unwrap();
        insta::assert_snapshot!(body.error.message, @"this key sent more than 500 requests per second");
        assert_eq!(body.error.details, Some(serde_json::json!({ "limit_requests_per_second": 500 })));
    }
}
