//! Whatever is sent, the answer is an error in the one shape and never a fault of ours.

use rgrid_api::error::{ErrorBody, ErrorCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Grid, module, submit};

#[tokio::test]
async fn nonsense_is_refused_by_name() {
    let grid = Grid::start().await;
    let id = submit(&grid.client(), &module()).await.execution.id;
    let http = reqwest::Client::new();
    let mut wrong = Vec::new();
    let valid = serde_json::to_string(&module()).unwrap();
    let nul = valid.replace("--fast", "\\u0000");
    let unknown = valid.replacen('{', r#"{"colour":"red","#, 1);
    let huge_number = valid.replace(r#""priority":0"#, r#""priority":99999999999999999999"#);
    let timeout = valid.replace(r#""timeout_ms":null"#, r#""timeout_ms":18446744073709551615"#);
    let finish = r#"{"outcome":{"kind":"sandbox_failed","message":"\u0000"}}"#;
    use ErrorCode::{Invalid, Malformed, MethodNotAllowed, NotFound, TooLarge, Unauthorized};
    for (method, path, body, expected) in [
        ("GET", "/executions?limit=-1", "", Malformed),
        ("GET", "/executions?limit=0", "", Invalid),
        ("GET", "/executions?limit=1001", "", Invalid),
        ("GET", "/executions?limit=many", "", Malformed),
        ("GET", "/executions?cursor=nonsense", "", Invalid),
        ("GET", "/executions?cursor=%00", "", Invalid),
        ("GET", "/executions?status=resting", "", Invalid),
        ("GET", "/executions?name=%00", "", Invalid),
        ("GET", "/executions?metadata=nothing", "", Invalid),
        ("GET", "/executions?metadata=a%00=b", "", Invalid),
        ("GET", "/executions/%00", "", NotFound),
        ("GET", "/executions/%ff", "", Malformed),
        ("GET", "/executions/exec_", "", NotFound),
        ("GET", "/executions/%25", "", NotFound),
        ("GET", "/executions/';drop table executions", "", NotFound),
        ("GET", "/executions/{id}/logs?cursor=1", "", Invalid),
        ("GET", "/executions/{id}/logs?cursor=-1:0:0", "", Invalid),
        ("GET", "/executions/{id}/logs?cursor=9:0:0", "", Invalid),
        ("GET", "/executions/{id}/logs?tail=-1", "", Malformed),
        ("GET", "/executions/{id}/logs?tail=4294967295", "", Invalid),
        ("GET", "/executions/{id}/logs/stream?cursor=nonsense", "", Invalid),
        ("GET", "/executions/{id}/logs/stream?cursor=9:0:0", "", Invalid),
        ("GET", "/executions/{id}/artifacts?cursor=x", "", Invalid),
        ("GET", "/executions/{id}/artifacts?cursor=input:relative", "", Invalid),
        ("GET", "/executions/{id}/artifacts?kind=toy", "", Malformed),
        ("GET", "/executions/{id}/artifacts/..%2f..%2fetc%2fpasswd", "", NotFound),
        ("GET", "/executions/{id}/artifacts/%00", "", NotFound),
        ("POST", "/executions", "", Malformed),
        ("POST", "/executions", "{", Malformed),
        ("POST", "/executions", "[]", Malformed),
        ("POST", "/executions", "\u{1}\u{2}", Malformed),
        ("POST", "/executions", &unknown, Malformed),
        ("POST", "/executions", &huge_number, Malformed),
        ("POST", "/executions", &nul, Invalid),
        ("POST", "/executions", &timeout, Invalid),
        ("POST", "/executions/{id}/extend", r#"{"by_ms":0}"#, Invalid),
        ("POST", "/executions/{id}/extend", r#"{"by_ms":18446744073709551615}"#, Invalid),
        ("POST", "/executions/{id}/stdin", "x", Malformed),
        ("POST", "/executions/{id}/stdin?offset=-1", "x", Malformed),
        ("POST", "/blobs/missing", r#"{"blobs":[{"sha256":"x","size_bytes":1}]}"#, Invalid),
        ("POST", "/blobs/missing", &blob(u64::MAX), TooLarge),
        ("POST", "/blobs/commit", r#"{"uploads":[{"upload_id":"x","sha256":"y"}]}"#, Invalid),
        ("GET", "/blobs/nonsense", "", Malformed),
        ("POST", "/keys", r#"{"name":"","role":"admin"}"#, Invalid),
        ("POST", "/keys", r#"{"name":"\u0000","role":"admin"}"#, Invalid),
        ("POST", "/keys", r#"{"name":"x","role":"god"}"#, Malformed),
        ("POST", "/workers/join", r#"{"token":"x"}"#, Malformed),
        ("POST", "/attempts/exec_1/1/finish", finish, ErrorCode::Forbidden),
        ("GET", "/nothing", "", NotFound),
        ("GET", "/executions/", "", NotFound),
        ("DELETE", "/executions", "", MethodNotAllowed),
        ("BREW", "/executions", "", MethodNotAllowed),
    ] {
        let url = format!("{}/api/v1{}", grid.url(), path.replace("{id}", &id));
        let request = http.request(method.parse().unwrap(), url).bearer_auth(&grid.key);
        let answer = request.body(body.to_owned()).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let code = serde_json::from_str::<ErrorBody>(&text).map(|body| body.error.code);
        if code.as_ref().ok() != Some(&expected) || status != expected.status() {
            wrong.push(format!("{method} {path} {body}: {status} {text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let anybody = http.get(format!("{}/api/v1/whoami", grid.url())).header("authorization", "Basic x");
    assert_eq!(anybody.send().await.unwrap().status().as_u16(), Unauthorized.status());
}

fn blob(size_bytes: u64) -> String {
    format!(r#"{{"blobs":[{{"sha256":"{}","size_bytes":{size_bytes}}}]}}"#, "0".repeat(64))
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_before_it_is_sent() {
    let grid = Grid::start().await;
    let address = grid.url().strip_prefix("http://").unwrap();
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /api/v1/executions HTTP/1.1\r\nhost: grid\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
        grid.key,
        rgrid_core::limits::BODY_BYTES_MAX + 1
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while !String::from_utf8_lossy(&answer).contains("limit_bytes") {
        let read =
            tokio::time::timeout(crate::harness::DEADLINE, socket.read(&mut piece)).await.unwrap().unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..read]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 413"));
}
