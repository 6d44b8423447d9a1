//! The API is what its own OpenAPI document says, whatever is sent: schemathesis makes up requests from the document,
//! well-formed ones and others, as each role, and checks every answer. `RGRID_SOAK=1` makes up ten times as many.
//!
//! The tool is installed by `cargo xtask` in a folder of its own, in the versions of `schemathesis/requirements.txt`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::grid::text;
use crate::outages::sized;
use crate::server_grid::ServerGrid;

/// Made-up requests per operation and phase.
const EXAMPLES: u32 = 100;
/// Of which CI makes up a tenth.
const EXAMPLES_CI: u32 = 10;
/// The same requests each time.
const SEED: &str = "20260101";
/// No answer takes longer; a long poll of the API's own is 20 s.
const ANSWER_SECONDS: &str = "30";

fn tool() -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/schemathesis/bin/st");
    assert!(
        target.is_file(),
        "schemathesis is missing: `cargo xtask test` installs it ({})",
        target.display()
    );
    target
}

#[expect(clippy::print_stdout, reason = "the log of a soak is made of what it prints")]
fn try_as(grid: &ServerGrid, port: u16, role: &str, own: &str, worker: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/schemathesis");
    let url = format!("http://127.0.0.1:{port}");
    // A key of an admin that is not the one that is tried: the run may revoke keys.
    let helper = grid.admin(&["key", "helper"]);
    let output = Command::new(tool())
        .arg("--config-file")
        .arg(folder.join("schemathesis.toml"))
        .args(["run", &format!("{url}/api/v1/openapi.json"), "--header"])
        .arg(format!("Authorization: Bearer {own}"))
        .args(["--checks", "all", "--phases", "examples,coverage,fuzzing,stateful", "--seed", SEED])
        .args(["--max-examples", &sized(EXAMPLES_CI, EXAMPLES).to_string()])
        .args(["--continue-on-failure", "--no-color", "--generation-database", "none"])
        .args(["--request-timeout", ANSWER_SECONDS])
        .env("SCHEMATHESIS_HOOKS", folder.join("hooks.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("RGRID_URL", &url)
        .env("RGRID_ROLE", role)
        .env("RGRID_ADMIN_KEY", helper)
        .env("RGRID_WORKER_KEY", worker)
        .current_dir(grid.work())
        .output()
        .unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "as {role}:\n{said}\n{}\n{}", text(&output.stderr), grid.log());
    let summary = said.find("API Operations:").map_or(said.as_str(), |at| &said[at..]);
    println!("as {role}:\n{summary}");
}

fn credential(grid: &ServerGrid, port: u16) -> String {
    let token = grid.admin(&["join-token"]);
    let join = serde_json::json!({
        "token": token, "nonce": "nonce", "version": env!("CARGO_PKG_VERSION"), "hostname": "machine", "slots": 4096,
        "capacity": {"cpu_millis": 10_000_000, "memory_bytes": 1_u64 << 50, "disk_bytes": 1_u64 << 50},
        "sandbox": {"kind": "process", "network": "pasta", "limits": "watched", "disk": "watched"},
    });
    let (status, body) = grid.post(port, "/workers/join", &join.to_string());
    assert_eq!(status, 201, "{body}");
    let joined: serde_json::Value = serde_json::from_str(&body).unwrap();
    joined["credential"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_answers_as_its_document_says_whatever_is_sent() {
    let grid = ServerGrid::new().await;
    let port = ServerGrid::free_port();
    let _api = grid.api(port);
    let (admin, member) = (grid.admin(&["key", "admin"]), grid.admin(&["key", "member", "--role", "member"]));
    let worker = credential(&grid, port);
    let (grid, worker) = (&grid, worker.as_str());
    std::thread::scope(|scope| {
        for (role, key) in [("admin", admin.as_str()), ("member", member.as_str()), ("worker", worker)] {
            scope.spawn(move || try_as(grid, port, role, key, worker));
        }
    });
}
