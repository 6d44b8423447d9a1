//! An object on its way into a bucket: whole by one PUT that is bound to its hash, or in the parts of a multipart
//! upload, of which the server itself knows those that arrived.
//!
//! The same signed addresses serve everybody: who reaches the server is handed them, for others the API uses them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use object_store::aws::AmazonS3;
use object_store::multipart::{MultipartStore, PartId};
use object_store::signer::{HeaderName, HeaderValue, Method, SignedUrlOptions};
use tokio::sync::mpsc;

use super::s3::{OWN_ADDRESS_LIFE, REQUEST_DEADLINE, S3, failed, location, within};
use super::s3_answer::{Answer, ArrivedPart};
use super::{Arriving, Completed, Error, ObjectKey, Part, PartAddress, SENDER_SILENCE, SIGNED_ADDRESS_LIFE};

/// What binds an address to the bytes that may be sent there.
const CHECKSUM: &str = "x-amz-checksum-sha256";
/// Parts of one page of a server's list, S3's own limit.
const PARTS_PAGE: &str = "1000";
/// The server may have to put 10,000 parts together.
const COMPLETE_DEADLINE: Duration = Duration::from_secs(300);
/// Pieces of a part that wait for the server.
const PIECES_WAITING: usize = 4;
/// After the last byte of a part the server answers within this.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

impl S3 {
    /// An object of several parts has an upload of its own at the server.
    pub(super) async fn begin(&self, key: ObjectKey, parts: u32) -> Result<Option<String>, Error> {
        if parts <= 1 {
            return Ok(None);
        }
        let path = location(key);
        let create = self.store().create_multipart(&path);
        within(REQUEST_DEADLINE, "begin an upload", create).await.map(Some)
    }

    /// Ends an upload that will not be completed. One that is not there is ended.
    pub(super) async fn abort(&self, key: ObjectKey, multipart: &str) -> Result<(), Error> {
        let query = [("uploadId", multipart)];
        let answer = self.ask(Method::DELETE, &location(key), &query, "end an upload").await?;
        // Some servers refuse an id that they do not know, others say nothing; both mean that it is gone.
        if answer.status.is_success() || answer.status.is_client_error() {
            return Ok(());
        }
        Err(answer.refused("end an upload"))
    }

    /// What the server has of an upload in parts; `None` when it does not know the upload.
    async fn parts(
        &self,
        key: ObjectKey,
        multipart: &str,
    ) -> Result<Option<BTreeMap<u32, ArrivedPart>>, Error> {
        let action = "list the parts of an upload";
        let (mut parts, mut marker) = (BTreeMap::new(), None::<u32>);
        loop {
            let after = marker.map(|number| number.to_string());
            let mut query = vec![("uploadId", multipart), ("max-parts", PARTS_PAGE)];
            query.extend(after.as_deref().map(|number| ("part-number-marker", number)));
            let answer = self.ask(Method::GET, &location(key), &query, action).await?;
            let Some(page) = answer.parts() else {
                let unknown = answer.code() == Some("NoSuchUpload");
                return if unknown { Ok(None) } else { Err(answer.refused(action)) };
            };
            parts.extend(page.parts);
            // A marker that does not move would be asked for again for ever.
            match page.next.filter(|next| marker.is_none_or(|before| *next > before)) {
                Some(next) => marker = Some(next),
                None => return Ok(Some(parts)),
            }
        }
    }

    /// The parts that have arrived and need not be sent again. Of an object in one part nothing is known before it
    /// is completed.
    pub(super) async fn arrived(&self, arriving: &Arriving) -> Result<BTreeSet<u32>, Error> {
        let Some(multipart) = &arriving.multipart else { return Ok(BTreeSet::new()) };
        let parts = self.parts(arriving.key, multipart).await?.unwrap_or_default();
        let whole = |(number, part): (u32, ArrivedPart)| {
            let expected = arriving.announced.part(number)?;
            (part.size_bytes == expected.range.end - expected.range.start).then_some(number)
        };
        Ok(parts.into_iter().filter_map(whole).collect())
    }

    pub(super) async fn complete(&self, arriving: &Arriving) -> Result<Completed, Error> {
        let (key, announced) = (arriving.key, &arriving.announced);
        if announced.parts() == 0 {
            self.put(key, Bytes::new()).await?;
            return Ok(Completed::Whole);
        }
        let mut unknown = announced.parts() > 1;
        if let Some(multipart) = &arriving.multipart
            && let Some(parts) = self.parts(key, multipart).await?
        {
            unknown = false;
            if self.arrived_all(arriving, &parts) {
                let tags = parts.into_values().map(|part| PartId { content_id: part.tag }).collect();
                let path = location(key);
                let completing = self.store().complete_multipart(&path, multipart, tags);
                within(COMPLETE_DEADLINE, "complete an upload", completing).await?;
            }
        }
        // Asked even when nothing was completed now: an earlier call may have done it and not lived to tell.
        match self.size(key).await? {
            Some(size) if size == announced.size_bytes => Ok(Completed::Whole),
            Some(_) => Ok(Completed::Damaged),
            None if unknown => Err(Error::Missing(key)),
            None => Ok(Completed::Unfinished),
        }
    }

    fn arrived_all(&self, arriving: &Arriving, parts: &BTreeMap<u32, ArrivedPart>) -> bool {
        let wanted = 1..=arriving.announced.parts();
        parts.len() == wanted.clone().count()
            && wanted.into_iter().all(|number| {
                let expected = arriving.announced.part(number).map(|part| part.range.end - part.range.start);
                parts.get(&number).map(|part| part.size_bytes) == expected
            })
    }

    /// Where a part can be PUT by whoever reaches the server; `None` when nobody else does.
    pub(super) async fn part_address(
        &self,
        arriving: &Arriving,
        number: u32,
    ) -> Result<Option<PartAddress>, Error> {
        let Some(public) = self.public() else { return Ok(None) };
        self.sign_part(public, arriving, number, SIGNED_ADDRESS_LIFE).await.map(Some)
    }

    async fn sign_part(
        &self,
        signer: &AmazonS3,
        arriving: &Arriving,
        number: u32,
        life: Duration,
    ) -> Result<PartAddress, Error> {
        let mut options = SignedUrlOptions::new();
        let mut headers = BTreeMap::new();
        if arriving.announced.parts() > 1 {
            let multipart = arriving.multipart.as_deref().ok_or(Error::Missing(arriving.key))?;
            options =
                options.with_query([("partNumber", number.to_string().as_str()), ("uploadId", multipart)]);
        } else {
            // Nothing but these bytes can ever be put there, not even after it became a blob.
            let checksum = STANDARD.encode(arriving.announced.sha256.0);
            let value = HeaderValue::from_str(&checksum).map_err(failed("sign an address"))?;
            options = options.with_signed_header(HeaderName::from_static(CHECKSUM), value);
            headers.insert(CHECKSUM.to_owned(), checksum);
        }
        let url = self.address(signer, Method::PUT, arriving.key, life, &options).await?;
        Ok(PartAddress { url, headers })
    }

    pub(super) async fn claim_part(&self, arriving: &Arriving, part: Part) -> Result<PartClaim, Error> {
        let address = self.sign_part(self.store(), arriving, part.number, OWN_ADDRESS_LIFE).await?;
        Ok(PartClaim { s3: self.clone(), address, part })
    }
}

/// The right to send one part. Nobody is kept from sending the same at once: the last one's bytes stay.
#[derive(Debug)]
pub struct PartClaim {
    s3: S3,
    address: PartAddress,
    part: Part,
}

impl PartClaim {
    pub(super) async fn write<E>(
        self,
        bytes: impl Stream<Item = Result<Bytes, E>> + Send,
    ) -> Result<(), Error>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let expected = self.part.range.end - self.part.range.start;
        let (pieces, arriving) = mpsc::channel::<Result<Bytes, std::io::Error>>(PIECES_WAITING);
        let body = futures_util::stream::unfold(arriving, async |mut arriving| {
            arriving.recv().await.map(|piece| (piece, arriving))
        });
        let mut request =
            self.s3.http().put(&self.address.url).header(reqwest::header::CONTENT_LENGTH, expected);
        for (name, value) in &self.address.headers {
            request = request.header(name, value);
        }
        let sending = async {
            let response = request.body(reqwest::Body::wrap_stream(body)).send().await;
            Answer::read(response.map_err(reqwest::Error::without_url)?).await
        };
        let fed = async {
            let fed = feed(bytes, &pieces, expected).await;
            if fed.is_err() {
                // The request must not end as if these were all.
                let _ = pieces.send(Err(std::io::Error::other("the sender broke off"))).await;
            }
            drop(pieces);
            fed
        };
        tokio::pin!(sending);
        let answer = tokio::select! {
            biased;
            // The server need not hear all to refuse.
            answer = &mut sending => answer,
            fed = fed => {
                fed?;
                let answer = tokio::time::timeout(ANSWER_DEADLINE, sending).await;
                answer.map_err(failed("write an object"))?
            }
        };
        let answer = answer.map_err(failed("write an object"))?;
        match answer.code() {
            _ if answer.status.is_success() => Ok(()),
            Some("BadDigest" | "XAmzContentChecksumMismatch" | "XAmzContentSHA256Mismatch") => {
                Err(Error::WrongBytes)
            }
            Some(_) | None => Err(answer.refused("write an object")),
        }
    }
}

/// Hands the sender's bytes on, exactly `expected` of them.
async fn feed<E>(
    bytes: impl Stream<Item = Result<Bytes, E>> + Send,
    pieces: &mpsc::Sender<Result<Bytes, std::io::Error>>,
    expected: u64,
) -> Result<(), Error>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut bytes = std::pin::pin!(bytes);
    let mut received = 0;
    // The last piece is kept back until the sender has ended: one byte too many must not follow a whole part.
    let mut last = None;
    loop {
        let piece = tokio::time::timeout(SENDER_SILENCE, bytes.next())
            .await
            .map_err(|silence| Error::Interrupted(silence.into()))?
            .transpose()
            .map_err(|broken| Error::Interrupted(broken.into()))?;
        let ended = piece.is_none();
        if let Some(piece) = &piece {
            received += piece.len() as u64;
        }
        if received > expected || (ended && received < expected) {
            return Err(Error::WrongLength { expected, received });
        }
        if let Some(before) = last.take() {
            // Who does not take it any more has answered; that answer counts.
            let _ = pieces.send(Ok(before)).await;
        }
        if ended {
            return Ok(());
        }
        last = piece;
    }
}
