//! The `local` provider with real processes.

use std::ffi::OsString;

use rgrid_core::id::WorkerId;
use rgrid_orchestrator::cloud::local::{Local, RunnerCommand};
use rgrid_orchestrator::cloud::{Cloud, Listing, Target, Wish};

use crate::stage::until;

fn local(script: &str) -> Local {
    let args: Vec<OsString> = vec!["-c".into(), script.into()];
    Local::new(RunnerCommand { program: "/bin/sh".into(), args, environment: Vec::new() })
}

fn worker(n: u8) -> WorkerId {
    WorkerId::new(0, [n; 10])
}

fn wish(worker: WorkerId, token: &str) -> Wish {
    Wish { worker, join_token: token.to_owned(), server: None }
}

fn target(worker: WorkerId) -> Target {
    Target { worker, server: None, name: None }
}

async fn listing(local: &Local) -> Listing {
    local.list(&[]).await.unwrap()
}

#[tokio::test]
async fn a_runner_reads_its_token_and_its_last_line_is_kept() {
    let local = local("read token; echo first >&2; echo \"token $token\" >&2; exit 3");
    local.create(&wish(worker(1), "secret")).await.unwrap();
    until("it ended", async || listing(&local).await.last_words.contains_key(&worker(1))).await;
    assert_eq!(listing(&local).await.last_words[&worker(1)], "token secret");
    assert!(listing(&local).await.present.is_empty());
}

#[tokio::test]
async fn deleting_asks_a_runner_to_end_and_asking_again_is_harmless() {
    let local = local("trap 'echo told >&2; exit 0' TERM; echo ready >&2; while :; do sleep 0.05; done");
    local.create(&wish(worker(1), "secret")).await.unwrap();
    assert_eq!(listing(&local).await.present, [worker(1)]);
    local.delete(&target(worker(2))).await.unwrap();
    until("it is gone", async || {
        local.delete(&target(worker(1))).await.unwrap();
        listing(&local).await.present.is_empty()
    })
    .await;
    local.delete(&target(worker(1))).await.unwrap();
}

#[tokio::test]
async fn closing_ends_every_runner() {
    let local = local("while :; do sleep 0.05; done");
    for n in 1..4 {
        local.create(&wish(worker(n), "secret")).await.unwrap();
    }
    local.close().await;
    assert!(listing(&local).await.present.is_empty());
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error_and_no_machine() {
    let local = Local::new(RunnerCommand {
        program: "/nowhere/rgrid".into(),
        args: Vec::new(),
        environment: Vec::new(),
    });
    assert!(local.create(&wish(worker(1), "secret")).await.is_err());
    assert!(listing(&local).await.present.is_empty());
}

/// A runner that writes a line into `started` when it starts, and says the token that it is told.
fn noting(folder: &tempfile::TempDir) -> Local {
    let started = folder.path().join("started").display().to_string();
    local(&format!("echo started >> {started}; read token || exit 0; echo \"token $token\" >&2; exit 3"))
}

fn starts(folder: &tempfile::TempDir) -> usize {
    std::fs::read_to_string(folder.path().join("started")).map_or(0, |text| text.lines().count())
}

#[tokio::test]
async fn a_runner_that_was_started_ahead_is_the_next_worker() {
    let folder = tempfile::tempdir().unwrap();
    let local = noting(&folder);
    local.start_ahead().unwrap();
    until("it runs", async || starts(&folder) == 1).await;
    assert!(listing(&local).await.present.is_empty(), "it is nobody's machine yet");
    local.create(&wish(worker(1), "secret")).await.unwrap();
    until("it ended", async || listing(&local).await.last_words.contains_key(&worker(1))).await;
    assert_eq!(listing(&local).await.last_words[&worker(1)], "token secret");
    assert_eq!(starts(&folder), 1);
    local.create(&wish(worker(2), "other")).await.unwrap();
    until("it ended", async || listing(&local).await.last_words.contains_key(&worker(2))).await;
    assert_eq!((listing(&local).await.last_words[&worker(2)].as_str(), starts(&folder)), ("token other", 2));
}

#[tokio::test]
async fn a_runner_that_died_before_it_was_needed_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let first = folder.path().join("first");
    let script =
        "test -e FIRST || { echo $$ > FIRST; exit 1; }; read token; echo \"token $token\" >&2; exit 3";
    let local = local(&script.replace("FIRST", &first.display().to_string()));
    local.start_ahead().unwrap();
    until("it died", async || {
        let pid = std::fs::read_to_string(&first).unwrap_or_default();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        stat.contains(") Z ")
    })
    .await;
    local.create(&wish(worker(1), "secret")).await.unwrap();
    until("the next ended", async || listing(&local).await.last_words.contains_key(&worker(1))).await;
    assert_eq!(listing(&local).await.last_words[&worker(1)], "token secret");
}

#[tokio::test]
async fn closing_lets_a_runner_that_nobody_needed_leave() {
    let folder = tempfile::tempdir().unwrap();
    let left = folder.path().join("left");
    let local = local(&format!("read token || echo left > {}", left.display()));
    local.start_ahead().unwrap();
    local.close().await;
    assert!(left.exists(), "it ended by itself, after its input had ended");
}
