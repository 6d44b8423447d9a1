//! Which grid, and what it is asked beside runs.

use super::harness::Grid;

#[tokio::test(flavor = "multi_thread")]
async fn init_checks_the_key_before_it_writes_and_the_profile_works_then() {
    let grid = Grid::start().await;
    let credentials = grid.path("home/.rgrid/credentials");
    grid.write("key", "rg_wrong");
    let wrong =
        grid.rgrid(&["init", "--url", &grid.url, "--key-file", "key", "--profile", "work"]).end().await;
    assert_eq!(wrong.code, Some(126));
    assert!(wrong.stderr.contains("does not know this key"), "{}", wrong.stderr);
    assert!(!credentials.exists());
    grid.write("key", &grid.key);
    let right =
        grid.rgrid(&["init", "--url", &grid.url, "--key-file", "key", "--profile", "work"]).end().await;
    assert_eq!(right.code, Some(0), "{}", right.stderr);
    let who = grid.rgrid(&["whoami", "--profile", "work", "--json"]).end().await;
    assert!(who.stdout.contains("\"account\""), "{}", who.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grid_that_is_down_is_named_with_what_to_do() {
    let mut grid = Grid::start().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    grid.url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let down = grid.rgrid(&["list"]).end().await;
    assert_eq!(down.code, Some(125));
    assert!(down.stderr.contains("cannot be reached: nothing listens there"), "{}", down.stderr);
    assert!(down.stderr.contains("next:") && !down.stderr.contains("panicked"), "{}", down.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_listed_and_revoked() {
    let grid = Grid::start().await;
    let made = grid.rgrid(&["keys", "create", "laptop"]).end().await;
    assert!(made.stdout.starts_with("rg_"), "{}", made.stderr);
    let list = grid.rgrid(&["keys", "--json"]).end().await;
    let keys: serde_json::Value = serde_json::from_str(&list.stdout).unwrap();
    let laptop = keys["keys"].as_array().unwrap().iter().find(|key| key["name"] == "laptop").unwrap();
    let revoked = grid.rgrid(&["keys", "revoke", laptop["id"].as_str().unwrap()]).end().await;
    assert_eq!(revoked.code, Some(0), "{}", revoked.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_execution_is_explained_and_can_be_cancelled() {
    let grid = Grid::start().await;
    grid.write("s.py", "");
    assert_eq!(grid.rgrid(&["run", "-d", "s.py"]).end().await.code, Some(0));
    let status = grid.rgrid(&["status", "last"]).end().await;
    assert!(status.stdout.contains("queued") && status.stdout.contains("why"), "{}", status.stdout);
    let cancelled = grid.rgrid(&["cancel", "last"]).end().await;
    assert!(cancelled.stdout.contains("is cancelled"), "{}", cancelled.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_billed_cost_nothing_and_is_said_so() {
    let grid = Grid::start().await;
    let cost = grid.rgrid(&["cost", "--since", "2026-11-01"]).end().await;
    let said = "nothing ran on a server that is paid by the hour since 2026-11-01 00:00 UTC\n\
        the grid's bill: EUR 0.00, of which EUR 0.00 for executions and EUR 0.00 idle\n";
    assert_eq!((cost.code, cost.stdout.as_str()), (Some(0), said), "{}", cost.stderr);
    let wrong = grid.rgrid(&["cost", "--since", "soon"]).end().await;
    assert_eq!(wrong.code, Some(126));
    assert!(wrong.stderr.contains("is no date such as 2026-11-01"), "{}", wrong.stderr);
}
