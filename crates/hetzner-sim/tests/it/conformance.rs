//! Clients that others have written are content: Debian's `hcloud`, and PyPI's library of that name, in the versions of
//! `conformance/requirements.txt`. `cargo xtask test` installs both; nothing is skipped without them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hetzner_sim::{Effect, Fault, Matching, Options, Pace};
use tokio::process::Command;

use crate::api::Api;

/// A client that has not ended by then hangs.
const DEADLINE: Duration = Duration::from_secs(120);
/// Boots take a second of the clients' time, which is real.
const SPEED: u32 = 20;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/conformance")
}

fn library() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/hcloud/bin/python");
    assert!(
        python.is_file(),
        "the hcloud library is missing: `cargo xtask test` installs it ({})",
        python.display()
    );
    python
}

async fn running() -> Api {
    Api::with(Options { pace: Pace::Running { speed: SPEED }, ..Options::default() }).await
}

/// How a client ended, and what it said.
async fn run(api: &Api, command: &mut Command, others: usize) -> (Option<i32>, String) {
    let work = tempfile::tempdir().unwrap();
    std::fs::write(work.path().join("empty.toml"), "").unwrap();
    command
        .env("HCLOUD_ENDPOINT", api.stand.endpoint())
        .env("HCLOUD_TOKEN", api.stand.token())
        .env("HCLOUD_CONFIG", "./empty.toml")
        .env("OTHERS", others.to_string())
        .env("NO_PROXY", "127.0.0.1")
        .current_dir(work.path())
        .kill_on_drop(true);
    let output = tokio::time::timeout(DEADLINE, command.output()).await;
    let output = output.expect("a client hangs").expect("hcloud is missing: `cargo xtask test` installs it");
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    (output.status.code(), said)
}

async fn run_command(api: &Api, others: usize) {
    let (code, said) = run(api, Command::new("bash").arg(folder().join("command.sh")), others).await;
    assert_eq!((code, said.ends_with("content\n")), (Some(0), true), "{said}");
}

async fn run_library(api: &Api, others: usize) {
    let (code, said) = run(api, Command::new(library()).arg(folder().join("library.py")), others).await;
    assert_eq!((code, said.ends_with("content\n")), (Some(0), true), "{said}");
}

/// One create with the command.
async fn create(api: &Api) -> (Option<i32>, String) {
    let words = "server create --name c --type cpx12 --image debian-13 --location fsn1";
    run(api, Command::new("hcloud").args(words.split(' ')), 0).await
}

/// The next `times` creates are answered with this.
fn fail(api: &Api, effect: Effect, times: u32) {
    let on = Matching::request("POST", "/servers");
    api.stand.inject(Fault { times: Some(times), ..Fault::once(on, effect) }).unwrap();
}

fn all_hit(api: &Api) {
    for standing in api.stand.faults() {
        assert_eq!(Some(standing.hits), standing.fault.times.map(u64::from), "{:?}", standing.fault);
    }
}

fn error(code: &str) -> Effect {
    Effect::Error { code: code.to_owned(), status: None, message: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn debians_command_and_pypis_library_are_content() {
    let api = running().await;
    run_command(&api, 0).await;
    run_library(&api, 0).await;
    assert_eq!(api.stand.servers(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_content_among_sixty_servers() {
    let api = running().await;
    for n in 0..60 {
        api.create(&format!("other{n}")).await;
    }
    run_command(&api, 60).await;
    run_library(&api, 60).await;
    assert_eq!(api.stand.servers().len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_library_tries_again_when_there_were_too_many_calls_and_the_command_does_not() {
    let api = running().await;
    fail(&api, error("rate_limit_exceeded"), 2);
    run_library(&api, 0).await;
    all_hit(&api);
    fail(&api, error("rate_limit_exceeded"), 1);
    let (code, said) = create(&api).await;
    assert_eq!((code, said.contains("rate_limit_exceeded")), (Some(1), true), "{said}");
    assert_eq!(api.stand.servers(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_try_again_after_a_conflict() {
    let api = running().await;
    fail(&api, error("conflict"), 2);
    run_library(&api, 0).await;
    fail(&api, error("conflict"), 2);
    let (code, said) = create(&api).await;
    assert_eq!(code, Some(0), "{said}");
    all_hit(&api);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_library_tries_again_after_a_bad_gateway() {
    let api = running().await;
    fail(&api, Effect::Html { status: 502 }, 1);
    run_library(&api, 0).await;
    all_hit(&api);
}
