//! `GET/POST /keys`, `DELETE /keys/{id}` and `GET /whoami`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use rgrid_api::keys::{CreateKey, CreatedKey, Key, KeyList, Role, Whoami};
use rgrid_core::limits::METADATA_BYTES_MAX;
use rgrid_store::idempotency::Idempotency;

use crate::auth::{Admin, Member};
use crate::bodies;
use crate::error::Refused;
use crate::parse::{Body, IdempotencyKey, Named};
use crate::state::App;

/// Who am I
#[utoipa::path(get, path = "/whoami", tag = "keys", responses((status = 200, body = Whoami)))]
pub(crate) async fn whoami(
    State(app): State<App>,
    Member(principal): Member,
) -> Result<Json<Whoami>, Refused> {
    Ok(Json(Whoami {
        account_id: principal.account_id.to_string(),
        account: principal.account_name.clone(),
        key: bodies::key(&principal.key),
        grid_id: app.store.grid_id().await?.to_string(),
        version: app.version.clone(),
    }))
}

/// List keys
#[utoipa::path(get, path = "/keys", tag = "keys", responses((status = 200, body = KeyList)))]
pub(crate) async fn list(State(app): State<App>, Admin(admin): Admin) -> Result<Json<KeyList>, Refused> {
    let rows = app.store.list_keys(admin.account_id).await?;
    Ok(Json(KeyList { keys: rows.iter().map(bodies::key).collect() }))
}

/// Make a key
///
/// The answer is the only time its secret is shown: a repetition with the same idempotency key is a conflict.
#[utoipa::path(post, path = "/keys", tag = "keys", request_body = CreateKey,
    params(("idempotency-key" = Option<String>, Header, description = "makes a repetition harmless", pattern = "^[!-~]{1,255}$")),
    responses((status = 201, body = CreatedKey)))]
pub(crate) async fn create(
    State(app): State<App>,
    Admin(admin): Admin,
    IdempotencyKey(key): IdempotencyKey,
    body: Body<CreateKey>,
) -> Result<(StatusCode, Json<CreatedKey>), Refused> {
    let CreateKey { name, role } = body.value;
    if name.is_empty() || name.len() > METADATA_BYTES_MAX || name.contains('\0') {
        return Err(Refused::invalid(
            "name",
            format!("a key's name has 1 to {METADATA_BYTES_MAX} bytes and no NUL"),
        ));
    }
    let role = match role {
        Role::Admin => rgrid_store::keys::Role::Admin,
        Role::Member => rgrid_store::keys::Role::Member,
        Role::Worker => return Err(Refused::invalid("role", "a worker's credential comes from its join")),
    };
    let idempotency = key.map(|key| Idempotency { route: "POST /keys", key, body_sha256: body.sha256 });
    let (row, secret) = app.store.create_key_once(admin.account_id, &name, role, idempotency).await?;
    Ok((StatusCode::CREATED, Json(CreatedKey { key: bodies::key(&row), secret })))
}

/// Revoke a key
#[utoipa::path(delete, path = "/keys/{id}", tag = "keys", params(("id" = String, Path, description = "`key_...`")),
    responses((status = 200, body = Key)))]
pub(crate) async fn revoke(
    State(app): State<App>,
    Admin(admin): Admin,
    Named(id): Named<String>,
) -> Result<Json<Key>, Refused> {
    let id = id.parse().map_err(|_| Refused::not_found("key").hint("`rgrid keys` shows what there is"))?;
    let row = app.store.revoke_key(admin.account_id, id).await?;
    app.remembered.forget();
    Ok(Json(bodies::key(&row)))
}
