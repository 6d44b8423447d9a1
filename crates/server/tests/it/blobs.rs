//! Parts, commits, ranges, and what signed addresses allow.

use std::collections::BTreeMap;

use rgrid_api::blobs::{BlobsWanted, Part};
use rgrid_api::error::ErrorCode;

use crate::harness::{Grid, client, code, commit, name, put, sha256};

#[tokio::test]
async fn an_address_that_was_changed_or_has_expired_is_forbidden() {
    let grid = Grid::start().await;
    let me = grid.client();
    let wanted = BlobsWanted { blobs: vec![name(b"bytes")] };
    let upload = me.blobs_missing(&wanted).await.unwrap().missing.remove(0);
    let address = upload.parts[0].url.clone();
    let anybody = client(grid.url(), "");
    let put_to = async |url: &str| {
        let part = Part { number: 1, url: url.to_owned(), headers: BTreeMap::new() };
        code(anybody.put_part(&part, 5, "bytes".into()).await)
    };

    let expires = address.split('&').find_map(|pair| pair.strip_prefix("expires=")).unwrap();
    assert_eq!(put_to(&address.replace("part=1", "part=2")).await, ErrorCode::Forbidden);
    assert_eq!(put_to(&address.replace(expires, "99999999999")).await, ErrorCode::Forbidden);
    assert_eq!(put_to(&address.replace(expires, "1")).await, ErrorCode::Forbidden);
    assert_eq!(put_to(&address.replace(&upload.sha256, &sha256(b"other"))).await, ErrorCode::Forbidden);
    assert_eq!(put_to(&address.replace("signature=", "signature=0")).await, ErrorCode::Forbidden);
    assert_eq!(put_to(address.split('?').next().unwrap()).await, ErrorCode::Forbidden);
    let get = anybody.get_blob(&address, 0).await.map(|_| ());
    assert_eq!(code(get), ErrorCode::Unauthorized, "an address to put is none to get");
    put(&anybody, &upload, b"bytes").await;
    assert!(me.commit_blobs(&commit(&upload)).await.unwrap().refused.is_empty());
}

#[tokio::test]
async fn a_part_of_the_wrong_length_or_with_the_wrong_bytes_makes_no_blob() {
    let grid = Grid::start().await;
    let me = grid.client();
    let wanted = BlobsWanted { blobs: vec![name(b"bytes")] };
    let upload = me.blobs_missing(&wanted).await.unwrap().missing.remove(0);
    assert_eq!(code(me.put_part(&upload.parts[0], 4, "byte".into()).await), ErrorCode::Malformed);
    put(&me, &upload, b"BYTES").await;
    let refused = me.commit_blobs(&commit(&upload)).await.unwrap().refused;
    assert_eq!(refused, std::slice::from_ref(&upload.upload_id));
    let again = me.blobs_missing(&wanted).await.unwrap().missing.remove(0);
    put(&me, &again, b"bytes").await;
    assert!(me.commit_blobs(&commit(&again)).await.unwrap().refused.is_empty());
    assert!(me.blobs_missing(&wanted).await.unwrap().missing.is_empty());
}

#[tokio::test]
async fn ranges_are_honoured_and_impossible_ones_named() {
    let grid = Grid::start().await;
    let me = grid.client();
    let upload =
        me.blobs_missing(&BlobsWanted { blobs: vec![name(b"0123456789")] }).await.unwrap().missing.remove(0);
    put(&me, &upload, b"0123456789").await;
    me.commit_blobs(&commit(&upload)).await.unwrap();
    let url = format!("{}/api/v1/blobs/{}", grid.url(), upload.sha256);
    let http = reqwest::Client::new();
    for (range, status, content_range, bytes) in [
        ("bytes=2-4", 206, "bytes 2-4/10", "234"),
        ("bytes=7-", 206, "bytes 7-9/10", "789"),
        ("bytes=-3", 206, "bytes 7-9/10", "789"),
        ("bytes=8-99", 206, "bytes 8-9/10", "89"),
        ("lines=1-2", 200, "", "0123456789"),
        ("bytes=10-", 416, "bytes */10", ""),
    ] {
        let answer = http.get(&url).bearer_auth(&grid.key).header("range", range).send().await.unwrap();
        let named =
            answer.headers().get("content-range").map_or("", |value| value.to_str().unwrap()).to_owned();
        assert_eq!((answer.status().as_u16(), named.as_str()), (status, content_range), "{range}");
        if status < 400 {
            assert_eq!(answer.headers()["content-disposition"], "attachment");
            assert_eq!(answer.text().await.unwrap(), bytes, "{range}");
        }
    }
}
