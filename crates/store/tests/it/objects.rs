//! The object store: what every place for objects must do (`conforms`), and what is the folder's alone.

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use rgrid_core::submission::Sha256;
use rgrid_store::objects::{Announced, Completed, Error, ObjectKey, Objects, ObjectsConfig};
use sha2::Digest;

const PART_BYTES: u64 = 100_000;

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
    stream::iter(bytes.chunks(7_777).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect::<Vec<_>>())
}

async fn put_part(objects: &Objects, key: ObjectKey, announced: &Announced, number: u32, content: &[u8]) {
    let part = announced.part(number).unwrap();
    let bytes = &content[part.range.start as usize..part.range.end as usize];
    let claim = objects.claim_part(key, part).await.unwrap();
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

/// What callers build on, for any place where objects lie.
async fn conforms(objects: &Objects) {
    objects.check().await.unwrap();
    small_objects_are_put_whole(objects).await;
    parts_come_in_any_order_and_at_once(objects).await;
    only_what_was_announced_completes(objects).await;
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
    let content = content(1, 5 * PART_BYTES + 1);
    let announced = announce(&content);
    assert_eq!(announced.parts(), 6);
    for order in [[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1], [2, 4, 6, 1, 3, 5]] {
        let key = ObjectKey::fresh();
        for number in order {
            put_part(objects, key, &announced, number, &content).await;
        }
        assert_eq!(objects.complete(key, &announced).await.unwrap(), Completed::Whole, "{order:?}");
        assert_eq!(read(objects, key).await, content);
    }
    let key = ObjectKey::fresh();
    let parts = (1..=6).map(|number| put_part(objects, key, &announced, number, &content));
    futures_util::future::join_all(parts).await;
    assert!(objects.get(key, None).await.is_err(), "it is not there before it is complete");
    assert_eq!(objects.complete(key, &announced).await.unwrap(), Completed::Whole);
    assert_eq!(
        objects.complete(key, &announced).await.unwrap(),
        Completed::Whole,
        "completing may be repeated"
    );
    assert_eq!(read(objects, key).await, content);
}

async fn only_what_was_announced_completes(objects: &Objects) {
    let content = content(2, 3 * PART_BYTES);
    let announced = announce(&content);
    let mut damaged = content.clone();
    damaged[PART_BYTES as usize + 5] ^= 1;
    let key = ObjectKey::fresh();
    for number in 1..=3 {
        put_part(objects, key, &announced, number, &damaged).await;
    }
    assert_eq!(objects.complete(key, &announced).await.unwrap(), Completed::Damaged);
    assert!(matches!(objects.get(key, None).await, Err(Error::Missing(_))));

    let short = ObjectKey::fresh();
    put_part(objects, short, &announced, 1, &content).await;
    assert_eq!(objects.complete(short, &announced).await.unwrap(), Completed::Damaged);

    let part = announced.part(1).unwrap();
    let claim = objects.claim_part(ObjectKey::fresh(), part.clone()).await.unwrap();
    let few = claim.write(pieces(&content[..10])).await;
    assert!(matches!(few, Err(Error::WrongLength { expected: PART_BYTES, received: 10 })), "{few:?}");
    let claim = objects.claim_part(ObjectKey::fresh(), part).await.unwrap();
    let many = claim.write(pieces(&content)).await;
    assert!(matches!(many, Err(Error::WrongLength { expected: PART_BYTES, .. })), "{many:?}");
    assert!(matches!(objects.complete(ObjectKey::fresh(), &announced).await, Err(Error::Missing(_))));
}

async fn an_empty_object_has_no_parts(objects: &Objects) {
    let announced = announce(b"");
    assert_eq!((announced.parts(), announced.part(1)), (0, None));
    let key = ObjectKey::fresh();
    assert_eq!(objects.complete(key, &announced).await.unwrap(), Completed::Whole);
    assert_eq!(read(objects, key).await, b"");
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
    let arriving = ObjectKey::fresh();
    put_part(objects, arriving, &announce(b"abc"), 1, b"abc").await;
    expected.push(arriving);
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
async fn one_writer_at_a_time_has_a_part() {
    let (_guard, objects) = folder();
    let content = content(4, 2 * PART_BYTES);
    let announced = announce(&content);
    let key = ObjectKey::fresh();
    let first = objects.claim_part(key, announced.part(1).unwrap()).await.unwrap();
    // Another part is free, the same one is not, and the whole cannot be completed.
    let other = objects.claim_part(key, announced.part(2).unwrap()).await.unwrap();
    tokio::pin! {
        let same = objects.claim_part(key, announced.part(1).unwrap());
        let whole = objects.complete(key, &announced);
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
    let key = ObjectKey::fresh();
    put_part(&objects, key, &announced, 1, &content).await;
    assert_eq!(objects.complete(key, &announced).await.unwrap(), Completed::Whole);
    let late = objects.claim_part(key, announced.part(1).unwrap()).await;
    assert!(matches!(late, Err(Error::Busy)), "{late:?}");
    let incoming = guard.path().join("store/incoming");
    assert_eq!(std::fs::read_dir(&incoming).unwrap().count(), 0);
    // Nor does what lies there by accident.
    std::fs::write(incoming.join(key.to_string()), b"late").unwrap();
    assert_eq!(objects.complete(key, &announced).await.unwrap(), Completed::Whole);
    assert_eq!(read(&objects, key).await, content);
}

#[tokio::test]
async fn what_this_process_did_not_hash_is_hashed_at_the_end() {
    let guard = tempfile::tempdir().unwrap();
    let config = ObjectsConfig::Folder(guard.path().to_owned());
    let content = content(5, 4 * PART_BYTES);
    let announced = announce(&content);
    let key = ObjectKey::fresh();
    let before = Objects::open(&config).unwrap();
    for number in [1, 2, 4] {
        put_part(&before, key, &announced, number, &content).await;
    }
    drop(before);
    let after = Objects::open(&config).unwrap();
    put_part(&after, key, &announced, 3, &content).await;
    assert_eq!(after.complete(key, &announced).await.unwrap(), Completed::Whole);
}

#[tokio::test]
async fn a_full_disk_has_a_name_of_its_own() {
    let (_guard, objects) = folder();
    let Objects::Folder(folder) = objects;
    let objects = Objects::Folder(folder.with_reserve(u64::MAX));
    let full = objects.put(ObjectKey::fresh(), Bytes::from_static(b"x")).await;
    assert!(matches!(full, Err(Error::Full { wanted_bytes: 1, free_bytes: 0 })), "{full:?}");
    let full = objects.claim_part(ObjectKey::fresh(), announce(b"abc").part(1).unwrap()).await;
    assert!(matches!(full, Err(Error::Full { wanted_bytes: 3, .. })), "{full:?}");
    assert!(objects.check().await.is_err());
    assert_eq!(objects.free_bytes().await.unwrap(), Some(0));
}
