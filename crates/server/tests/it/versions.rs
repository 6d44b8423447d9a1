//! Old clients and workers work, or are refused by name.

use rgrid_api::CLIENT_VERSION;
use rgrid_api::error::{ErrorBody, ErrorCode};

use crate::harness::{Grid, VERSION, client, code, join};

#[tokio::test]
async fn a_caller_of_a_version_that_is_not_served_is_refused_by_name() {
    let grid = Grid::start().await;
    let http = reqwest::Client::new();
    let ask = async |path: &str, version: &str| {
        let request = http.get(format!("{}/api/v1{path}", grid.url())).bearer_auth(&grid.key);
        request.header(CLIENT_VERSION, version).send().await.unwrap()
    };
    for refused in ["99.0.0", "new"] {
        let answer = ask("/executions", refused).await;
        assert_eq!(answer.status().as_u16(), 426, "{refused}");
        let error = answer.json::<ErrorBody>().await.unwrap().error;
        assert_eq!(error.code, ErrorCode::VersionRefused);
        assert!(error.message.contains(refused) && error.hint.is_some(), "{error:?}");
        // Which version the grid is can be asked all the same.
        assert!(ask("/whoami", refused).await.status().is_success());
    }
    assert!(ask("/executions", VERSION).await.status().is_success());
}

#[tokio::test]
async fn a_worker_of_a_version_that_is_not_served_does_not_join() {
    let grid = Grid::start().await;
    let token = grid.store.create_join_token(None, std::time::Duration::from_secs(60)).await.unwrap();
    let old = rgrid_api::workers::Join { version: "99.0.0".to_owned(), ..join(&token) };
    assert_eq!(code(client(grid.url(), "").join(&old).await), ErrorCode::VersionRefused);
    assert!(client(grid.url(), "").join(&join(&token)).await.is_ok(), "the token was not used up");
}
