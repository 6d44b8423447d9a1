//! `/blobs/...`: what is missing, its parts on their way in, the commit, and bytes on their way out.
//!
//! `PUT` and `GET /blobs/{sha256}` take signed addresses, which need no key; `GET` takes a key of the account too.

use std::collections::BTreeMap;
use std::ops::Range;

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use rgrid_api::blobs::{BlobsMissing, BlobsWanted, CommitBlobs, Committed, Part, Upload};
use rgrid_api::error::{ErrorBody, ErrorCode};
use rgrid_core::id::{AccountId, UploadId};
use rgrid_core::limits::PART_DEADLINE;
use rgrid_core::submission::Sha256;
use rgrid_store::blobs::BlobName;
use rgrid_store::uploads::UploadRow;
use serde::Deserialize;
use tokio_stream::StreamExt;

use crate::auth::{self, Member};
use crate::error::Refused;
use crate::parse::{Body, Named, Parameters, content_length};
use crate::signing::Grant;
use crate::state::App;

/// Blobs of one request.
const BLOBS_MAX: usize = 1000;

/// The query of a signed address.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Signed {
    /// PUT: which upload.
    upload: Option<String>,
    /// PUT: which part of it.
    part: Option<u32>,
    /// GET: whose blob.
    account: Option<String>,
    /// Unix time in seconds after which the address is void.
    expires: Option<i64>,
    /// Hexadecimal.
    signature: Option<String>,
}

/// Ask which blobs are missing
///
/// Each missing one comes with an upload and addresses for the parts that have not arrived.
#[utoipa::path(post, path = "/blobs/missing", tag = "blobs", request_body = BlobsWanted,
    responses((status = 200, body = BlobsMissing)))]
pub(crate) async fn missing(
    State(app): State<App>,
    member: Member,
    body: Body<BlobsWanted>,
) -> Result<Json<BlobsMissing>, Refused> {
    let names = parse_names(&body.value)?;
    let missing = uploads(&app, member.account(), &names).await?;
    // Who learns it here need not send bytes to be refused.
    let wanted_bytes = missing.iter().map(|upload| upload.size_bytes).sum();
    app.store.ensure_room(wanted_bytes).await?;
    Ok(Json(BlobsMissing { missing }))
}

/// Commit uploads
///
/// Checks size and hash; executions that waited for these blobs are queued when they have all.
#[utoipa::path(post, path = "/blobs/commit", tag = "blobs", request_body = CommitBlobs,
    responses((status = 200, body = Committed)))]
pub(crate) async fn commit(
    State(app): State<App>,
    member: Member,
    body: Body<CommitBlobs>,
) -> Result<Json<Committed>, Refused> {
    commit_for(&app, member.account(), &body.value).await
}

/// Put one part of an upload
///
/// To the signed address that the grid gave; `content-length` is required.
#[utoipa::path(put, path = "/blobs/{sha256}", tag = "blobs", security(()),
    params(("sha256" = String, Path, pattern = "^[0-9a-f]{64}$"), Signed), request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 204)))]
pub(crate) async fn put(
    State(app): State<App>,
    Named(sha256): Named<String>,
    Parameters(signed): Parameters<Signed>,
    request: Request,
) -> Result<StatusCode, Refused> {
    let sha256 = parse_hash(&sha256)?;
    let (Some(upload), Some(part)) = (signed.upload.as_deref(), signed.part) else {
        return Err(not_signed());
    };
    let upload: UploadId = upload.parse().map_err(|_| not_signed())?;
    check(&app, Grant::Put { sha256, upload, part }, &signed)?;
    let length = content_length(request.headers())?
        .ok_or_else(|| Refused::new(ErrorCode::Malformed, "a part needs its content-length"))?;
    let bytes = request.into_body().into_data_stream().timeout(app.bounds.pause);
    let bytes = bytes.map(|piece| match piece {
        Ok(piece) => piece.map_err(std::io::Error::other),
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    });
    let put = app.store.put_part(upload, part, length, bytes);
    tokio::time::timeout(PART_DEADLINE, put).await.map_err(|_| {
        Refused::new(
            ErrorCode::Malformed,
            format!("the part did not arrive within {} s", PART_DEADLINE.as_secs()),
        )
    })??;
    Ok(StatusCode::NO_CONTENT)
}

/// Fetch a blob
///
/// By the signed address that the grid gave, or with a key of its account. `Range` is honoured.
#[utoipa::path(get, path = "/blobs/{sha256}", tag = "blobs", security((), ("key" = [])),
    params(("sha256" = String, Path, pattern = "^[0-9a-f]{64}$"), Signed),
    responses((status = 200, content_type = "application/octet-stream", description = "the bytes"),
        (status = 206, content_type = "application/octet-stream", description = "the range asked for"),
        (status = 416, body = ErrorBody, description = "the blob has no such range"),
        (status = 307, description = "the object store has it, at the address in `location`: only for signed addresses")))]
pub(crate) async fn get(
    State(app): State<App>,
    Named(sha256): Named<String>,
    Parameters(signed): Parameters<Signed>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let sha256 = parse_hash(&sha256)?;
    let account = match signed.account.as_deref() {
        Some(account) => {
            let account = account.parse().map_err(|_| not_signed())?;
            check(&app, Grant::Get { sha256, account }, &signed)?;
            if let Some(address) = app.store.blob_address(account, sha256).await.map_err(unreadable)? {
                return Ok(moved(&address));
            }
            account
        }
        None => Member::of(auth::authenticate(&app, &headers).await?)?.account(),
    };
    answer(&app, account, sha256, &headers).await
}

/// Sends who has a signed address on to the object store. Never who comes with a key: it must not travel on.
fn moved(address: &str) -> Response {
    let mut response = StatusCode::TEMPORARY_REDIRECT.into_response();
    let value = HeaderValue::from_str(address).expect("a URL is a header's value");
    response.headers_mut().insert(header::LOCATION, value);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn unreadable(error: rgrid_store::Error) -> Refused {
    if !matches!(error, rgrid_store::Error::Corrupt { .. }) {
        return error.into();
    }
    Refused::not_found("blob")
        .hint("its bytes were damaged; upload it again")
        .details(serde_json::json!({ "corrupt": true }))
}

fn not_signed() -> Refused {
    Refused::new(ErrorCode::Forbidden, "this address is not signed")
        .hint("ask the API for one and use it unchanged")
}

fn check(app: &App, grant: Grant, signed: &Signed) -> Result<(), Refused> {
    let (Some(expires), Some(signature)) = (signed.expires, signed.signature.as_deref()) else {
        return Err(not_signed());
    };
    app.signer.check(grant, expires, signature, Utc::now())
}

fn parse_hash(text: &str) -> Result<Sha256, Refused> {
    text.parse().map_err(|error| Refused::new(ErrorCode::Malformed, format!("{text:?}: {error}")))
}

/// The names of a request, parsed.
pub(crate) fn parse_names(wanted: &BlobsWanted) -> Result<Vec<BlobName>, Refused> {
    at_most(wanted.blobs.len())?;
    wanted
        .blobs
        .iter()
        .map(|blob| {
            let sha256 = blob.sha256.parse().map_err(|error| Refused::invalid("blobs", error))?;
            Ok(BlobName { sha256, size_bytes: blob.size_bytes })
        })
        .collect()
}

fn at_most(blobs: usize) -> Result<(), Refused> {
    if blobs > BLOBS_MAX {
        return Err(
            rgrid_store::Error::TooLarge { what: "the number of blobs", limit: BLOBS_MAX as u64 }.into()
        );
    }
    Ok(())
}

/// Those of `names` that are not there, with signed addresses for the parts that are missing.
pub(crate) async fn uploads(
    app: &App,
    account: AccountId,
    names: &[BlobName],
) -> Result<Vec<Upload>, Refused> {
    let mut uploads = Vec::new();
    for some in names.chunks(BLOBS_MAX) {
        uploads.extend(app.store.missing_blobs(account, some).await?);
    }
    let mut answer = Vec::with_capacity(uploads.len());
    for row in uploads {
        let mut parts = Vec::with_capacity(row.parts_missing.len());
        for number in &row.parts_missing {
            parts.push(part(app, &row, *number).await?);
        }
        answer.push(Upload {
            sha256: row.sha256.to_string(),
            size_bytes: row.size_bytes,
            upload_id: row.id.to_string(),
            part_bytes: row.part_bytes,
            parts,
        });
    }
    Ok(answer)
}

/// A missing part with an address at the object store, or here when the sender does not reach that.
async fn part(app: &App, upload: &UploadRow, number: u32) -> Result<Part, Refused> {
    if let Some(address) = app.store.part_address(upload, number).await? {
        return Ok(Part { number, url: address.url, headers: address.headers });
    }
    let grant = Grant::Put { sha256: upload.sha256, upload: upload.id, part: number };
    Ok(Part { number, url: app.signer.url(grant, Utc::now()), headers: BTreeMap::new() })
}

/// Commits for a person or for an attempt.
pub(crate) async fn commit_for(
    app: &App,
    account: AccountId,
    commit: &CommitBlobs,
) -> Result<Json<Committed>, Refused> {
    at_most(commit.uploads.len())?;
    let mut uploads = Vec::with_capacity(commit.uploads.len());
    for one in &commit.uploads {
        let id: UploadId = one.upload_id.parse().map_err(|error| Refused::invalid("uploads", error))?;
        let sha256: Sha256 = one.sha256.parse().map_err(|error| Refused::invalid("uploads", error))?;
        uploads.push((id, sha256));
    }
    let refused = app.store.commit_uploads(account, &uploads).await?;
    Ok(Json(Committed { refused: refused.iter().map(UploadId::to_string).collect() }))
}

/// A blob's bytes, or the range that was asked for.
pub(crate) async fn answer(
    app: &App,
    account: AccountId,
    sha256: Sha256,
    headers: &HeaderMap,
) -> Result<Response, Refused> {
    let open = async |range| app.store.open_blob(account, sha256, range).await.map_err(unreadable);
    let asked = headers.get(header::RANGE).and_then(|value| value.to_str().ok()).and_then(ByteRange::parse);
    let range = match asked {
        None => None,
        Some(ByteRange::From { first, end }) => Some(first..end),
        Some(ByteRange::Last(count)) => {
            let size = open(None).await?.size_bytes;
            Some(size.saturating_sub(count)..size)
        }
    };
    let reader = open(range.clone()).await?;
    let size = reader.size_bytes;
    let range = range.map(|range| range.start..range.end.min(size));
    if let Some(range) = &range
        && range.is_empty()
    {
        return Ok(no_such_range(size));
    }
    let length = range.as_ref().map_or(size, |range| range.end - range.start);
    let mut response = HttpBody::from_stream(reader.into_stream()).into_response();
    let answered = response.headers_mut();
    answered.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    answered.insert(header::CONTENT_LENGTH, length.into());
    answered.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // Whatever a script wrote must not run in the browser of whoever looks at it.
    answered.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    if let Some(Range { start, end }) = range {
        let text = format!("bytes {start}-{}/{size}", end - 1);
        answered.insert(
            header::CONTENT_RANGE,
            HeaderValue::from_str(&text).expect("digits are a header's value"),
        );
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

fn no_such_range(size: u64) -> Response {
    let refused = Refused::invalid("range", format!("the blob has {size} bytes"));
    let mut response = refused.into_response();
    // HTTP has a status of its own for this, and a resuming client knows by it that it has all.
    *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
    let text = format!("bytes */{size}");
    let value = HeaderValue::from_str(&text).expect("digits are a header's value");
    response.headers_mut().insert(header::CONTENT_RANGE, value);
    response
}

/// One range of bytes, as a client asks for it.
#[derive(Debug, PartialEq, Eq)]
enum ByteRange {
    From { first: u64, end: u64 },
    Last(u64),
}

impl ByteRange {
    /// Reads one range; `None` for what RFC 9110 lets a server ignore: other units, several ranges, nonsense.
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
        match (first, last) {
            ("", count) => count.parse().ok().map(Self::Last),
            (first, "") => Some(Self::From { first: first.parse().ok()?, end: u64::MAX }),
            (first, last) => {
                let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
                (first <= last).then_some(Self::From { first, end: last.saturating_add(1) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_read_and_everything_else_ignored() {
        assert_eq!(ByteRange::parse("bytes=5-"), Some(ByteRange::From { first: 5, end: u64::MAX }));
        assert_eq!(ByteRange::parse("bytes=0-0"), Some(ByteRange::From { first: 0, end: 1 }));
        assert_eq!(ByteRange::parse("bytes=-7"), Some(ByteRange::Last(7)));
        for ignored in
            ["", "bytes", "bytes=", "bytes=-", "bytes=2-1", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b"]
        {
            assert_eq!(ByteRange::parse(ignored), None, "{ignored}");
        }
    }
}
