//! A registry of container images in the world of the tests' engine, which takes one on the loopback without TLS: the tests'
//! own image under any tag, each with a variable of that name, so that each is another image of the same layer.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use crate::engine::image;

/// What is served, by digest.
type Blobs = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// Its address, as the first part of an image's name. To be called in the engine's world.
pub(crate) fn registry() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let layer = name(&Sha256::digest(std::fs::read(image()).unwrap()));
    let blobs = Blobs::default();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (layer, blobs) = (layer.clone(), Arc::clone(&blobs));
            std::thread::spawn(move || {
                let _ = answer(stream, &layer, &blobs);
            });
        }
    });
    address
}

fn name(hash: &[u8]) -> String {
    hash.iter().fold("sha256:".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

fn keep(blobs: &Blobs, bytes: Vec<u8>) -> (String, usize) {
    let (digest, length) = (name(&Sha256::digest(&bytes)), bytes.len());
    blobs.lock().unwrap().insert(digest.clone(), bytes);
    (digest, length)
}

/// The manifest of a tag; what it names is kept.
fn manifest(tag: &str, layer: &str, blobs: &Blobs) -> String {
    let length = image().metadata().unwrap().len();
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
        "config": { "Env": [format!("TAG={tag}"), "PATH=/usr/local/bin:/usr/bin:/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [layer] },
    });
    let (config, config_length) = keep(blobs, config.to_string().into_bytes());
    let kind = |what: &str| format!("application/vnd.docker.{what}");
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": kind("distribution.manifest.v2+json"),
        "config": { "mediaType": kind("container.image.v1+json"), "size": config_length, "digest": config },
        "layers": [{ "mediaType": kind("image.rootfs.diff.tar.gzip"), "size": length, "digest": layer }],
    });
    keep(blobs, manifest.to_string().into_bytes()).0
}

fn answer(stream: TcpStream, layer: &str, blobs: &Blobs) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let asked = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = asked.split(' ').nth(1).unwrap_or_default().to_owned();
    let last = path.rsplit('/').next().unwrap_or_default();
    let is_manifest = path.contains("/manifests/");
    let digest = match is_manifest && !last.starts_with("sha256:") {
        true => manifest(last, layer, blobs),
        false => last.to_owned(),
    };
    let kind = match is_manifest {
        true => "application/vnd.docker.distribution.manifest.v2+json",
        false => "application/octet-stream",
    };
    let body = blobs.lock().unwrap().get(&digest).cloned();
    let mut stream = stream;
    let mut say = |status: &str, length: u64| {
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\
             docker-content-digest: {digest}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        stream.try_clone()
    };
    match body {
        Some(body) => {
            let mut stream = say("200 OK", body.len() as u64)?;
            if !asked.starts_with("HEAD") {
                stream.write_all(&body)?;
            }
        }
        None if digest == layer => {
            let mut file = File::open(image())?;
            let mut stream = say("200 OK", file.metadata()?.len())?;
            std::io::copy(&mut file, &mut stream)?;
        }
        None if path == "/v2/" => drop(say("200 OK", 0)?),
        None => drop(say("404 Not Found", 0)?),
    }
    Ok(())
}
