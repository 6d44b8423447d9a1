//! What executions can be run by, and that nothing else is taken.

use std::time::Duration;

use rgrid_api::client::ClientError;
use rgrid_api::executions::CreateExecution;
use rgrid_api::workers::Join;

use crate::harness::{Grid, IMAGE, client, fresh_key, join, module, submit};

#[tokio::test]
async fn an_image_is_taken_by_its_short_name_or_its_own_and_another_is_refused_with_the_list() {
    let grid = Grid::start().await;
    let me = grid.client();
    let with = |runtime: &str| CreateExecution { runtime: runtime.to_owned(), ..module() };
    for name in ["data", IMAGE] {
        let execution = submit(&me, &with(&format!("image:{name}"))).await.execution;
        assert_eq!(execution.runtime, format!("image:{IMAGE}"));
    }
    let Err(ClientError::Api(refused)) = me.create_execution(&with("image:other"), &fresh_key()).await else {
        panic!("it is not on the list")
    };
    assert_eq!(refused.code.status(), 422);
    let said = "the image other is not allowed on this grid; allowed are data (ghcr.io/me/data:1), \
                python-3.12 (python:3.12-slim)";
    assert!(refused.message.contains(said), "{}", refused.message);
    let list = me.runtimes().await.unwrap();
    let names: Vec<&str> = list.runtimes.iter().map(|runtime| runtime.name.as_str()).collect();
    assert_eq!((names.len(), names.first(), names.last()), (7, Some(&"python:3.10"), Some(&"python-3.12")));
    assert_eq!(list.runtimes[5].image.as_deref(), Some(IMAGE));
    assert!(!list.own_images);
}

/// What is said to a submission, and what to do.
async fn refused(grid: &Grid, runtime: &str) -> (String, String) {
    let body = CreateExecution { runtime: runtime.to_owned(), ..module() };
    match grid.client().create_execution(&body, &fresh_key()).await {
        Err(ClientError::Api(refused)) => (refused.message, refused.hint.unwrap_or_default()),
        other => panic!("it was to be refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_grid_of_containers_runs_each_python_in_its_image_and_knows_no_other() {
    let grid = Grid::start_in_containers().await;
    let body = CreateExecution { runtime: "python:3.12".to_owned(), ..module() };
    assert_eq!(submit(&grid.client(), &body).await.execution.runtime, "image:python:3.12-slim");
    let (said, _) = refused(&grid, "python:3.11").await;
    assert!(
        said.contains("it has no image for python:3.11; it has data (ghcr.io/me/data:1), python-3.12"),
        "{said}"
    );
    let list = grid.client().runtimes().await.unwrap().runtimes;
    assert_eq!(
        list.iter().map(|runtime| runtime.name.as_str()).collect::<Vec<_>>(),
        ["python:3.12", "data", "python-3.12"]
    );
    assert_eq!(list[0].image.as_deref(), Some("python:3.12-slim"));
}

#[tokio::test]
async fn an_image_is_refused_where_the_workers_have_no_docker_and_waits_where_there_is_no_worker_yet() {
    let grid = Grid::start().await;
    let body = CreateExecution { runtime: "image:data".to_owned(), ..module() };
    submit(&grid.client(), &body).await;
    grid.runner().await;
    let (said, hint) = refused(&grid, "image:data").await;
    assert_eq!(said, "no worker of this grid has Docker, in which container images run");
    assert!(hint.contains("install Docker on a worker"), "{hint}");

    let token = grid.store.create_join_token(None, Duration::from_secs(60)).await.unwrap();
    let with_docker = Join { docker: true, nonce: "another".to_owned(), ..join(&token) };
    client(grid.url(), "").join(&with_docker).await.unwrap();
    submit(&grid.client(), &body).await;
}
