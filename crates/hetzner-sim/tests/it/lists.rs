//! Lists: pages, filters, orders; and the headers that every answer has.

use serde_json::{Value, json};

use crate::api::{Api, exact, server_with};

fn names(body: &Value) -> Vec<&str> {
    body["servers"].as_array().unwrap().iter().map(|server| server["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn sixty_servers_are_two_pages_of_the_largest_kind() {
    let api = Api::new().await;
    for n in 0..60 {
        api.create(&format!("w{n:02}")).await;
    }
    let first = api.get("/servers?per_page=100&sort=name:desc").await;
    assert_eq!((names(&first.body).len(), names(&first.body)[0]), (50, "w59"));
    let pagination = &first.body["meta"]["pagination"];
    assert_eq!(
        (&pagination["per_page"], &pagination["next_page"], &pagination["previous_page"]),
        (&json!(50), &json!(2), &Value::Null)
    );
    assert!(first.header("link").contains("/v1/servers?sort=name%3Adesc&page=2&per_page=50>; rel=next"));
    let second = api.get("/servers?per_page=50&page=2&sort=name:desc").await;
    assert_eq!(names(&second.body), ["w09", "w08", "w07", "w06", "w05", "w04", "w03", "w02", "w01", "w00"]);
    assert_eq!(names(&api.get("/servers?page=7").await.body), [""; 0]);
}

#[tokio::test]
async fn servers_are_found_by_name_status_and_labels() {
    let api = Api::new().await;
    let on = api.running("on").await;
    api.post("/servers", server_with("new", json!({"labels": {"team": "a"}}))).await;
    let found = async |query: &str| {
        let told = api.get(&format!("/servers?{query}")).await;
        names(&told.body).join(",")
    };
    assert_eq!(found("name=on").await, "on");
    assert_eq!(found("name=o").await, "");
    assert_eq!(found("status=running").await, "on");
    assert_eq!(found("status=running&status=initializing").await, "on,new");
    assert_eq!(found("label_selector=team").await, "new");
    assert_eq!(found("label_selector=!team,rgrid/role+in+(worker)").await, "on");
    assert_eq!(api.get("/servers?label_selector=a%3D(").await.code(), (422, "invalid_input"));
    api.put(&format!("/servers/{on}"), json!({"labels": {"team": "b"}})).await;
    assert_eq!(found("label_selector=team+notin+(a),team").await, "on");
}

#[tokio::test]
async fn actions_are_asked_for_by_id() {
    let api = Api::new().await;
    assert_eq!(api.get("/actions").await.code(), (410, "deprecated_api_endpoint"));
    let id = api.create("w").await;
    let own = api.get(&format!("/servers/{id}/actions")).await;
    let ids: Vec<i64> =
        own.body["actions"].as_array().unwrap().iter().map(|action| action["id"].as_i64().unwrap()).collect();
    // What is not known is left out in silence.
    let told = api.get(&format!("/actions?id={}&id=7&id={}", ids[0], ids[1])).await;
    assert_eq!(told.body["actions"].as_array().unwrap().len(), 2);
    assert_eq!(api.get("/actions/7").await.code(), (404, "not_found"));
}

#[tokio::test]
async fn every_answer_says_what_is_left_of_the_budget() {
    let mut options = exact();
    options.limits.calls_per_hour = 4;
    let api = Api::with(options).await;
    let mut left = Vec::new();
    for path in ["/servers", "/servers/1", "/nowhere", "/datacenters"] {
        let told = api.get(path).await;
        assert_eq!(
            (told.header("ratelimit-limit"), told.header("date")),
            ("4", "Tue, 10 Nov 2026 12:00:00 GMT")
        );
        assert!(told.header("x-correlation-id").len() == 32);
        left.push(told.header("ratelimit-remaining").to_owned());
    }
    assert_eq!(left, ["3", "2", "1", "0"]);
    let told = api.get("/servers").await;
    assert_eq!(told.code(), (429, "rate_limit_exceeded"));
    assert_eq!(told.body["error"]["message"], "Limit of '4' requests per hour for token 'aaaa...' reached.");
    let start = api.stand.now().timestamp();
    assert_eq!(told.header("ratelimit-reset"), (start + 4).to_string());
    api.step(1);
    assert_eq!(api.get("/servers").await.status, 200);
    assert_eq!(api.get("/servers").await.status, 429);
}

#[tokio::test]
async fn what_is_not_there_is_said_in_json() {
    let api = Api::new().await;
    assert_eq!(api.get("/planets").await.code(), (404, "not_found"));
    assert_eq!(api.get("/servers/x").await.code(), (404, "not_found"));
    assert_eq!(api.delete("/servers").await.code(), (405, "method_not_allowed"));
    assert_eq!(api.post("/pricing", json!({})).await.code(), (405, "method_not_allowed"));
}
