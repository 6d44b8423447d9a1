//! `GET /executions/{id}/artifacts` and one artifact's bytes by its path.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::Utc;
use rgrid_api::artifacts::{Artifact, ArtifactKind, ArtifactPage, ListArtifacts};
use rgrid_api::error::ErrorBody;
use rgrid_core::id::AccountId;
use rgrid_core::limits::PAGE_ITEMS_MAX;
use rgrid_core::path::AbsolutePath;
use rgrid_store::attempts::{ArtifactKind as Kind, ArtifactRow};

use crate::auth::Member;
use crate::bodies;
use crate::error::Refused;
use crate::parse::{Named, Parameters, page_items};
use crate::routes::{blobs, executions};
use crate::state::App;

/// List an execution's files
///
/// Inputs, outputs and log parts, each with an address that needs no key for an hour.
#[utoipa::path(get, path = "/executions/{id}/artifacts", tag = "executions",
    params(("id" = String, Path, description = "an id, a prefix of one, or `last`"), ListArtifacts),
    responses((status = 200, body = ArtifactPage)))]
pub(crate) async fn list(
    State(app): State<App>,
    member: Member,
    Named(id): Named<String>,
    Parameters(query): Parameters<ListArtifacts>,
) -> Result<Json<ArtifactPage>, Refused> {
    let limit = page_items(query.limit, PAGE_ITEMS_MAX)?;
    let cursor = query.cursor.as_deref().map(parse_cursor).transpose()?;
    let kind = query.kind.map(kind_row);
    let id = executions::resolve(&app, member.account(), &id).await?;
    // One more than asked for tells whether there is a next page.
    let mut rows = app.store.artifacts(member.account(), id, kind, cursor, limit + 1).await?;
    if rows.is_empty() {
        // None, or none of this account's.
        app.store.execution(member.account(), id).await?;
    }
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().filter(|_| more).map(|row| format!("{}:{}", row.kind.as_str(), row.path));
    let artifacts = rows.iter().map(|row| body(&app, member.account(), row)).collect();
    Ok(Json(ArtifactPage { artifacts, next }))
}

/// Fetch one of an execution's files
///
/// By its absolute path on the user's machine, without the leading slash. An output goes before an input of the same
/// path. `Range` is honoured.
#[utoipa::path(get, path = "/executions/{id}/artifacts/{*path}", tag = "executions",
    params(("id" = String, Path, description = "an id, a prefix of one, or `last`"),
        ("path" = String, Path, description = "the file's path without its first `/`")),
    responses((status = 200, content_type = "application/octet-stream", description = "the bytes"),
        (status = 206, content_type = "application/octet-stream", description = "the range asked for"),
        (status = 416, body = ErrorBody, description = "the file has no such range")))]
pub(crate) async fn show(
    State(app): State<App>,
    member: Member,
    Named((id, path)): Named<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let path = format!("/{path}").parse().map_err(|_| Refused::not_found("file of this execution"))?;
    let id = executions::resolve(&app, member.account(), &id).await?;
    let sha256 = app.store.artifact_blob(member.account(), id, &path).await?;
    blobs::answer(&app, member.account(), sha256, &headers).await
}

fn body(app: &App, account: AccountId, row: &ArtifactRow) -> Artifact {
    Artifact {
        kind: match row.kind {
            Kind::Input => ArtifactKind::Input,
            Kind::Output => ArtifactKind::Output,
            Kind::Log => ArtifactKind::Log,
        },
        path: row.path.to_string(),
        sha256: row.sha256.map(|sha256| sha256.to_string()),
        size_bytes: row.size_bytes,
        mode: row.mode,
        modified_ns: row.modified_ns,
        folder: row.folder,
        url: row.sha256.map(|sha256| bodies::blob_url(&app.signer, account, sha256, Utc::now())),
    }
}

fn kind_row(kind: ArtifactKind) -> Kind {
    match kind {
        ArtifactKind::Input => Kind::Input,
        ArtifactKind::Output => Kind::Output,
        ArtifactKind::Log => Kind::Log,
    }
}

fn parse_cursor(text: &str) -> Result<(Kind, AbsolutePath), Refused> {
    let wrong = || Refused::invalid("cursor", format!("{text:?} is not one that a page before gave"));
    let (kind, path) = text.split_once(':').ok_or_else(wrong)?;
    let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or_else(wrong)?;
    Ok((kind, path.parse().map_err(|_| wrong())?))
}
