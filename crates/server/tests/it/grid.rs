//! What the grid says of itself, who is served, and how it ends.

use std::time::Duration;

use rgrid_api::error::ErrorCode;
use rgrid_api::logs::Cursor;

use crate::harness::{DEADLINE, Grid, module, submit};

#[tokio::test]
async fn health_readiness_and_metrics_need_no_key() {
    let grid = Grid::start().await;
    let anybody = crate::harness::client(grid.url(), "");
    let health = anybody.health().await.unwrap();
    assert_eq!(health.status, "ok (db: connected)");
    let ready = anybody.ready().await.unwrap();
    assert!(ready.ready, "{ready:?}");
    let http = reqwest::Client::new();
    let health = http.get(format!("{}/health", grid.url())).send().await.unwrap();
    assert_eq!(health.status(), 200);
    let metrics = http.get(format!("{}/metrics", grid.url())).send().await.unwrap().text().await.unwrap();
    assert!(
        metrics.contains(r#"rgrid_http_requests_total{route="/api/v1/health",method="GET",status="200"}"#),
        "{metrics}"
    );
    let docs = http.get(format!("{}/docs", grid.url())).send().await.unwrap();
    assert!(docs.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    assert!(docs.text().await.unwrap().contains("/api/v1/executions/{id}/logs/stream"));
}

#[tokio::test]
async fn a_database_that_is_gone_is_told_truly() {
    let grid = Grid::start().await;
    grid.store.close().await;
    let http = reqwest::Client::new();
    let health = http.get(format!("{}/health", grid.url())).send().await.unwrap();
    assert_eq!(health.status(), 503);
    assert!(health.text().await.unwrap().contains("unavailable (db: "));
    let ready = http.get(format!("{}/ready", grid.url())).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    let list =
        http.get(format!("{}/api/v1/executions", grid.url())).bearer_auth(&grid.key).send().await.unwrap();
    assert_eq!((list.status().as_u16(), list.headers()["retry-after"].to_str().unwrap()), (503, "1"));
}

#[tokio::test]
async fn another_version_is_refused_by_name_and_can_still_ask_which_one_this_is() {
    let grid = Grid::start().await;
    let http = reqwest::Client::new();
    let ask = async |path: &str, version: &str| {
        let request = http.get(format!("{}/api/v1{path}", grid.url())).bearer_auth(&grid.key);
        let answer = request.header("x-rgrid-version", version).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, body) = ask("/executions", "99.0.0").await;
    assert_eq!(status, ErrorCode::VersionRefused.status());
    assert!(body.contains("rgrid 99.0.0 is not served by this grid"), "{body}");
    assert_eq!(ask("/health", "99.0.0").await.0, 200);
    assert_eq!(ask("/executions", crate::harness::VERSION).await.0, 200);
}

#[tokio::test]
async fn long_polls_and_follows_end_with_the_server() {
    let grid = Grid::start().await;
    let me = grid.client();
    let id = submit(&me, &module()).await.execution.id;
    let follow = me.follow(&id, Cursor::default()).await.unwrap();
    let following = tokio::spawn(futures_util::StreamExt::collect::<Vec<_>>(follow));
    me.cancel(&id).await.unwrap();
    let runner = grid.runner().await;
    let poll = tokio::spawn(async move { runner.poll(1, Vec::new(), Duration::from_secs(20)).await });
    // Until the poll waits there is nothing to cut.
    let http = reqwest::Client::new();
    let waiting = async {
        while !http
            .get(format!("{}/metrics", grid.url()))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
            .contains("rgrid_polls_waiting")
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.unwrap();
    grid.replica.shutdown.cancel();
    tokio::time::timeout(DEADLINE, grid.replica.serving).await.expect("it ends").unwrap().unwrap();
    assert!(poll.await.unwrap().leases.is_empty(), "the poll was answered, not cut");
    following.await.unwrap();
}
