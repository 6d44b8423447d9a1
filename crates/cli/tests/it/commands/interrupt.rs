//! Ctrl-C and its relatives.

use nix::sys::signal::Signal;
use rgrid_api::outcome::{CancelledByBody, OutcomeBody};

use super::harness::Grid;

#[tokio::test(flavor = "multi_thread")]
async fn on_this_machines_grid_ctrl_c_ends_the_script_waits_and_brings_its_files() {
    let grid = Grid::start().await;
    grid.write("s.py", "");
    let worker = grid.worker().await;
    let mut process = grid.rgrid_embedded(&["run", "s.py"]);
    let mut attempt = worker.lease().await;
    attempt.print("started\n").await;
    process.stdout_has("started").await;
    process.signal(Signal::SIGINT);
    attempt.cancelled().await;
    attempt.print_error("KeyboardInterrupt\n").await;
    let saved = attempt.output(&grid.path("saved.txt"), b"saved").await;
    attempt.finish(OutcomeBody::Cancelled { by: CancelledByBody::User }, vec![saved]).await;
    let ended = process.end().await;
    assert_eq!(ended.code, Some(130));
    assert!(
        ended.stderr.contains("KeyboardInterrupt") && ended.stderr.contains("use -d"),
        "{}",
        ended.stderr
    );
    assert_eq!(grid.read("saved.txt"), "saved");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_server_grid_ctrl_c_lets_go_and_says_how_to_come_back() {
    let grid = Grid::start().await;
    grid.write("s.py", "");
    let worker = grid.worker().await;
    let mut process = grid.rgrid(&["run", "s.py"]);
    let mut attempt = worker.lease().await;
    attempt.print("started\n").await;
    process.stdout_has("started").await;
    process.signal(Signal::SIGINT);
    let ended = process.end().await;
    let id = &attempt.lease.execution_id;
    assert_eq!(ended.code, Some(130));
    assert!(ended.stderr.contains(&format!("rgrid logs {id} -f")), "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("rgrid cancel {id}")), "{}", ended.stderr);
    assert!(!grid.client().execution(id).await.unwrap().cancel_requested);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_ctrl_c_does_not_wait() {
    let grid = Grid::start().await;
    grid.write("s.py", "");
    let worker = grid.worker().await;
    let mut process = grid.rgrid_embedded(&["run", "s.py"]);
    let mut attempt = worker.lease().await;
    attempt.print("started\n").await;
    process.stdout_has("started").await;
    process.signal(Signal::SIGINT);
    process.stderr_has("once more").await;
    attempt.cancelled().await;
    process.signal(Signal::SIGINT);
    let ended = process.end().await;
    assert_eq!(ended.code, Some(130));
    assert!(grid.client().execution("last").await.unwrap().finished_at.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_never_ends_the_script() {
    let grid = Grid::start().await;
    grid.write("s.py", "");
    let worker = grid.worker().await;
    let mut process = grid.rgrid_embedded(&["run", "s.py"]);
    let mut attempt = worker.lease().await;
    attempt.print("started\n").await;
    process.stdout_has("started").await;
    process.signal(Signal::SIGHUP);
    assert_eq!(process.end().await.code, Some(130));
    assert!(!grid.client().execution("last").await.unwrap().cancel_requested);
}
