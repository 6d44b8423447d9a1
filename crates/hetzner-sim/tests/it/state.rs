//! A stand-in that is ended and started again.

use serde_json::json;

use crate::api::{Api, exact};

#[tokio::test]
async fn a_kept_world_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    let mut options = exact();
    options.state = Some(file);
    let api = Api::with(options.clone()).await;
    let id = api.create("w").await;
    api.step(1);
    let before = api.get(&format!("/servers/{id}")).await.body;
    api.stand.stop().await;

    let api = Api::with(options).await;
    assert_eq!(api.get(&format!("/servers/{id}")).await.body, before);
    api.step(60);
    // The action that ran goes on, and ends.
    assert_eq!(api.status(id).await, "running");
    assert_eq!(api.post("/servers", crate::api::server("w")).await.code(), (409, "uniqueness_error"));
    assert_eq!(api.stand.ledger().lines.len(), 2);
    let requests = api.get("/_sim/requests").await;
    assert_eq!(requests.body["requests"][0]["path"], json!("/servers"));
}

#[tokio::test]
async fn the_same_seed_gives_the_same_world() {
    let mut ids = Vec::new();
    for _ in 0..2 {
        let api = Api::new().await;
        ids.push((api.create("w").await, api.create("x").await));
    }
    assert_eq!(ids[0], ids[1]);
}
