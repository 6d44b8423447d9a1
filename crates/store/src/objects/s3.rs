//! Objects in a bucket of an S3 server: `objects/abcd...`. What else lies in the bucket is not ours and stays.
//!
//! How an object arrives there is in `s3_arrival.rs`. Nothing here builds on conditional writes or on the wording of a
//! refusal: servers differ in both.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{HttpClient, HttpConnector};
use object_store::path::Path;
use object_store::signer::{Method, SignedUrlOptions, Signer};
use object_store::{
    BackoffConfig, ClientOptions, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig,
};

use super::s3_answer::Answer;
use super::{Error, LIST_PAGE, Listed, ObjectKey, SIGNED_ADDRESS_LIFE};

/// Where in the bucket ours lie.
const PREFIX: &str = "objects";
/// A connection is made within this.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// A request that moves little is answered within this, retries included.
pub(super) const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// A read without a byte for this long is cut.
const READ_SILENCE: Duration = Duration::from_secs(30);
/// Tries of one request after the first.
const RETRIES: usize = 2;
/// A server that answered is not asked again for this long.
const TRUSTED_FOR: Duration = Duration::from_secs(10);
/// Addresses for the server's own requests are good for this long.
pub(super) const OWN_ADDRESS_LIFE: Duration = Duration::from_secs(900);

/// How an S3 server is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Config {
    /// For us: scheme, host and port.
    pub endpoint: String,
    /// For clients and runners; `None` when they do not reach it, and bytes pass through the API.
    pub public_endpoint: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// What the server calls its region.
    pub region: String,
    /// Who we are to the server.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
}

/// Without the keys.
impl fmt::Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, public_endpoint, bucket, region, access_key: _, secret_key: _ } = self;
        f.debug_struct("S3Config")
            .field("endpoint", endpoint)
            .field("public_endpoint", public_endpoint)
            .field("bucket", bucket)
            .field("region", region)
            .finish_non_exhaustive()
    }
}

/// A bucket. Cheap to clone.
#[derive(Clone)]
pub struct S3 {
    inner: Arc<Inner>,
}

struct Inner {
    config: S3Config,
    http: reqwest::Client,
    store: AmazonS3,
    /// Signs for whoever reaches the server under its public name.
    public: Option<AmazonS3>,
    answered: Mutex<Option<Instant>>,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("S3").field(&self.inner.config).finish()
    }
}

/// Gives the library our connections.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

/// Names what failed.
pub(super) fn failed<E>(action: &'static str) -> impl FnOnce(E) -> Error
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    move |source| Error::Broken { action, source: io::Error::other(source) }
}

/// Bounds a request, and names what failed.
pub(super) async fn within<T>(
    deadline: Duration,
    action: &'static str,
    request: impl Future<Output = object_store::Result<T>>,
) -> Result<T, Error> {
    tokio::time::timeout(deadline, request).await.map_err(failed(action))?.map_err(failed(action))
}

fn transport(endpoint: &str) -> Result<reqwest::Client, Error> {
    let mut http = reqwest::Client::builder()
        .connect_timeout(CONNECT_DEADLINE)
        // An S3 server that sends us elsewhere is a web page.
        .redirect(reqwest::redirect::Policy::none())
        .tcp_nodelay(true);
    let host = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    if endpoint.starts_with("http://") {
        // Reading the machine's certificates takes time and may fail: where no TLS is spoken it is left out.
        http = http.tls_certs_only([]);
    }
    if ["127.", "localhost", "[::1]"].iter().any(|start| host.starts_with(start)) {
        http = http.no_proxy();
    }
    http.build().map_err(failed("set up its connections"))
}

fn bucket(config: &S3Config, endpoint: &str, http: &reqwest::Client) -> Result<AmazonS3, Error> {
    AmazonS3Builder::new()
        .with_endpoint(endpoint)
        .with_region(&config.region)
        .with_bucket_name(&config.bucket)
        .with_access_key_id(&config.access_key)
        .with_secret_access_key(&config.secret_key)
        .with_virtual_hosted_style_request(false)
        .with_allow_http(true)
        .with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: RETRIES,
            retry_timeout: REQUEST_DEADLINE / 2,
        })
        .with_http_connector(Connector(http.clone()))
        .build()
        .map_err(failed("read its settings"))
}

pub(super) fn location(key: ObjectKey) -> Path {
    Path::from(format!("{PREFIX}/{key}"))
}

impl S3 {
    /// Asks the server nothing: it may be down, and come back.
    pub(super) fn open(config: &S3Config) -> Result<Self, Error> {
        let http = transport(&config.endpoint)?;
        let store = bucket(config, &config.endpoint, &http)?;
        let public = config.public_endpoint.as_deref().map(|url| bucket(config, url, &http)).transpose()?;
        let inner = Inner { config: config.clone(), http, store, public, answered: Mutex::new(None) };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(super) fn store(&self) -> &AmazonS3 {
        &self.inner.store
    }

    pub(super) fn http(&self) -> &reqwest::Client {
        &self.inner.http
    }

    /// True when others reach the server too.
    pub(super) fn is_public(&self) -> bool {
        self.inner.public.is_some()
    }

    /// Fails unless the server answers as S3 does and the bucket is there; makes it when it is not.
    pub(super) async fn check(&self) -> Result<(), Error> {
        let query = [("list-type", "2"), ("max-keys", "1"), ("prefix", "objects/")];
        let answer = self.ask(Method::GET, &Path::default(), &query, "list its bucket").await?;
        match answer.code() {
            _ if answer.is_html => return Err(Error::NotS3 { endpoint: self.inner.config.endpoint.clone() }),
            _ if answer.status.is_success() && answer.text.contains("<ListBucketResult") => {}
            Some("NoSuchBucket") => {
                let made = self.ask(Method::PUT, &Path::default(), &[], "make its bucket").await?;
                if !made.status.is_success() {
                    return Err(made.refused("make its bucket"));
                }
                tracing::info!(bucket = self.inner.config.bucket, "the bucket was made");
            }
            Some(_) | None => return Err(answer.refused("list its bucket")),
        }
        *self.inner.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(())
    }

    /// The same, where what was true some seconds ago is good enough.
    pub(super) async fn ensure_answers(&self) -> Result<(), Error> {
        let answered = *self.inner.answered.lock().unwrap_or_else(PoisonError::into_inner);
        match answered {
            Some(at) if at.elapsed() < TRUSTED_FOR => Ok(()),
            Some(_) | None => tokio::time::timeout(CONNECT_DEADLINE, self.check())
                .await
                .unwrap_or_else(|silence| Err(failed("answer")(silence))),
        }
    }

    /// One request that the library does not know, signed, with its whole answer.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &Path,
        query: &[(&str, &str)],
        action: &'static str,
    ) -> Result<Answer, Error> {
        let options = SignedUrlOptions::new().with_query(query.iter().copied());
        let signing = self.store().signed_url_opts(method.clone(), path, OWN_ADDRESS_LIFE, &options);
        let url = signing.await.map_err(failed(action))?;
        let asked = async {
            let response =
                self.http().request(method, url).send().await.map_err(reqwest::Error::without_url)?;
            Answer::read(response).await
        };
        tokio::time::timeout(REQUEST_DEADLINE, asked).await.map_err(failed(action))?.map_err(failed(action))
    }

    /// An address under the server's public name, or for our own use.
    pub(super) async fn address(
        &self,
        signer: &AmazonS3,
        method: Method,
        key: ObjectKey,
        life: Duration,
        options: &SignedUrlOptions,
    ) -> Result<String, Error> {
        let url = signer.signed_url_opts(method, &location(key), life, options).await;
        Ok(url.map_err(failed("sign an address"))?.to_string())
    }

    /// Signs for others; `None` when they do not reach the server.
    pub(super) fn public(&self) -> Option<&AmazonS3> {
        self.inner.public.as_ref()
    }

    pub(super) async fn get_address(&self, key: ObjectKey) -> Result<Option<String>, Error> {
        let Some(public) = self.public() else { return Ok(None) };
        let options = SignedUrlOptions::new();
        self.address(public, Method::GET, key, SIGNED_ADDRESS_LIFE, &options).await.map(Some)
    }

    pub(super) async fn put(&self, key: ObjectKey, bytes: Bytes) -> Result<(), Error> {
        let path = location(key);
        let put = self.store().put(&path, PutPayload::from_bytes(bytes));
        within(REQUEST_DEADLINE, "write an object", put).await.map(drop)
    }

    /// Size of an object; `None` when it is not there.
    pub(super) async fn size(&self, key: ObjectKey) -> Result<Option<u64>, Error> {
        let path = location(key);
        let head = async {
            match self.store().head(&path).await {
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                found => found.map(|meta| Some(meta.size)),
            }
        };
        within(REQUEST_DEADLINE, "look at an object", head).await
    }

    pub(super) async fn get(&self, key: ObjectKey, range: Option<Range<u64>>) -> Result<Reader, Error> {
        let mut options = GetOptions::default();
        if let Some(range) = range {
            // Servers refuse a range that starts beyond the end, each in its own words.
            let object_bytes = self.size(key).await?.ok_or(Error::Missing(key))?;
            let range = range.start.min(object_bytes)..range.end.min(object_bytes);
            if range.is_empty() {
                return Ok(Reader { object_bytes, left: 0, pieces: futures_util::stream::empty().boxed() });
            }
            options.range = Some(GetRange::Bounded(range));
        }
        let path = location(key);
        let got = async {
            match self.store().get_opts(&path, options).await {
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                got => got.map(Some),
            }
        };
        let got = within(REQUEST_DEADLINE, "read an object", got).await?.ok_or(Error::Missing(key))?;
        let (object_bytes, left) = (got.meta.size, got.range.end - got.range.start);
        Ok(Reader { object_bytes, left, pieces: got.into_stream() })
    }

    pub(super) async fn delete(&self, key: ObjectKey) -> Result<(), Error> {
        let path = location(key);
        let delete = async {
            match self.store().delete(&path).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                deleted => deleted,
            }
        };
        within(REQUEST_DEADLINE, "delete an object", delete).await
    }

    pub(super) async fn list(&self, after: Option<ObjectKey>) -> Result<Vec<Listed>, Error> {
        let prefix = Path::from(PREFIX);
        let found = match after {
            Some(after) => self.store().list_with_offset(Some(&prefix), &location(after)),
            None => self.store().list(Some(&prefix)),
        };
        let ours = found.try_filter_map(async |meta| {
            // A name of another form is not ours.
            let key = meta.location.filename().and_then(|name| name.parse::<ObjectKey>().ok());
            let key = key.filter(|key| location(*key) == meta.location);
            Ok(key.map(|key| Listed { key, size_bytes: meta.size, modified: meta.last_modified.into() }))
        });
        let mut page: Vec<Listed> =
            within(REQUEST_DEADLINE, "list its bucket", ours.take(LIST_PAGE).try_collect()).await?;
        page.sort_unstable_by_key(|listed| listed.key);
        Ok(page)
    }
}

/// Reads one range of an object.
pub struct Reader {
    object_bytes: u64,
    left: u64,
    pieces: BoxStream<'static, object_store::Result<Bytes>>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("object_bytes", &self.object_bytes).field("left", &self.left).finish()
    }
}

impl Reader {
    pub(super) fn object_bytes(&self) -> u64 {
        self.object_bytes
    }

    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let action = "read an object";
        let piece = tokio::time::timeout(READ_SILENCE, self.pieces.next()).await.map_err(failed(action))?;
        match piece.transpose().map_err(failed(action))? {
            Some(piece) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
                Ok(Some(piece))
            }
            None if self.left == 0 => Ok(None),
            None => Err(failed(action)(format!("{} bytes did not come", self.left))),
        }
    }
}
