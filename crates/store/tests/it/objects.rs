//! The object store: what every place for objects must do (`conforms`), and what is the folder's alone.

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use rgrid_core::submission::Sha256;
use rgrid_store::objects::s3::S3Config;
use rgrid_store::objects::{Announced, Arriving, Completed, Error, ObjectKey, Objects, ObjectsConfig};
use sha2::Digest;

use crate::s3_server::S3Server;

/// The smallest part that S3 takes when another follows.
const PART_BYTES: u64 = 5 << 20;

/// A folder that is deleted with its guard.
fn folder() -> (tempfile::TempDir, Objects) {
    let folder = tempfile::tempdir().unwrap();
    let objects = Objects::open(&ObjectsConfig::Folder(folder.path().join("store"))).unwrap();
    (folder, objects)
}

/// Bytes that differ at every place, and by `seed`.
fn content(seed: u8, length: u64) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed).collect()
}

fn announce(content: &[u8]) -> Announced {
    Announced {
        size_bytes: content.len() as u64,
        part_bytes: PART_BYTES,
        sha256: Sha256(sha2::Sha256::digest(content).into()),
    }
}

fn pieces(bytes: &[u8]) -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> + Send + use<> {
    stream::iter(bytes.chunks(77_777).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect::<Vec<_>>())
}

async fn begin(objects: &Objects, announced: &Announced) -> Arriving {
    let key = ObjectKey::fresh();
    let multipart = objects.begin(key, announced).await.unwrap();
    Arriving { key, announced: *announced, multipart }
}

async fn put_part(objects: &Objects, arriving: &Arriving, number: u32, content: &[u8]) {
    let part = arriving.announced.part(number).unwrap();
    let bytes = &content[part.range.start as usize..part.range.end as usize];
    let claim = objects.claim_part(arriving, part).await.unwrap();
    claim.write(pieces(bytes)).await.unwrap().recorded();
}

async fn read(objects: &Objects, key: ObjectKey) -> Vec<u8> {
    objects.get(key, None).await.unwrap().read_to_end().await.unwrap()
}

#[tokio::test]
async fn a_folder_conforms() {
    let (_guard, objects) = folder();
    conforms(&objects).await;
}

#[tokio::test]
async fn an_s3_server_conforms() {
    let server = S3Server::start().await;
    for public in [None, Some(server.url.as_str())] {
        let objects = Objects::open(&server.config(public)).unwrap();
        conforms(&objects).await;
        assert_eq!(objects.get_address(ObjectKey::fresh()).await.unwrap().is_some(), public.is_some());
    }
    assert_eq!(server.open_parts(), 0, "what was not completed was ended");
}

/// What callers build on, for any place where objects lie.
async fn conforms(objects: &Objects) {
    objects.check().await.unwrap();
    objects.ensure_answers().await.unwrap();
    small_objects_are_put_whole(objects).await;
    parts_come_in_any_order_and_at_once(objects).await;
    what_was_cut_goes_on(objects).await;
    one_part_is_bound_to_its_hash(objects).await;
    parts_have_their_length(objects).await;
    an_empty_object_has_no_parts(objects).await;
    ranges_are_cut_to_what_is_there(objects).await;
    lists_page_through_everything(objects).await;
}

async fn small_objects_are_put_whole(objects: &Objects) {
    let key = ObjectKey::fresh();
    objects.put(key, Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(read(objects, key).await, b"hello");
    objects.delete(key).await.unwrap();
    assert!(matches!(objects.get(key, None).await, Err(Error::Missing(missing)) if missing == key));
    objects.delete(key).await.unwrap();
}

async fn parts_come_in_any_order_and_at_once(objects: &Objects) {
    let content = content(1, 2 * PART_BYTES + 1);
    let announced = announce(&content);
    assert_eq!(announced.parts(), 3);
    let arriving = begin(objects, &announced).await;
    for number in [3, 1, 2] {
        put_part(objects, &arriving, number, &content).await;
    }
    assert_eq!(objects.complete(&arriving).await.unwrap(), Completed::Whole);
    assert_eq!(read(objects, arriving.key).await, content);

    let arriving = begin(objects, &announced).await;
    let parts = (1..=3).map(|number| put_part(objects, &arriving, number, &content));
    futures_util::future::join_all(parts).await;
    let early = objects.get(arriving.key, None).await;
    assert!(early.is_err(), "it is not there before it is complete");
    for time in ["once", "and again"] {
        assert_eq!(objects.complete(&arriving).await.unwrap(), Completed::Whole, "{time}");
    }
    assert_eq!(read(objects, arriving.key).await, content);
}

async fn what_was_cut_goes_on(objects: &Objects) {
    let content = content(7, 2 * PART_BYTES + 1);
    let arriving = begin(objects, &announce(&content)).await;
    put_part(objects, &arriving, 1, &content).await;
    put_part(objects, &arriving, 3, &content).await;
    if !objects.rows_know_parts() {
        assert_eq!(objects.arrived(&arriving).await.unwrap().into_iter().collect::<Vec<_>>(), [1, 3]);
        assert_eq!(objects.complete(&arriving).await.unwrap(), Completed::Unfinished);
    }
    put_part(objects, &arriving, 2, &content).await;
    assert_eq!(objects.complete(&arriving).await.unwrap(), Completed::Whole);

    // What is given up leaves nothing behind.
    let given_up = begin(objects, &announce(&content)).await;
    put_part(objects, &given_up, 1, &content).await;
    for _ in 0..2 {
        if let Some(multipart) = &given_up.multipart {
            objects.abort(given_up.key, multipart).await.unwrap();
        }
        objects.delete(given_up.key).await.unwrap();
    }
    assert!(objects.arrived(&given_up).await.unwrap().is_empty());
}

async fn one_part_is_bound_to_its_hash(objects: &Objects) {
    let arriving = begin(objects, &announce(b"bytes")).await;
    let part = arriving.announced.part(1).unwrap();
    let claim = objects.claim_part(&arriving, part).await.unwrap();
    // A folder takes them, and does not make them an object.
    match claim.write(pieces(b"BYTES")).await {
        Ok(written) => {
            written.recorded();
            assert_eq!(objects.complete(&arriving).await.unwrap(), Completed::Damaged);
        }
        Err(error) => assert!(matches!(error, Error::WrongBytes), "{error:?}"),
    }
    assert!(matches!(objects.get(arriving.key, None).await, Err(Error::Missing(_))));
    let arriving = begin(objects, &announce(b"bytes")).await;
    put_part(objects, &arriving, 1, b"bytes").await;
    assert_eq!(objects.complete(&arriving).await.unwrap(), Completed::Whole);
}

async fn parts_have_their_length(objects: &Objects) {
    let content = content(2, PART_BYTES + 5);
    let arriving = begin(objects, &announce(&content)).await;
    for (length, expected) in [(10, 10), (PART_BYTES as usize + 5, PART_BYTES + 5)] {
        let claim = objects.claim_part(&arriving, arriving.announced.part(1).unwrap()).await.unwrap();
        let written = claim.write(pieces(&content[..length])).await;
        let Err(Error::WrongLength { expected: PART_BYTES, received }) = written else {
            panic!("{written:?}");
        };
        assert!(received >= expected.min(PART_BYTES + 1) && received <= expected);
    }
    let claim = objects.claim_part(&arriving, arriving.announced.part(1).unwrap()).await.unwrap();
    let broken = stream::iter([Ok(Bytes::from_static(b"zz")), Err(std::io::Error::other("cut"))]);
    assert!(matches!(claim.write(broken).await, Err(Error::Interrupted(_))));
    assert!(objects.arrived(&arriving).await.unwrap().is_empty());
    if let Some(multipart) = &arriving.multipart {
        objects.abort(arriving.key, multipart).await.unwrap();
    }
}

async fn an_empty_object_has_no_parts(objects: &Objects) {
    let arriving = begin(objects, &announce(b"")).await;
    assert_eq!((arriving.announced.parts(), arriving.announced.part(1)), (0, None));
    assert_eq!(objects.complete(&arriving).await.unwrap(), Completed::Whole);
    assert_eq!(read(objects, arriving.key).await, b"");
}

async fn ranges_are_cut_to_what_is_there(objects: &Objects) {
    let content = content(3, 2_000_000);
    let key = ObjectKey::fresh();
    objects.put(key, Bytes::from(content.clone())).await.unwrap();
    for range in [0..0, 0..1, 5..1_500_000, 1_999_999..2_000_000, 1_000_000..9_000_000, 3_000_000..3_000_001]
    {
        let reader = objects.get(key, Some(range.clone())).await.unwrap();
        assert_eq!(reader.object_bytes(), 2_000_000);
        let expected = &content[range.start.min(2_000_000) as usize..range.end.min(2_000_000) as usize];
        assert_eq!(reader.read_to_end().await.unwrap(), expected, "{range:?}");
    }
    let streamed = objects.get(key, None).await.unwrap().into_stream();
    let streamed: Vec<Bytes> = streamed.map(Result::unwrap).collect().await;
    assert_eq!(streamed.concat(), content);
}

async fn lists_page_through_everything(objects: &Objects) {
    let mut expected = Vec::new();
    for _ in 0..40 {
        let key = ObjectKey::fresh();
        objects.put(key, Bytes::from_static(b"x")).await.unwrap();
        expected.push(key);
    }
    let arriving = begin(objects, &announce(b"abc")).await;
    put_part(objects, &arriving, 1, b"abc").await;
    expected.push(arriving.key);
    let mut listed = Vec::new();
    let mut after = None;
    loop {
        let page = objects.list(after).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.key);
        listed.extend(page.into_iter().map(|listed| listed.key));
    }
    assert!(listed.is_sorted());
    assert!(expected.iter().all(|key| listed.contains(key)));
}

#[tokio::test]
async fn only_what_was_announced_completes_in_a_folder() {
    let (_guard, objects) = folder();
    let content = content(2, 3 * PART_BYTES);
    let announced = announce(&content);
    let mut damaged = content.clone();
    damaged[PART_BYTES as usize + 5] ^= 1;
    let arriving = begin(&objects, &announced).await;
    for number in 1..=3 {
        put_part(&objects, &arriving, number, &damaged).await;
    }
    assert_eq!(objects.complete(&arriving).await.unwrap(), Completed::Damaged);
    assert!(matches!(objects.get(arriving.key, None).await, Err(Error::Missing(_))));

    let short = begin(&objects, &announced).await;
    put_part(&objects, &short, 1, &content).await;
    assert_eq!(objects.complete(&short).await.unwrap(), Completed::Damaged);
    let nothing = begin(&objects, &announced).await;
    assert!(matches!(objects.complete(&nothing).await, Err(Error::Missing(_))));
}

#[tokio::test]
async fn an_s3_address_that_was_changed_or_has_expired_is_refused() {
    let server = S3Server::start().await;
    let objects = Objects::open(&server.config(Some(&server.url))).unwrap();
    objects.check().await.unwrap();
    let arriving = begin(&objects, &announce(b"bytes")).await;
    let address = objects.part_address(&arriving, 1).await.unwrap().unwrap();
    let http = reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap();
    let put = async |url: &str, body: &'static str, signed: bool| {
        let mut request = http.put(url).body(body);
        for (name, value) in address.headers.iter().filter(|_| signed) {
            request = request.header(name, value);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let other = ObjectKey::fresh().to_string();
    for changed in [
        address.url.replace(&arriving.key.to_string(), &other),
        address.url.replace("X-Amz-Expires=3600", "X-Amz-Expires=360000"),
        address.url.replace("X-Amz-Signature=", "X-Amz-Signature=0"),
        // Made long ago.
        address.url.replace("X-Amz-Date=2", "X-Amz-Date=1"),
        address.url.split('?').next().unwrap().to_owned(),
    ] {
        assert_ne!(changed, address.url);
        let status = put(&changed, "bytes", true).await;
        assert!((400..500).contains(&status), "{status} for {changed}");
    }
    assert!((400..500).contains(&put(&address.url, "bytes", false).await), "its checksum is signed");
    assert!((400..500).contains(&put(&address.url, "BYTES", true).await), "other bytes");
    assert_eq!(server.objects().len(), 0);
    assert_eq!(put(&address.url, "bytes", true).await, 200);
    let get = objects.get_address(arriving.key).await.unwrap().unwrap();
    assert_eq!(http.get(&get).send().await.unwrap().text().await.unwrap(), "bytes");
    assert!((400..500).contains(&put(&get, "bytes", true).await), "an address to get is none to put");
}

#[tokio::test]
async fn a_store_that_is_not_there_or_a_web_page_is_named_as_that() {
    let server = S3Server::start().await;
    let ObjectsConfig::S3(config) = server.config(None) else { panic!("S3") };
    let of = |endpoint: String| {
        Objects::open(&ObjectsConfig::S3(S3Config { endpoint, ..config.clone() })).unwrap()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let console = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let _ = stream.read(&mut [0; 4096]).await;
            let page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>";
            let _ = stream.write_all(page.as_bytes()).await;
        }
    });
    let page = of(console.clone()).check().await.unwrap_err();
    assert!(page.to_string().starts_with(&format!("{console} answers like a web console")), "{page}");
    assert!(matches!(of(console).ensure_answers().await, Err(Error::NotS3 { .. })));

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = of(format!("http://{nobody}")).check().await;
    assert!(matches!(gone, Err(Error::Broken { .. })), "{gone:?}");

    let wrong = ObjectsConfig::S3(S3Config { secret_key: "guessed".to_owned(), ..config.clone() });
    let refused = Objects::open(&wrong).unwrap().check().await.unwrap_err();
    let cause = std::error::Error::source(&refused).unwrap().to_string();
    assert!(cause.contains("SignatureDoesNotMatch"), "{cause}");
    assert!(!format!("{wrong:?} {refused:?}").contains("guessed"));
}

#[tokio::test]
async fn one_writer_at_a_time_has_a_part() {
    let (_guard, objects) = folder();
    let content = content(4, 2 * PART_BYTES);
    let announced = announce(&content);
    let arriving = begin(&objects, &announced).await;
    let first = objects.claim_part(&arriving, announced.part(1).unwrap()).await.unwrap();
    // Another part is free, the same one is not, and the whole cannot be completed.
    let other = objects.claim_part(&arriving, announced.part(2).unwrap()).await.unwrap();
    tokio::pin! {
        let same = objects.claim_part(&arriving, announced.part(1).unwrap());
        let whole = objects.complete(&arriving);
    }
    assert!(same.as_mut().now_or_never().is_none());
    other.write(pieces(&content[PART_BYTES as usize..])).await.unwrap().recorded();
    assert!(same.as_mut().now_or_never().is_none() && whole.as_mut().now_or_never().is_none());
    // A writer that breaks off leaves the part to the next.
    let broken = stream::iter([Ok(Bytes::from_static(b"zz")), Err(std::io::Error::other("cut"))]);
    assert!(matches!(first.write(broken).await, Err(Error::Interrupted(_))));
    same.await.unwrap().write(pieces(&content[..PART_BYTES as usize])).await.unwrap().recorded();
    assert_eq!(whole.await.unwrap(), Completed::Whole);
}

#[tokio::test]
async fn who_comes_after_the_end_cannot_touch_the_object() {
    let (guard, objects) = folder();
    let content = content(6, PART_BYTES);
    let announced = announce(&content);
    let arriving = begin(&objects, &announced).await;
    let key = arriving.key;
    put_part(&objects, &arriving, 1, &content).await;
    assert_eq!(objects.complete(&arriving).await.unwrap(), Completed::Whole);
    let late = objects.claim_part(&arriving, announced.part(1).unwrap()).await;
    assert!(matches!(late, Err(Error::Busy)), "{late:?}");
    let incoming = guard.path().join("store/incoming");
    assert_eq!(std::fs::read_dir(&incoming).unwrap().count(), 0);
    // Nor does what lies there by accident.
    std::fs::write(incoming.join(key.to_string()), b"late").unwrap();
    assert_eq!(objects.complete(&arriving).await.unwrap(), Completed::Whole);
    assert_eq!(read(&objects, key).await, content);
}

#[tokio::test]
async fn what_this_process_did_not_hash_is_hashed_at_the_end() {
    let guard = tempfile::tempdir().unwrap();
    let config = ObjectsConfig::Folder(guard.path().to_owned());
    let content = content(5, 4 * PART_BYTES);
    let announced = announce(&content);
    let before = Objects::open(&config).unwrap();
    let arriving = begin(&before, &announced).await;
    for number in [1, 2, 4] {
        put_part(&before, &arriving, number, &content).await;
    }
    drop(before);
    let after = Objects::open(&config).unwrap();
    put_part(&after, &arriving, 3, &content).await;
    assert_eq!(after.complete(&arriving).await.unwrap(), Completed::Whole);
}

#[tokio::test]
async fn a_full_disk_has_a_name_of_its_own() {
    let (_guard, objects) = folder();
    let Objects::Folder(folder) = objects else { panic!("a folder") };
    let objects = Objects::Folder(folder.with_reserve(u64::MAX));
    let full = objects.put(ObjectKey::fresh(), Bytes::from_static(b"x")).await;
    assert!(matches!(full, Err(Error::Full { wanted_bytes: 1, free_bytes: 0 })), "{full:?}");
    let full = objects
        .claim_part(&begin(&objects, &announce(b"abc")).await, announce(b"abc").part(1).unwrap())
        .await;
    assert!(matches!(full, Err(Error::Full { wanted_bytes: 3, .. })), "{full:?}");
    assert!(objects.check().await.is_err());
    assert_eq!(objects.free_bytes().await.unwrap(), Some(0));
}
