//! What executions can be run by, and that nothing else is taken.

use rgrid_api::client::ClientError;
use rgrid_api::executions::CreateExecution;

use crate::harness::{Grid, IMAGE, fresh_key, module, submit};

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
    let said = "the image other is not allowed on this grid; allowed are data (ghcr.io/me/data:1)";
    assert!(refused.message.contains(said), "{}", refused.message);
    let list = me.runtimes().await.unwrap();
    let names: Vec<&str> = list.runtimes.iter().map(|runtime| runtime.name.as_str()).collect();
    assert_eq!((names.len(), names.first(), names.last()), (6, Some(&"python:3.10"), Some(&"data")));
    assert_eq!(list.runtimes[5].image.as_deref(), Some(IMAGE));
    assert!(!list.own_images);
}
