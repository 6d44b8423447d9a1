//! A real S3 server in this process, for tests of this crate and of those above it: s3s over a folder, with what it
//! lacks of others: tags in its list of parts, their check, and a checksum that is checked before bytes are kept.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::TryStreamExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rgrid_store::objects::ObjectsConfig;
use rgrid_store::objects::s3::S3Config;
use s3s::auth::SimpleAuth;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CreateBucketInput, CreateBucketOutput, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput,
    DeleteObjectsOutput, ETag, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput,
    ListObjectsV2Input, ListObjectsV2Output, ListPartsInput, ListPartsOutput, PutObjectInput,
    PutObjectOutput, UploadPartInput, UploadPartOutput,
};
use s3s::service::S3ServiceBuilder;
use s3s::{Body, S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use sha2::Digest;
use tokio::net::TcpListener;

pub(crate) const BUCKET: &str = "rgrid-test";

/// A server that ends with the test's runtime, and its folder.
pub(crate) struct S3Server {
    pub(crate) url: String,
    folder: tempfile::TempDir,
}

impl S3Server {
    pub(crate) async fn start() -> Self {
        // A second provider of TLS in this process is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let files = FileSystem::new(folder.path()).unwrap();
        let mut service = S3ServiceBuilder::new(Tagged { files, tags: Arc::default() });
        service.set_auth(SimpleAuth::from_single("access", "secret"));
        let service = service.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let http = Builder::new(TokioExecutor::new());
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url, folder }
    }

    pub(crate) fn config(&self, public_endpoint: Option<&str>) -> ObjectsConfig {
        ObjectsConfig::S3(S3Config {
            endpoint: self.url.clone(),
            public_endpoint: public_endpoint.map(str::to_owned),
            bucket: BUCKET.to_owned(),
            region: "us-east-1".to_owned(),
            access_key: "access".to_owned(),
            secret_key: "secret".to_owned(),
        })
    }

    /// The files of our objects.
    pub(crate) fn objects(&self) -> Vec<PathBuf> {
        let folder = self.folder.path().join(BUCKET).join("objects");
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
    }

    /// Parts of uploads that are neither completed nor ended.
    pub(crate) fn open_parts(&self) -> usize {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let part = |name: &str| name.starts_with(".upload_id-") && name.contains(".part-");
        entries.filter(|entry| part(&entry.as_ref().unwrap().file_name().to_string_lossy())).count()
    }
}

/// A file system that knows the tags of parts.
struct Tagged {
    files: FileSystem,
    tags: Arc<Mutex<HashMap<(String, i32), ETag>>>,
}

#[async_trait::async_trait]
impl S3 for Tagged {
    async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        self.files.create_bucket(request).await
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.files.list_objects_v2(request).await
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        self.files.head_object(request).await
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        self.files.get_object(request).await
    }

    async fn put_object(
        &self,
        mut request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        if let Some(sum) = &request.input.checksum_sha256
            && let Some(body) = request.input.body.take()
        {
            let pieces: Vec<Bytes> = body.try_collect().await.map_err(|_| s3_error!(IncompleteBody))?;
            let bytes = pieces.concat();
            if STANDARD.encode(sha2::Sha256::digest(&bytes)) != *sum {
                return Err(s3_error!(BadDigest));
            }
            request.input.body = Some(Body::from(Bytes::from(bytes)).into());
        }
        self.files.put_object(request).await
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.files.delete_object(request).await
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        self.files.delete_objects(request).await
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.files.create_multipart_upload(request).await
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let key = (request.input.upload_id.clone(), request.input.part_number);
        let answer = self.files.upload_part(request).await?;
        self.tags.lock().unwrap().insert(key, answer.output.e_tag.clone().unwrap());
        Ok(answer)
    }

    async fn list_parts(&self, request: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        let upload = request.input.upload_id.clone();
        let mut answer = self.files.list_parts(request).await?;
        let tags = self.tags.lock().unwrap();
        for part in answer.output.parts.iter_mut().flatten() {
            part.e_tag = tags.get(&(upload.clone(), part.part_number.unwrap())).cloned();
        }
        Ok(answer)
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let parts = request.input.multipart_upload.as_ref().and_then(|upload| upload.parts.as_ref());
        let fit = parts.into_iter().flatten().all(|part| {
            let key = (request.input.upload_id.clone(), part.part_number.unwrap_or_default());
            self.tags.lock().unwrap().get(&key) == part.e_tag.as_ref()
        });
        if !fit {
            return Err(s3_error!(InvalidPart));
        }
        self.files.complete_multipart_upload(request).await
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.files.abort_multipart_upload(request).await
    }
}
