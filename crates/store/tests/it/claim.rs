//! The claim: never twice, never beyond a limit, fair, and without a look at every row.

use std::collections::BTreeSet;
use std::time::Duration;

use rgrid_core::execution::Status;
use rgrid_core::id::{AccountId, BatchId};
use rgrid_core::outcome::{CancelledBy, Outcome};
use rgrid_core::runtime::Runtime;
use rgrid_core::submission::Submission;
use rgrid_store::claim::{Claimed, Poll};
use rgrid_store::workers::JoinRow;

use crate::crew::{WHOLE, auth, changed, finish, join, poll};
use crate::stage::{Stage, submission};

async fn batch(stage: &Stage, account: AccountId, seed: u8, parallel: u32) -> BatchId {
    let id = BatchId::new(1, [seed; 10]);
    stage
        .execute(format!(
            "insert into batches (id, account_id, parallel) values ('{id}', '{account}', {parallel})"
        ))
        .await;
    id
}

async fn submit(stage: &Stage, sent: &Submission) -> rgrid_core::id::ExecutionId {
    stage.store.create_execution(stage.account, sent, false, None).await.unwrap().execution.id
}

fn ids(claimed: &[Claimed]) -> BTreeSet<String> {
    claimed.iter().map(|claimed| claimed.attempt.execution_id.to_string()).collect()
}

#[tokio::test]
async fn what_is_claimed_comes_with_all_that_was_submitted() {
    let stage = Stage::new().await;
    let worker = stage.joined().await;
    let sent = changed(|draft| draft.environment = [("K".to_owned(), "v".to_owned())].into());
    let id = submit(&stage, &sent).await;
    let claimed = stage.claim_one(worker).await;
    assert_eq!(claimed.submission, sent);
    assert_eq!(claimed.account_id, stage.account);
    assert_eq!((claimed.attempt.execution_id, claimed.attempt.number), (id, 1));
    assert_eq!((claimed.directive.version, claimed.directive.timeout), (1, sent.timeout));
    let row = stage.store.execution(stage.account, id).await.unwrap();
    assert_eq!((row.status, row.attempt, row.worker), (Status::Running, 1, Some(worker)));
    assert_eq!(row.started_at, Some(claimed.attempt.claimed_at));
    assert_eq!(stage.store.claim(&[poll(worker, 1)]).await.unwrap(), []);
}

#[tokio::test]
async fn an_image_is_only_handed_to_a_worker_that_can_run_it() {
    let stage = Stage::new().await;
    let plain = stage.joined().await;
    let image: Runtime = "image:python:3.12-slim".parse().unwrap();
    let id = submit(&stage, &changed(|draft| draft.runtime = image.clone())).await;
    assert_eq!(stage.store.claim(&[poll(plain, 1)]).await.unwrap(), []);
    let token = stage.store.create_join_token(None, Duration::from_secs(60)).await.unwrap();
    let row = JoinRow { docker: true, ..join(&token, "other") };
    let docker = stage.store.join(&row).await.unwrap().0;
    let claimed = stage.store.claim(&[poll(plain, 1), poll(docker, 1)]).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!((claimed[0].worker_id, claimed[0].attempt.execution_id), (docker, id));
    assert_eq!(claimed[0].submission.runtime, image);
    // What any worker can run is for that one too.
    submit(&stage, &changed(|_| {})).await;
    assert_eq!(stage.claim_one(docker).await.worker_id, docker);
}

#[tokio::test]
async fn claimers_at_once_never_hand_out_one_execution_twice() {
    let stage = Stage::new().await;
    stage.queue(stage.account, None, 200).await;
    let mut workers = Vec::new();
    for _ in 0..8 {
        workers.push(stage.joined().await);
    }
    let claims = workers.iter().map(|worker| {
        let (store, worker) = (stage.store.clone(), *worker);
        tokio::spawn(async move {
            let mut all = Vec::new();
            loop {
                let claimed = store.claim(&[poll(worker, 7)]).await.unwrap();
                if claimed.is_empty() {
                    return all;
                }
                all.extend(claimed);
            }
        })
    });
    let mut all = Vec::new();
    for claim in claims.collect::<Vec<_>>() {
        all.extend(claim.await.unwrap());
    }
    assert_eq!((all.len(), ids(&all).len()), (200, 200));
    assert_eq!(stage.count("select count(*) from queue").await, 0);
    assert_eq!(stage.count("select count(*) from attempts where state = 'running'").await, 200);
}

#[tokio::test]
async fn claimers_at_once_never_pass_the_limit_of_a_batch() {
    let stage = Stage::new().await;
    let batch = batch(&stage, stage.account, 1, 10).await;
    stage.queue(stage.account, Some(batch), 100).await;
    let mut workers = Vec::new();
    for _ in 0..8 {
        workers.push(stage.joined().await);
    }
    let claims: Vec<_> = workers
        .iter()
        .map(|worker| {
            let (store, worker) = (stage.store.clone(), *worker);
            tokio::spawn(async move { store.claim(&[poll(worker, 4)]).await.unwrap() })
        })
        .collect();
    let mut all = Vec::new();
    for claim in claims {
        all.extend(claim.await.unwrap());
    }
    assert_eq!(all.len(), 10);
    stage.store.finish(&auth(&all[0]), &finish(Outcome::Exited { code: 0 }), [0; 32]).await.unwrap();
    assert_eq!(stage.store.claim(&[poll(workers[0], 9)]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_runs_counts_in_the_next_generation_too_and_what_ended_does_not() {
    let stage = Stage::new().await;
    let batch = batch(&stage, stage.account, 1, 3).await;
    stage.queue(stage.account, Some(batch), 20).await;
    let (worker, other) = (stage.joined().await, stage.joined().await);
    let claimed = stage.store.claim(&[poll(worker, 9)]).await.unwrap();
    assert_eq!(claimed.len(), 3);
    stage.store.finish(&auth(&claimed[0]), &finish(Outcome::Exited { code: 0 }), [0; 32]).await.unwrap();
    assert_eq!(stage.store.renew_running().await.unwrap(), 2);
    assert_eq!(stage.store.claim(&[poll(other, 9)]).await.unwrap().len(), 1);
    assert_eq!(stage.store.renew_running().await.unwrap(), 3);
    // Neither the batch's limit nor what a worker holds is forgotten.
    assert_eq!(stage.store.claim(&[poll(other, 9)]).await.unwrap().len(), 0);
    let running: Vec<u32> =
        stage.store.workers().await.unwrap().iter().map(|worker| worker.running).collect();
    assert_eq!(running, [2, 1]);
}

#[tokio::test]
async fn what_waits_is_found_in_the_next_generation_too_and_none_begins_while_somebody_queues() {
    let stage = Stage::new().await;
    let batch = batch(&stage, stage.account, 1, 3).await;
    stage.queue(stage.account, Some(batch), 2).await;
    stage.queue(stage.account, None, 1).await;
    assert_eq!(stage.store.renew_waiting().await.unwrap(), 2);
    let mut queueing = stage.sql().await;
    sqlx::raw_sql("begin; update lanes set head_age = head_age").execute(&mut queueing).await.unwrap();
    stage.store.renew_waiting().await.expect_err("it gives way");
    sqlx::raw_sql("commit").execute(&mut queueing).await.unwrap();
    assert_eq!(stage.store.renew_waiting().await.unwrap(), 2);
    let worker = stage.joined().await;
    assert_eq!(stage.store.claim(&[poll(worker, 9)]).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_capped_batch_ahead_does_not_hold_up_others() {
    let stage = Stage::new().await;
    let capped = batch(&stage, stage.account, 1, 1).await;
    stage.queue(stage.account, Some(capped), 50).await;
    let worker = stage.joined().await;
    stage.claim_one(worker).await;
    let late = submit(&stage, &submission(&[], false)).await;
    assert_eq!(stage.claim_one(worker).await.attempt.execution_id, late);
}

#[tokio::test]
async fn the_account_with_the_fewest_running_goes_first() {
    let stage = Stage::new().await;
    stage.queue(stage.account, None, 20).await;
    let other = stage.store.create_account("other").await.unwrap().id;
    stage.queue(other, None, 3).await;
    let worker = stage.joined().await;
    assert_eq!(stage.store.claim(&[poll(worker, 2)]).await.unwrap().len(), 2);
    let accounts: Vec<AccountId> = stage
        .store
        .claim(&[poll(worker, 4)])
        .await
        .unwrap()
        .iter()
        .map(|claimed| claimed.account_id)
        .collect();
    assert_eq!(accounts.iter().filter(|account| **account == other).count(), 2);
}

#[tokio::test]
async fn higher_priority_goes_first_then_the_older() {
    let stage = Stage::new().await;
    let worker = stage.joined().await;
    let low = submit(&stage, &changed(|draft| draft.priority = -5)).await;
    let first = submit(&stage, &submission(&[], false)).await;
    let second = submit(&stage, &submission(&[], false)).await;
    let high = submit(&stage, &changed(|draft| draft.priority = 5)).await;
    for expected in [high, first, second, low] {
        assert_eq!(stage.claim_one(worker).await.attempt.execution_id, expected);
    }
}

#[tokio::test]
async fn what_does_not_fit_lets_others_pass() {
    let stage = Stage::new().await;
    let worker = stage.joined().await;
    let large = submit(&stage, &changed(|draft| draft.wanted.cpu_millis = Some(4000))).await;
    let small = submit(&stage, &changed(|draft| draft.wanted.cpu_millis = Some(2000))).await;
    let mut little = poll(worker, 2);
    little.free.cpu_millis = 3000;
    let claimed = stage.store.claim(&[little]).await.unwrap();
    assert_eq!(ids(&claimed), [small.to_string()].into());
    assert_eq!(stage.claim_one(worker).await.attempt.execution_id, large);
}

#[tokio::test]
async fn a_worker_gets_no_more_than_it_recorded_when_it_joined() {
    let stage = Stage::new().await;
    let worker = stage.joined().await;
    stage.execute("update workers set slots = 3, cpu_millis = 5000").await;
    for _ in 0..3 {
        submit(&stage, &changed(|draft| draft.wanted.cpu_millis = Some(2000))).await;
    }
    stage.queue(stage.account, None, 3).await;
    let boast = Poll { worker_id: worker, slots: 100, free: WHOLE };
    let claimed = stage.store.claim(&[boast]).await.unwrap();
    let cpus: u32 = claimed.iter().filter_map(|claimed| claimed.submission.wanted.cpu_millis).sum();
    assert_eq!((claimed.len(), cpus), (3, 4000));
    assert_eq!(stage.store.claim(&[boast]).await.unwrap(), []);
}

#[tokio::test]
async fn only_active_workers_are_given_work() {
    let stage = Stage::new().await;
    let worker = stage.joined().await;
    stage.queue(stage.account, None, 1).await;
    for status in ["provisioning", "draining", "dead", "failed", "terminating", "terminated"] {
        stage.execute(format!("update workers set status = '{status}'")).await;
        assert_eq!(stage.store.claim(&[poll(worker, 1)]).await.unwrap(), [], "{status}");
    }
}

#[tokio::test]
async fn cancelled_while_it_is_claimed_it_either_runs_or_is_cancelled() {
    let stage = Stage::new().await;
    let worker = stage.joined().await;
    for _ in 0..20 {
        let id = submit(&stage, &submission(&[], false)).await;
        let (store, account) = (stage.store.clone(), stage.account);
        let cancel = tokio::spawn(async move { store.cancel(account, id, CancelledBy::User).await.unwrap() });
        let claimed = stage.store.claim(&[poll(worker, 1)]).await.unwrap();
        cancel.await.unwrap();
        let row = stage.store.execution(stage.account, id).await.unwrap();
        assert!(row.cancel_requested_by.is_some());
        assert_eq!(row.status, if claimed.is_empty() { Status::Cancelled } else { Status::Running });
        assert_eq!(stage.count("select count(*) from queue").await, 0);
    }
}

#[tokio::test]
async fn an_empty_lane_is_retired_and_comes_back() {
    let stage = Stage::new().await;
    let worker = stage.joined().await;
    submit(&stage, &submission(&[], false)).await;
    stage.store.retire_lanes().await.unwrap();
    let retired = async || stage.count("select count(*) from lanes where head_age is null").await;
    assert_eq!(retired().await, 0);
    stage.claim_one(worker).await;
    // The claim looks for empty lanes by itself too, and whoever comes second leaves a lane to the first.
    let all = async {
        while retired().await == 0 {
            stage.store.retire_lanes().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all).await.unwrap();
    let id = submit(&stage, &submission(&[], false)).await;
    assert_eq!(retired().await, 0);
    assert_eq!(stage.claim_one(worker).await.attempt.execution_id, id);
}

#[tokio::test]
async fn nothing_is_forgotten_when_lanes_empty_and_fill_at_once() {
    let stage = Stage::new().await;
    let worker = stage.joined().await;
    let (store, account) = (stage.store.clone(), stage.account);
    let submitted = tokio::spawn(async move {
        for _ in 0..60 {
            store.create_execution(account, &submission(&[], false), false, None).await.unwrap();
        }
    });
    let mut claimed = 0;
    while !submitted.is_finished() {
        claimed += stage.store.claim(&[poll(worker, 3)]).await.unwrap().len();
        stage.store.retire_lanes().await.unwrap();
    }
    submitted.await.unwrap();
    loop {
        let rest = stage.store.claim(&[poll(worker, 30)]).await.unwrap().len();
        if rest == 0 {
            break;
        }
        claimed += rest;
    }
    assert_eq!(claimed, 60);
}
