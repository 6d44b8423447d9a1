//! The document says what is served.

use rgrid_api::error::{ErrorBody, ErrorCode};
use serde_json::Value;

use crate::harness::Grid;

#[tokio::test]
async fn the_document_covers_every_path_and_every_path_is_served() {
    let grid = Grid::start().await;
    let http = reqwest::Client::new();
    let text =
        http.get(format!("{}/api/v1/openapi.json", grid.url())).send().await.unwrap().text().await.unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let mut table = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let method = method.to_uppercase();
            assert!(operation["summary"].is_string(), "{method} {path} says what it does");
            assert!(operation["responses"]["503"].is_object(), "{method} {path} may fail");
            let url = format!("{}{}", grid.url(), path.replace(['{', '}'], "x"));
            let answer =
                http.request(method.parse().unwrap(), url).send().await.unwrap().text().await.unwrap();
            if let Ok(body) = serde_json::from_str::<ErrorBody>(&answer) {
                let unserved = [ErrorCode::NotFound, ErrorCode::MethodNotAllowed];
                assert!(!unserved.contains(&body.error.code), "{method} {path}: {answer}");
            }
            table.push(format!("{method:6} {}", path.strip_prefix("/api/v1").unwrap()));
        }
    }
    table.sort_by_key(|line| line[7..].to_owned());
    insta::assert_snapshot!(table.join("\n"), @r"
    POST   /attempts/{execution}/{attempt}/blobs
    POST   /attempts/{execution}/{attempt}/blobs/commit
    POST   /attempts/{execution}/{attempt}/environment
    POST   /attempts/{execution}/{attempt}/environment/built
    POST   /attempts/{execution}/{attempt}/environment/log
    POST   /attempts/{execution}/{attempt}/finish
    POST   /attempts/{execution}/{attempt}/logs
    POST   /attempts/{execution}/{attempt}/preparing
    POST   /attempts/{execution}/{attempt}/return
    POST   /attempts/{execution}/{attempt}/started
    GET    /attempts/{execution}/{attempt}/stdin
    GET    /binaries/{sha256}
    POST   /blobs/commit
    POST   /blobs/missing
    GET    /blobs/{sha256}
    PUT    /blobs/{sha256}
    GET    /cost
    GET    /executions
    POST   /executions
    GET    /executions/{id}
    GET    /executions/{id}/artifacts
    GET    /executions/{id}/artifacts/{path}
    GET    /executions/{id}/attempts
    POST   /executions/{id}/cancel
    GET    /executions/{id}/environment/log
    POST   /executions/{id}/extend
    GET    /executions/{id}/logs
    GET    /executions/{id}/logs/stream
    POST   /executions/{id}/retry
    POST   /executions/{id}/stdin
    GET    /health
    POST   /heartbeats
    GET    /keys
    POST   /keys
    DELETE /keys/{id}
    POST   /leases
    POST   /prune
    GET    /ready
    GET    /runtimes
    GET    /whoami
    GET    /workers
    POST   /workers/join
    ");
}

#[tokio::test]
async fn every_reference_of_the_document_leads_somewhere() {
    let grid = Grid::start().await;
    let url = format!("{}/api/v1/openapi.json", grid.url());
    let text = reqwest::Client::new().get(url).send().await.unwrap().text().await.unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let mut missing = Vec::new();
    for part in text.split("\"$ref\":\"#").skip(1) {
        let pointer = part.split('"').next().unwrap();
        if document.pointer(pointer).is_none() {
            missing.push(pointer.to_owned());
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}
