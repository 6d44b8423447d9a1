//! The program that servers fetch.

use reqwest::StatusCode;

use crate::harness::{Grid, sha256};

#[tokio::test]
async fn a_server_is_given_this_very_program_by_its_hash_and_no_other() {
    let grid = Grid::start().await;
    let ours = std::fs::read("/proc/self/exe").unwrap();
    let ask = async |hash: &str| {
        let url = format!("{}/api/v1/binaries/{hash}", grid.url());
        reqwest::Client::new().get(url).send().await.unwrap()
    };
    let answer = ask(&sha256(&ours)).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.bytes().await.unwrap() == ours, "the bytes are the program's");
    assert_eq!(ask(&"0".repeat(64)).await.status(), StatusCode::NOT_FOUND);
    for other in ["rgrid", "..%2f..%2fetc%2fpasswd"] {
        assert_eq!(ask(other).await.status(), StatusCode::UNPROCESSABLE_ENTITY, "{other}");
    }
}
