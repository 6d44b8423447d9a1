//! A grid behind a proxy of its operator's, as nginx stands in front of many: what that refuses is told as its doing, at
//! once, and never as the grid's.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use crate::grid::text;
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
