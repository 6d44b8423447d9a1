//! Tokens, and what they open.

use hetzner_sim::Token;
use reqwest::Method;
use serde_json::json;

use crate::api::{Api, exact, server};

#[tokio::test]
async fn a_project_sees_nothing_of_another() {
    let mut options = exact();
    let token = |token: &str, project: &str, read_only| Token {
        token: token.to_owned(),
        project: project.to_owned(),
        read_only,
    };
    options.tokens.extend([token("b", "other", false), token("c", "default", true)]);
    let api = Api::with(options).await;
    let id = api.create("w").await;
    let path = format!("/servers/{id}");
    let ask = async |method: Method, path: &str, token: &str| {
        let body = (method == Method::POST).then(|| server("w"));
        api.send(method, path, body.as_ref(), token).await.unwrap()
    };
    assert_eq!(ask(Method::GET, &path, "b").await.code(), (404, "not_found"));
    assert_eq!(ask(Method::DELETE, &path, "b").await.code(), (404, "not_found"));
    assert_eq!(ask(Method::GET, "/servers", "b").await.body["servers"], json!([]));
    // A name is taken in its own project only.
    assert_eq!(ask(Method::POST, "/servers", "b").await.status, 201);
    assert_eq!(ask(Method::GET, &path, "c").await.status, 200);
    assert_eq!(ask(Method::DELETE, &path, "c").await.code(), (401, "token_readonly"));
    let nobody = ask(Method::GET, &path, "x").await;
    assert_eq!(nobody.code(), (401, "unauthorized"));
    assert_eq!(nobody.header("ratelimit-remaining"), "3599");
}

#[tokio::test]
async fn the_journal_has_every_request_and_no_secret() {
    let api = Api::new().await;
    api.create("w").await;
    api.get("/servers?label_selector=a").await;
    api.send(Method::GET, "/servers", None, "stranger").await.unwrap();
    let told = api.get("/_sim/requests").await;
    let text = told.body.to_string();
    assert!(
        !text.contains("aaaa") && !text.contains("stranger") && !text.contains("#cloud-config"),
        "{text}"
    );
    assert_eq!(told.body["count"], 3);
    assert_eq!(told.body["requests"][0]["body"]["user_data"], "<14 bytes>");
    let requests = api.stand.requests(1);
    let short: Vec<_> = requests
        .iter()
        .map(|request| (request.number, request.path.as_str(), request.status, request.project.as_deref()))
        .collect();
    assert_eq!(short, [(2, "/servers", Some(200), Some("default")), (3, "/servers", Some(401), None)]);
}
