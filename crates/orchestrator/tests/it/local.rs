//! The `local` provider with real processes.

use std::ffi::OsString;

use rgrid_core::id::WorkerId;
use rgrid_orchestrator::cloud::local::{Local, RunnerCommand};
use rgrid_orchestrator::cloud::{Cloud, Listing};

use crate::stage::until;

fn local(script: &str) -> Local {
    let args: Vec<OsString> = vec!["-c".into(), script.into()];
    Local::new(RunnerCommand { program: "/bin/sh".into(), args, environment: Vec::new() })
}

fn worker(n: u8) -> WorkerId {
    WorkerId::new(0, [n; 10])
}

async fn listing(local: &Local) -> Listing {
    local.list().await.unwrap()
}

#[tokio::test]
async fn a_runner_reads_its_token_and_its_last_line_is_kept() {
    let local = local("read token; echo first >&2; echo \"token $token\" >&2; exit 3");
    local.create(worker(1), "secret").await.unwrap();
    until("it ended", async || listing(&local).await.last_words.contains_key(&worker(1))).await;
    assert_eq!(listing(&local).await.last_words[&worker(1)], "token secret");
    assert!(listing(&local).await.present.is_empty());
}

#[tokio::test]
async fn deleting_asks_a_runner_to_end_and_asking_again_is_harmless() {
    let local = local("trap 'echo told >&2; exit 0' TERM; echo ready >&2; while :; do sleep 0.05; done");
    local.create(worker(1), "secret").await.unwrap();
    assert_eq!(listing(&local).await.present, [worker(1)]);
    local.delete(worker(2)).await.unwrap();
    until("it is gone", async || {
        local.delete(worker(1)).await.unwrap();
        listing(&local).await.present.is_empty()
    })
    .await;
    local.delete(worker(1)).await.unwrap();
}

#[tokio::test]
async fn closing_ends_every_runner() {
    let local = local("while :; do sleep 0.05; done");
    for n in 1..4 {
        local.create(worker(n), "secret").await.unwrap();
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
    assert!(local.create(worker(1), "secret").await.is_err());
    assert!(listing(&local).await.present.is_empty());
}
