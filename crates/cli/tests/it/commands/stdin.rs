//! Piped stdin.

use std::io::Write;
use std::process::Stdio;

use super::harness::{Attempt, DEADLINE, Grid, Worker};

async fn read_all(worker: &Worker, attempt: &Attempt<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let read = worker.client.read_stdin(&attempt.reference, bytes.len() as u64);
        let (more, eof) = tokio::time::timeout(DEADLINE, read).await.unwrap().unwrap();
        bytes.extend_from_slice(&more);
        if eof {
            return bytes;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn piped_bytes_reach_the_script_whole() {
    let grid = Grid::start().await;
    grid.write("s.py", "");
    let worker = grid.worker().await;
    let mut process = grid.start_command(&["run", "s.py"], false, Stdio::piped());
    let mut pipe = process.child.stdin.take().unwrap();
    let bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || pipe.write_all(&sent));
    let attempt = worker.lease().await;
    assert!(attempt.lease.stdin);
    assert!(read_all(&worker, &attempt).await == bytes);
    writer.join().unwrap().unwrap();
    attempt.exit(0).await;
    assert_eq!(process.end().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_silent_pipe_does_not_hold_up_the_end() {
    let grid = Grid::start().await;
    grid.write("s.py", "");
    let worker = grid.worker().await;
    let mut process = grid.start_command(&["run", "s.py"], false, Stdio::piped());
    let pipe = process.child.stdin.take().unwrap();
    worker.lease().await.exit(0).await;
    assert_eq!(process.end().await.code, Some(0));
    drop(pipe);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_pipe_ends_with_the_script() {
    let grid = Grid::start().await;
    grid.write("s.py", "");
    let worker = grid.worker().await;
    let mut process = grid.start_command(&["run", "s.py"], false, Stdio::piped());
    let mut pipe = process.child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || while pipe.write_all(b"y\n").is_ok() {});
    let attempt = worker.lease().await;
    let (first, _) = worker.client.read_stdin(&attempt.reference, 0).await.unwrap();
    assert!(first.starts_with(b"y\n"));
    attempt.exit(0).await;
    assert_eq!(process.end().await.code, Some(0));
    writer.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_stdin_sends_none() {
    let grid = Grid::start().await;
    grid.write("s.py", "");
    let worker = grid.worker().await;
    let process = grid.start_command(&["run", "-n", "s.py"], false, Stdio::piped());
    let attempt = worker.lease().await;
    assert!(!attempt.lease.stdin);
    attempt.exit(0).await;
    assert_eq!(process.end().await.code, Some(0));
}
