//! Blobs over a real S3 server: past the API when clients reach it, through the API when they do not; what is damaged
//! or deleted there is noticed, said, and repaired by the next upload.

use rgrid_api::blobs::{BlobsWanted, Part, Upload};
use rgrid_api::client::{Client, ClientError};
use rgrid_api::error::ErrorCode;
use rgrid_api::outcome::OutcomeBody;
use rgrid_core::limits::PART_BYTES;
use rgrid_store::objects::ObjectsConfig;
use rgrid_store::objects::s3::S3Config;

use crate::harness::{DEADLINE, Grid, attempt_of, client, code, commit, finish, name, put, script, submit};
use crate::s3_server::S3Server;

/// Both ways in which bytes may go.
async fn grids(server: &S3Server) -> [(&'static str, Grid); 2] {
    [
        ("through the API", Grid::start_on(server.config(None)).await),
        ("past the API", Grid::start_on(server.config(Some(&server.url))).await),
    ]
}

async fn missing(client: &Client, bytes: &[u8]) -> Option<Upload> {
    client.blobs_missing(&BlobsWanted { blobs: vec![name(bytes)] }).await.unwrap().missing.pop()
}

async fn upload(client: &Client, bytes: &[u8]) {
    let upload = missing(client, bytes).await.expect("it is not there yet");
    put(client, &upload, bytes).await;
    assert!(client.commit_blobs(&commit(&upload)).await.unwrap().refused.is_empty());
    assert_eq!(missing(client, bytes).await, None);
}

/// The signed address of the script of an execution, as its runner gets it.
async fn leased(grid: &Grid, bytes: &[u8]) -> (crate::harness::Runner, rgrid_api::workers::Lease, String) {
    submit(&grid.client(), &script(bytes)).await;
    let runner = grid.runner().await;
    let lease = runner.lease().await;
    let url = lease.urls[&name(bytes).sha256].clone();
    (runner, lease, url)
}

async fn fetch(client: &Client, url: &str, from: u64) -> Result<Vec<u8>, ClientError> {
    Ok(client.get_blob(url, from).await?.bytes().await.unwrap().to_vec())
}

#[tokio::test]
async fn small_blobs_go_in_and_out_over_s3() {
    let server = S3Server::start().await;
    for (way, grid) in grids(&server).await {
        let me = grid.client();
        assert!(me.ready().await.unwrap().ready, "{way}");
        let bytes = format!("print({way:?})").into_bytes();
        let wanted = missing(&me, &bytes).await.unwrap();
        assert_eq!(wanted.parts[0].url.starts_with(&server.url), way == "past the API", "{way}");
        upload(&me, &bytes).await;
        let (runner, _, url) = leased(&grid, &bytes).await;
        assert_eq!(fetch(&runner.client, &url, 0).await.unwrap(), bytes, "{way}");
        assert_eq!(fetch(&runner.client, &url, 6).await.unwrap(), bytes[6..], "{way}");
        // Who comes with a key is answered here, so that no key travels to the store.
        let with_key = format!("{}/api/v1/blobs/{}", grid.url(), name(&bytes).sha256);
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let answer = http.get(&with_key).bearer_auth(&grid.key).header("range", "bytes=1-2").send().await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 206, "{way}");
        assert_eq!(answer.bytes().await.unwrap(), bytes[1..3], "{way}");
    }
}

#[tokio::test]
async fn a_big_blob_that_was_cut_goes_on_where_it_was() {
    let server = S3Server::start().await;
    for (way, grid) in grids(&server).await {
        let me = grid.client();
        let mut bytes = vec![0; 2 * PART_BYTES as usize + 7];
        bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at / 1000) as u8);
        bytes[0] = way.len() as u8;
        let first = missing(&me, &bytes).await.unwrap();
        assert_eq!(first.parts.iter().map(|part| part.number).collect::<Vec<_>>(), [1, 2, 3]);
        let only = |numbers: &[u32]| {
            let mut some = first.clone();
            some.parts.retain(|part| numbers.contains(&part.number));
            some
        };
        put(&me, &only(&[3, 1]), &bytes).await;
        let early = me.commit_blobs(&commit(&first)).await.unwrap().refused;
        assert_eq!(early, std::slice::from_ref(&first.upload_id), "{way}");
        // Another process, which knows nothing of the first.
        let again = client(grid.url(), &grid.key);
        let rest = missing(&again, &bytes).await.unwrap();
        assert_eq!(rest.upload_id, first.upload_id, "{way}");
        assert_eq!(rest.parts.iter().map(|part| part.number).collect::<Vec<_>>(), [2], "{way}");
        put(&again, &rest, &bytes).await;
        for _ in 0..2 {
            let refused = again.commit_blobs(&commit(&rest)).await.unwrap().refused;
            assert!(refused.is_empty(), "{way}: committing may be repeated");
        }
        let (runner, _, url) = leased(&grid, &bytes).await;
        let from = PART_BYTES + 3;
        assert!(fetch(&runner.client, &url, from).await.unwrap() == bytes[from as usize..], "{way}");
    }
    assert_eq!(server.open_parts(), 0);
}

#[tokio::test]
async fn addresses_of_the_store_that_were_changed_are_refused_and_no_key_goes_there() {
    let server = S3Server::start().await;
    let grid = Grid::start_on(server.config(Some(&server.url))).await;
    let upload = missing(&grid.client(), b"bytes").await.unwrap();
    let part = &upload.parts[0];
    // With a key in it the request would be signed twice, which S3 refuses: this client has one and does not send it.
    let me = grid.client();
    let put_to = async |url: String, bytes: &'static str| {
        let part = Part { url, ..part.clone() };
        me.put_part(&part, 5, bytes.into()).await
    };
    for changed in [
        part.url.replace("/objects/", "/objects/0"),
        part.url.replace("X-Amz-Expires=3600", "X-Amz-Expires=7200"),
        part.url.replace("X-Amz-Date=20", "X-Amz-Date=19"),
    ] {
        assert_ne!(changed, part.url);
        let refused = put_to(changed, "bytes").await;
        assert!(matches!(refused, Err(ClientError::NotAGrid { status: 400..500, .. })), "{refused:?}");
    }
    let other = put_to(part.url.clone(), "BYTES").await;
    assert!(matches!(other, Err(ClientError::NotAGrid { status: 400..500, .. })), "{other:?}");
    put_to(part.url.clone(), "bytes").await.unwrap();
    assert!(me.commit_blobs(&commit(&upload)).await.unwrap().refused.is_empty());
    // The address lives on, and still nothing else can be put there.
    assert!(put_to(part.url.clone(), "BYTES").await.is_err());
    let (runner, _, url) = leased(&grid, b"bytes").await;
    assert_eq!(fetch(&runner.client, &url, 0).await.unwrap(), b"bytes");
}

#[tokio::test]
async fn a_damaged_blob_is_noticed_by_its_hash_and_repaired_by_the_next_upload() {
    let server = S3Server::start().await;
    for (way, grid) in grids(&server).await {
        let me = grid.client();
        let bytes = format!("print('{way}')").into_bytes();
        let before = server.objects();
        upload(&me, &bytes).await;
        let file = server.objects().into_iter().find(|file| !before.contains(file)).unwrap();
        let mut damaged = bytes.clone();
        damaged[0] ^= 1;
        std::fs::write(&file, &damaged).unwrap();
        let (runner, lease, url) = leased(&grid, &bytes).await;
        assert_ne!(fetch(&runner.client, &url, 0).await.unwrap(), bytes, "{way}");
        // What its runner says of that.
        let mut said = finish(0, 0, 0);
        said.outcome = OutcomeBody::InputMissing { path: "/home/me/hello.py".to_owned(), corrupt: true };
        runner.client.finish(&attempt_of(&lease), &said).await.unwrap();
        let forgotten = async { while missing(&me, &bytes).await.is_none() {} };
        tokio::time::timeout(DEADLINE, forgotten).await.expect("the blob is forgotten");
        upload(&me, &bytes).await;
        assert_eq!(fetch(&runner.client, &url, 0).await.unwrap(), bytes, "{way}");
    }
}

#[tokio::test]
async fn an_object_deleted_behind_our_back_is_noticed_and_repaired_by_the_next_upload() {
    let server = S3Server::start().await;
    for (way, grid) in grids(&server).await {
        let me = grid.client();
        let bytes = format!("print('{way}')").into_bytes();
        upload(&me, &bytes).await;
        let (runner, _, url) = leased(&grid, &bytes).await;
        for file in server.objects() {
            std::fs::remove_file(file).unwrap();
        }
        let ClientError::Api(error) = fetch(&runner.client, &url, 0).await.unwrap_err() else {
            panic!("{way}: the grid says it");
        };
        assert_eq!(error.code, ErrorCode::NotFound, "{way}");
        assert_eq!(error.details.unwrap()["corrupt"], true, "{way}");
        upload(&me, &bytes).await;
        assert_eq!(fetch(&runner.client, &url, 0).await.unwrap(), bytes, "{way}");
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_told_and_the_rest_goes_on() {
    let server = S3Server::start().await;
    let ObjectsConfig::S3(config) = server.config(None) else { panic!("S3") };
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let grid = Grid::start_on(ObjectsConfig::S3(S3Config { endpoint, ..config })).await;
    let me = grid.client();
    let ready = me.ready().await.unwrap();
    assert!(!ready.ready && ready.database == "ok", "{ready:?}");
    assert_eq!(ready.objects, "no answer within 3 s");
    let refused = me.blobs_missing(&BlobsWanted { blobs: vec![name(b"bytes")] }).await;
    assert_eq!(code(refused), ErrorCode::ObjectsUnavailable);
    assert_eq!(me.health().await.unwrap().status, "ok (db: connected)");
}
