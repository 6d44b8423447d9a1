//! The typed client: one method per endpoint, a deadline on each, and errors that a caller acts on.
//!
//! The user's commands and the runner both speak to a grid through this and nothing else. It never retries by
//! itself: who may repeat what, and for how long, is the caller's knowledge.

mod address;
mod worker;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::address::{escaped, is_tls, transport, with_query};
use crate::artifacts::{ArtifactPage, ListArtifacts};
use crate::blobs::{BlobsMissing, BlobsWanted, CommitBlobs, Committed, Part};
use crate::cost::{Cost, CostQuery};
use crate::dependencies::EnvironmentLog;
use crate::error::{ApiError, ErrorBody};
use crate::events::{FollowEvent, SseReader};
use crate::executions::{
    AttemptList, CreateExecution, Created, Execution, ExecutionPage, Extend, ListExecutions,
};
use crate::health::{Health, Pruned, Ready};
use crate::keys::{CreateKey, CreatedKey, Key, KeyList, Whoami};
use crate::logs::{Cursor, LogPage, ReadLogs, StdinWritten, WriteStdin};
use crate::runtimes::RuntimeList;
use crate::workers::{Held, WorkerList};
use crate::{ATTEMPT_TOKEN, BASE, CLIENT_VERSION, IDEMPOTENCY_KEY};

/// An ordinary request is answered within this.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// A connection is made within this.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// A commit may have to hash this long.
pub const COMMIT_DEADLINE: Duration = Duration::from_secs(600);
/// What a long poll may take on top of the time it was told to wait.
pub const POLL_SLACK: Duration = Duration::from_secs(10);
/// A follow without a byte for this long is cut: the server sends a comment every 10 s.
pub const FOLLOW_SILENCE: Duration = Duration::from_secs(30);
/// A transfer without a byte for this long is cut.
pub const TRANSFER_SILENCE: Duration = Duration::from_secs(60);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection, or it broke: the request may or may not have been carried out.
    #[error("{url} cannot be reached")]
    Unreachable {
        /// The grid's address.
        url: String,
        /// The transport's own words.
        source: reqwest::Error,
    },
    /// The grid answered, and refused.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// What answered is not a grid.
    #[error("{url} answered with status {status}, and not as a grid does")]
    NotAGrid {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// What stands in front of the grid, or of its object store, lets no request of this size through. The grid itself would say
    /// its limit.
    #[error(
        "what stands in front of {url} lets no request of this size through (status 413): it must set no limit of its own, \
         as nginx does with `client_max_body_size 0;`"
    )]
    TooLargeOnTheWay {
        /// The address: the grid's, or its object store's.
        url: String,
    },
}

impl ClientError {
    /// True when the same call may succeed later, unchanged.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Api(error) => error.code.is_passing(),
            Self::NotAGrid { status, .. } => *status >= 500,
            Self::TooLargeOnTheWay { .. } => false,
        }
    }
}

/// Speaks to one grid with one key.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    /// For addresses with TLS that a grid without TLS hands out, such as an object store's. Made when one is met.
    http_with_roots: Arc<OnceLock<reqwest::Client>>,
    base: String,
    key: String,
}

/// Names one attempt and proves that the caller holds it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AttemptRef {
    /// The execution.
    pub execution_id: String,
    /// The attempt's number.
    pub attempt: u32,
    /// The attempt's token.
    pub token: String,
}

impl AttemptRef {
    /// The same as a poll or a heartbeat names it.
    pub fn held(&self, directive: u64) -> Held {
        Held {
            execution_id: self.execution_id.clone(),
            attempt: self.attempt,
            token: self.token.clone(),
            directive,
        }
    }
}

impl Client {
    /// A client of the grid at `url` (scheme, host and port) that presents `key`; an empty key presents none.
    ///
    /// # Errors
    /// When the TLS of the machine cannot be set up. A grid without TLS asks for none.
    pub fn new(url: &str, key: &str) -> Result<Self, ClientError> {
        let base = url.trim_end_matches('/').to_owned();
        let http =
            transport(&base).map_err(|source| ClientError::Unreachable { url: base.clone(), source })?;
        Ok(Self { http, http_with_roots: Arc::default(), base, key: key.to_owned() })
    }

    /// The same grid, over the same connections, with another key.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// The grid's address.
    pub fn url(&self) -> &str {
        &self.base
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self
            .http
            .request(method, format!("{}{BASE}{path}", self.base))
            .header(CLIENT_VERSION, env!("CARGO_PKG_VERSION"));
        if self.key.is_empty() { request } else { request.bearer_auth(&self.key) }
    }

    fn on_attempt(&self, attempt: &AttemptRef, method: Method, call: &str) -> RequestBuilder {
        self.request(method, &format!("/attempts/{}/{}/{call}", attempt.execution_id, attempt.attempt))
            .header(ATTEMPT_TOKEN, &attempt.token)
    }

    fn unreachable(&self, source: reqwest::Error) -> ClientError {
        ClientError::Unreachable { url: self.base.clone(), source: source.without_url() }
    }

    async fn accepted(&self, response: Response) -> Result<Response, ClientError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        // An object store's, when the request was sent to one.
        let place = response.url().origin().ascii_serialization();
        let body = response.bytes().await.map_err(|source| self.unreachable(source))?;
        Err(match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(body) => ClientError::Api(body.error),
            Err(_) if status == StatusCode::PAYLOAD_TOO_LARGE => ClientError::TooLargeOnTheWay { url: place },
            Err(_) => ClientError::NotAGrid { url: self.base.clone(), status: status.as_u16() },
        })
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|source| self.unreachable(source))?;
        self.accepted(response).await
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.send(request).await?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(|source| self.unreachable(source))?;
        serde_json::from_slice(&body).map_err(|_| ClientError::NotAGrid { url: self.base.clone(), status })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.answer(self.request(Method::GET, path).timeout(REQUEST_DEADLINE)).await
    }

    async fn get_with<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.answer(self.request(Method::GET, &with_query(path, query)).timeout(REQUEST_DEADLINE)).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        self.answer(self.request(Method::POST, path).json(body).timeout(REQUEST_DEADLINE)).await
    }

    /// `GET /health`; a 503 is an answer too.
    pub async fn health(&self) -> Result<Health, ClientError> {
        self.status_page("/health").await
    }

    /// `GET /ready`; a 503 is an answer too.
    pub async fn ready(&self) -> Result<Ready, ClientError> {
        self.status_page("/ready").await
    }

    async fn status_page<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let request = self.request(Method::GET, path).timeout(REQUEST_DEADLINE);
        let response = request.send().await.map_err(|source| self.unreachable(source))?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(|source| self.unreachable(source))?;
        serde_json::from_slice(&body).map_err(|_| ClientError::NotAGrid { url: self.base.clone(), status })
    }

    /// `GET /runtimes`.
    pub async fn runtimes(&self) -> Result<RuntimeList, ClientError> {
        self.get("/runtimes").await
    }

    /// `GET /whoami`.
    pub async fn whoami(&self) -> Result<Whoami, ClientError> {
        self.get("/whoami").await
    }

    /// `POST /executions`. The same `idempotency_key` with the same body gives the same execution.
    pub async fn create_execution(
        &self,
        body: &CreateExecution,
        idempotency_key: &str,
    ) -> Result<Created, ClientError> {
        let request = self.request(Method::POST, "/executions").header(IDEMPOTENCY_KEY, idempotency_key);
        self.answer(request.json(body).timeout(REQUEST_DEADLINE)).await
    }

    /// `GET /executions`.
    pub async fn executions(&self, query: &ListExecutions) -> Result<ExecutionPage, ClientError> {
        self.get_with("/executions", query).await
    }

    /// `GET /executions/{id}`: `id` may be shortened, or `last`.
    pub async fn execution(&self, id: &str) -> Result<Execution, ClientError> {
        self.get(&format!("/executions/{}", escaped(id))).await
    }

    /// `GET /executions/{id}/attempts`.
    pub async fn attempts(&self, id: &str) -> Result<AttemptList, ClientError> {
        self.get(&format!("/executions/{}/attempts", escaped(id))).await
    }

    /// `POST /executions/{id}/cancel`. The answer comes at once; the end may take the grace.
    pub async fn cancel(&self, id: &str) -> Result<Execution, ClientError> {
        self.post(&format!("/executions/{}/cancel", escaped(id)), &serde_json::json!({})).await
    }

    /// `POST /executions/{id}/extend`.
    pub async fn extend(&self, id: &str, by: Duration) -> Result<Execution, ClientError> {
        self.post(&format!("/executions/{}/extend", escaped(id)), &Extend { by_ms: by.as_millis() as u64 })
            .await
    }

    /// `POST /executions/{id}/retry`: a new execution of the same submission.
    pub async fn retry(&self, id: &str, idempotency_key: &str) -> Result<Created, ClientError> {
        let request = self.request(Method::POST, &format!("/executions/{}/retry", escaped(id)));
        self.answer(request.header(IDEMPOTENCY_KEY, idempotency_key).timeout(REQUEST_DEADLINE)).await
    }

    /// `GET /executions/{id}/logs`.
    pub async fn logs(&self, id: &str, query: &ReadLogs) -> Result<LogPage, ClientError> {
        self.get_with(&format!("/executions/{}/logs", escaped(id)), query).await
    }

    /// `GET /executions/{id}/logs/stream` from `cursor` on. A stream that ends without [`FollowEvent::End`] was
    /// cut: call again with the cursor after the last chunk.
    pub async fn follow(
        &self,
        id: &str,
        cursor: Cursor,
    ) -> Result<impl Stream<Item = Result<FollowEvent, ClientError>> + Send + Unpin + use<>, ClientError>
    {
        let query = ReadLogs { cursor: Some(cursor.to_string()), tail: None };
        let path = with_query(&format!("/executions/{}/logs/stream", escaped(id)), &query);
        let request = self.request(Method::GET, &path).header(header::ACCEPT, "text/event-stream");
        let response = self.send(request).await?;
        let client = self.clone();
        let state =
            (response.bytes_stream(), SseReader::default(), std::collections::VecDeque::new(), client);
        Ok(Box::pin(futures_util::stream::unfold(Some(state), |state| async move {
            let (mut bytes, mut reader, mut ready, client) = state?;
            loop {
                if let Some(event) = ready.pop_front() {
                    return Some((Ok(event), Some((bytes, reader, ready, client))));
                }
                let damaged = || ClientError::NotAGrid { url: client.base.clone(), status: 200 };
                match tokio::time::timeout(FOLLOW_SILENCE, bytes.next()).await {
                    Ok(Some(Ok(part))) => match reader.push(&part) {
                        Ok(events) => {
                            for event in events {
                                match serde_json::from_str(&event.data) {
                                    Ok(event) => ready.push_back(event),
                                    Err(_) => return Some((Err(damaged()), None)),
                                }
                            }
                        }
                        Err(_) => return Some((Err(damaged()), None)),
                    },
                    Ok(Some(Err(source))) => return Some((Err(client.unreachable(source)), None)),
                    Ok(None) | Err(_) => return None,
                }
            }
        })))
    }

    /// `GET /executions/{id}/environment/log`.
    pub async fn environment_log(&self, id: &str) -> Result<EnvironmentLog, ClientError> {
        self.get(&format!("/executions/{}/environment/log", escaped(id))).await
    }

    /// `POST /executions/{id}/stdin`.
    pub async fn write_stdin(
        &self,
        id: &str,
        query: &WriteStdin,
        bytes: Vec<u8>,
    ) -> Result<StdinWritten, ClientError> {
        let path = with_query(&format!("/executions/{}/stdin", escaped(id)), query);
        let request =
            self.request(Method::POST, &path).header(header::CONTENT_TYPE, "application/octet-stream");
        self.answer(request.body(bytes).timeout(REQUEST_DEADLINE)).await
    }

    /// `GET /executions/{id}/artifacts`.
    pub async fn artifacts(&self, id: &str, query: &ListArtifacts) -> Result<ArtifactPage, ClientError> {
        self.get_with(&format!("/executions/{}/artifacts", escaped(id)), query).await
    }

    /// `POST /blobs/missing`.
    pub async fn blobs_missing(&self, body: &BlobsWanted) -> Result<BlobsMissing, ClientError> {
        self.post("/blobs/missing", body).await
    }

    /// `POST /blobs/commit`.
    pub async fn commit_blobs(&self, body: &CommitBlobs) -> Result<Committed, ClientError> {
        self.answer(self.request(Method::POST, "/blobs/commit").json(body).timeout(COMMIT_DEADLINE)).await
    }

    /// An address that the grid handed out: absolute, or a path on it. It is signed, so no key is sent.
    fn signed(&self, method: Method, url: &str) -> Result<RequestBuilder, ClientError> {
        if url.starts_with('/') {
            return Ok(self.http.request(method, format!("{}{url}", self.base)));
        }
        if is_tls(url) == is_tls(&self.base) {
            return Ok(self.http.request(method, url));
        }
        let http = match self.http_with_roots.get() {
            Some(http) => http,
            None => {
                let made = transport(url).map_err(|source| self.unreachable(source))?;
                self.http_with_roots.get_or_init(|| made)
            }
        };
        Ok(http.request(method, url))
    }

    /// PUTs one part to the address it was given. The caller bounds the time: a part is [`PART_BYTES`] at most.
    ///
    /// [`PART_BYTES`]: rgrid_core::limits::PART_BYTES
    pub async fn put_part(&self, part: &Part, length: u64, body: reqwest::Body) -> Result<(), ClientError> {
        let mut request = self.signed(Method::PUT, &part.url)?.header(header::CONTENT_LENGTH, length);
        for (name, value) in &part.headers {
            request = request.header(name, value);
        }
        self.send(request.body(body)).await.map(drop)
    }

    /// GETs a blob from the address it was given, from byte `from` on. The caller hashes what it reads.
    pub async fn get_blob(&self, url: &str, from: u64) -> Result<Response, ClientError> {
        let mut response = self.get_signed(url, from).await?;
        // The grid may know a nearer place for the bytes: once, and without a key there either.
        if response.status() == StatusCode::TEMPORARY_REDIRECT
            && let Some(place) = response.headers().get(header::LOCATION).and_then(|at| at.to_str().ok())
        {
            response = self.get_signed(place, from).await?;
        }
        let response = self.accepted(response).await?;
        if from > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
            return Err(ClientError::NotAGrid { url: self.base.clone(), status: response.status().as_u16() });
        }
        Ok(response)
    }

    async fn get_signed(&self, url: &str, from: u64) -> Result<Response, ClientError> {
        let mut request = self.signed(Method::GET, url)?;
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        request.send().await.map_err(|source| self.unreachable(source))
    }

    /// `GET /cost`.
    pub async fn cost(&self, query: &CostQuery) -> Result<Cost, ClientError> {
        self.get_with("/cost", query).await
    }

    /// `GET /workers`.
    pub async fn workers(&self) -> Result<WorkerList, ClientError> {
        self.get("/workers").await
    }

    /// `GET /keys`.
    pub async fn keys(&self) -> Result<KeyList, ClientError> {
        self.get("/keys").await
    }

    /// `POST /keys`.
    pub async fn create_key(
        &self,
        body: &CreateKey,
        idempotency_key: &str,
    ) -> Result<CreatedKey, ClientError> {
        let request = self.request(Method::POST, "/keys").header(IDEMPOTENCY_KEY, idempotency_key);
        self.answer(request.json(body).timeout(REQUEST_DEADLINE)).await
    }

    /// `DELETE /keys/{id}`: revokes it.
    pub async fn revoke_key(&self, id: &str) -> Result<Key, ClientError> {
        self.answer(self.request(Method::DELETE, &format!("/keys/{}", escaped(id))).timeout(REQUEST_DEADLINE))
            .await
    }

    /// `POST /prune`.
    pub async fn prune(&self) -> Result<Pruned, ClientError> {
        self.answer(self.request(Method::POST, "/prune").timeout(COMMIT_DEADLINE)).await
    }
}
