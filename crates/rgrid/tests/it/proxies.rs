//! A grid behind a proxy of its operator's, as nginx stands in front of many: with TLS all works as without, and what a proxy
//! refuses is told as its doing, at once, and never as the grid's.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use rgrid_store::objects::ObjectsConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

use crate::grid::text;
use crate::s3_server::S3Server;
use crate::server_grid::ServerGrid;

/// What a body may have, as nginx has it unless it is told otherwise.
const BODY_BYTES_MAX: u64 = 1 << 20;

/// A proxy in front of the API at `port`, which serves one request a connection and answers a larger one as nginx does. Answers
/// its own port.
fn narrow_proxy(port: u16) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let own = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // Who hangs up is none of its concern.
            thread::spawn(move || pass(client, port));
        }
    });
    own
}

fn pass(mut client: TcpStream, port: u16) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let lines = String::from_utf8_lossy(&head).to_lowercase();
    let length = lines.lines().find_map(|line| line.strip_prefix("content-length: "));
    if length.is_some_and(|length| length.parse::<u64>().unwrap() > BODY_BYTES_MAX) {
        client.write_all(
            b"HTTP/1.1 413 Request Entity Too Large\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\
              connection: close\r\n\r\n<html>",
        )?;
        client.shutdown(Shutdown::Write)?;
        // What is on its way is taken, so that the answer is not lost with it.
        return std::io::copy(&mut client, &mut std::io::sink()).map(drop);
    }
    let mut grid = TcpStream::connect(("127.0.0.1", port))?;
    head.truncate(head.len() - 2);
    grid.write_all(&head)?;
    grid.write_all(b"connection: close\r\n\r\n")?;
    let (mut from, mut to) = (client.try_clone()?, grid.try_clone()?);
    thread::spawn(move || std::io::copy(&mut from, &mut to));
    std::io::copy(&mut grid, &mut client)?;
    client.shutdown(Shutdown::Both)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_proxy_lets_not_through_is_told_as_its_doing_at_once() {
    let grid = ServerGrid::new().await;
    let port = ServerGrid::free_port();
    let _api = grid.api(port);
    let narrow = narrow_proxy(port);
    // Its worker is behind the same proxy.
    let _runner = grid.runner(narrow, 1);
    let url = format!("http://127.0.0.1:{narrow}");
    grid.script("small.py", "import sys\nprint(len(open(sys.argv[1]).read()))\n");
    std::fs::write(grid.work().join("small.txt"), "x".repeat(1000)).unwrap();
    assert_eq!(grid.success(narrow, &["run", "small.py", "small.txt"]), "1000\n");

    std::fs::write(grid.work().join("large.txt"), "x".repeat(2 << 20)).unwrap();
    let refused = grid.rgrid(narrow, &["run", "small.py", "large.txt"]).output().unwrap();
    assert_eq!(
        text(&refused.stderr),
        format!(
            "rgrid: what stands in front of {url} lets no request of this size through (status 413)\n  \
             next: whoever runs it sets no limit there, for the grid has its own: in nginx `client_max_body_size 0;`\n"
        )
    );
    assert_eq!(refused.status.code(), Some(125));

    grid.script("writes.py", "open('out.txt', 'w').write('y' * (2 << 20))\n");
    let lost = grid.rgrid(narrow, &["run", "writes.py"]).output().unwrap();
    let said = text(&lost.stderr);
    assert!(said.contains("outputs") && said.contains("client_max_body_size"), "{said}");
    assert_eq!(lost.status.code(), Some(125), "{said}");
}

/// `cert.pem` for this machine with its `key.pem`, which nobody trusts that is not told to.
fn certificate(name: &str) -> TempDir {
    let folder = tempfile::Builder::new().prefix("rgrid-it-tls-").tempdir().unwrap();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-subj", &format!("/CN={name}"), "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(folder.path())
        .output()
        .expect("the test needs openssl, which makes a certificate");
    assert!(made.status.success(), "{}", text(&made.stderr));
    folder
}

/// TLS in front of the server at `port`; answers its own port.
async fn tls_in_front_of(port: u16, certificate: &Path) -> u16 {
    let chain = vec![CertificateDer::from_pem_file(certificate.join("cert.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(certificate.join("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut client = acceptor.accept(stream).await?;
                let mut server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    own
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_tls_all_works_with_a_certificate_of_the_operators_own() {
    let certificate = certificate("ours");
    let server = S3Server::start().await;
    let ObjectsConfig::S3(config) = server.config(None) else { panic!("S3") };
    let store = config.endpoint.rsplit(':').next().unwrap().parse().unwrap();
    let store = format!("localhost:{}", tls_in_front_of(store, certificate.path()).await);
    for public in [None, Some(("MINIO_PUBLIC_ENDPOINT", format!("https://{store}")))] {
        let way = if public.is_some() { "past the API" } else { "through the API" };
        let mut objects = vec![
            ("MINIO_ENDPOINT", store.clone()),
            ("MINIO_USE_SSL", "True".to_owned()),
            ("MINIO_ACCESS_KEY", config.access_key.clone()),
            ("MINIO_SECRET_KEY", config.secret_key.clone()),
            ("MINIO_BUCKET_NAME", config.bucket.clone()),
        ];
        objects.extend(public);
        let mut grid = ServerGrid::on(objects).await;
        let port = ServerGrid::free_port();
        let tls = tls_in_front_of(port, certificate.path()).await;
        grid.certificate = Some(certificate.path().join("cert.pem"));
        let _api = grid.api(port);
        let (ready, said) = grid.page(port, "/ready");
        assert_eq!(ready, 200, "{way}: {said}");
        let _runner = grid.runner(tls, 1);
        let big: Vec<u8> = (0..(16 << 20) + 12_345).map(|at| (at / 1000) as u8).collect();
        std::fs::write(grid.work().join("big.bin"), &big).unwrap();
        grid.script(
            "turn.py",
            "import sys\nbig = open(sys.argv[1], 'rb').read()\nopen('turned.bin', 'wb').write(big[::-1])\nprint(len(big))\n",
        );
        assert_eq!(grid.success(tls, &["run", "turn.py", "big.bin"]), format!("{}\n", big.len()), "{way}");
        let turned = std::fs::read(grid.work().join("turned.bin")).unwrap();
        assert!(turned.iter().rev().eq(&big), "{way}: the output is not what the script wrote");
    }
    let mut stranger = ServerGrid::new().await;
    let port = ServerGrid::free_port();
    let _api = stranger.api(port);
    let tls = tls_in_front_of(port, certificate.path()).await;
    let another = self::certificate("another");
    stranger.certificate = Some(another.path().join("cert.pem"));
    stranger.script("turn.py", "print('turned')\n");
    for words in [&["whoami"][..], &["run", "turn.py"]] {
        let refused = stranger.rgrid(tls, words).output().unwrap();
        // At once: nothing is said of trying again.
        assert_eq!(
            text(&refused.stderr),
            format!(
                "rgrid: no authority that is trusted here vouches for the certificate of https://localhost:{tls}\n  \
                 next: add that authority to the system's certificates, or name a file with it: SSL_CERT_FILE=ca.pem\n"
            )
        );
    }
}
