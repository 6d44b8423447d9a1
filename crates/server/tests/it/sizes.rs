//! Sizes that no worker can ever hold.

use std::time::Duration;

use rgrid_api::client::ClientError;
use rgrid_api::error::ErrorCode;
use rgrid_api::executions::CreateExecution;

use crate::harness::{CAPACITY, Grid, fresh_key, module, submit};

/// More than a worker of the tests has.
fn large() -> CreateExecution {
    CreateExecution { memory_bytes: Some(64 << 30), ..module() }
}

#[tokio::test]
async fn what_no_worker_can_ever_hold_is_refused_and_told_the_most_there_is() {
    let grid = Grid::start().await;
    let me = grid.client();
    // Nobody knows which workers will come.
    let waits = submit(&me, &large()).await.execution;
    assert_eq!(waits.status, "queued");
    let early = fresh_key();
    let accepted = me.create_execution(&large(), &early).await.unwrap().execution.id;

    let worker = grid.runner().await.worker_id.parse().unwrap();
    let Err(ClientError::Api(refused)) = me.create_execution(&large(), &fresh_key()).await else {
        panic!("it would wait for ever")
    };
    assert_eq!((refused.code, refused.code.status()), (ErrorCode::Invalid, 422));
    assert_eq!(refused.details.unwrap()["largest"][0]["memory_bytes"], CAPACITY.memory_bytes);
    insta::assert_snapshot!(format!("{}\n{}", refused.message, refused.hint.unwrap()), @r"
    no worker can ever hold this: memory: 64G asked, and the largest worker has 8G
    ask for at most --memory 8G, or add a larger worker
    ");
    me.cancel(&waits.id).await.unwrap();
    assert!(me.retry(&waits.id, &fresh_key()).await.is_err(), "nor can it be submitted again");

    let again = me.create_execution(&large(), &early).await.unwrap();
    assert_eq!(again.execution.id, accepted, "what was accepted stays accepted");
    let fits = CreateExecution { memory_bytes: Some(CAPACITY.memory_bytes), ..module() };
    assert_eq!(submit(&me, &fits).await.execution.status, "queued");

    // One that is silent may come back, and one that is gone does not count.
    let term = grid.store.lead("test").await.unwrap().expect("nobody else leads");
    assert!(grid.store.mark_dead(&term, worker, None, "silent").await.unwrap());
    assert!(me.create_execution(&large(), &fresh_key()).await.is_err());
    assert!(grid.store.mark_terminating(&term, worker, "it is not needed").await.unwrap());
    submit(&me, &large()).await;
    // A larger one counts as soon as it has joined.
    let token = grid.store.create_join_token(None, Duration::from_secs(60)).await.unwrap();
    let mut join = crate::harness::join(&token);
    join.capacity.memory_bytes = 128 << 30;
    crate::harness::client(grid.url(), "").join(&join).await.unwrap();
    submit(&me, &large()).await;
}
