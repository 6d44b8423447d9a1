//! Keys and roles.

use rgrid_api::error::ErrorCode;
use rgrid_api::executions::ListExecutions;
use rgrid_api::keys::{CreateKey, Role};

use crate::harness::{Grid, client, code, fresh_key, module};

#[tokio::test]
async fn an_unknown_a_missing_and_a_revoked_key_are_unauthorized() {
    let grid = Grid::start().await;
    for key in ["", "rg_unknown", &"x".repeat(1000)] {
        let answer = client(grid.url(), key).executions(&ListExecutions::default()).await;
        assert_eq!(code(answer), ErrorCode::Unauthorized, "{key}");
    }
    let me = grid.client();
    let made = me
        .create_key(&CreateKey { name: "laptop".to_owned(), role: Role::Member }, &fresh_key())
        .await
        .unwrap();
    let laptop = client(grid.url(), &made.secret);
    assert_eq!(laptop.whoami().await.unwrap().key.name, "laptop");
    assert!(me.revoke_key(&made.key.id).await.unwrap().revoked_at.is_some());
    assert_eq!(code(laptop.whoami().await), ErrorCode::Unauthorized);
    assert_eq!(code(me.revoke_key("key_nonsense").await), ErrorCode::NotFound);
    let keys = me.keys().await.unwrap().keys;
    assert_eq!(keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["test", "laptop"]);
}

#[tokio::test]
async fn a_key_repeated_with_its_idempotency_key_is_made_once() {
    let grid = Grid::start().await;
    let me = grid.client();
    let key = fresh_key();
    let body = CreateKey { name: "ci".to_owned(), role: Role::Member };
    me.create_key(&body, &key).await.unwrap();
    assert_eq!(code(me.create_key(&body, &key).await), ErrorCode::Conflict, "the secret is shown once");
    let other = CreateKey { name: "other".to_owned(), role: Role::Member };
    assert_eq!(code(me.create_key(&other, &key).await), ErrorCode::IdempotencyMismatch);
    assert_eq!(me.keys().await.unwrap().keys.len(), 2);
}

#[tokio::test]
async fn a_role_may_do_what_it_may_and_no_more() {
    let grid = Grid::start().await;
    let member = grid.stranger("other").await;
    assert_eq!(code(member.keys().await), ErrorCode::Forbidden);
    assert_eq!(code(member.workers().await), ErrorCode::Forbidden);
    let key = CreateKey { name: "more".to_owned(), role: Role::Admin };
    assert_eq!(code(member.create_key(&key, &fresh_key()).await), ErrorCode::Forbidden);
    assert!(member.create_execution(&module(), &fresh_key()).await.is_ok());

    let runner = grid.runner().await;
    assert_eq!(code(runner.client.executions(&ListExecutions::default()).await), ErrorCode::Forbidden);
    assert_eq!(code(runner.client.keys().await), ErrorCode::Forbidden);
    assert_eq!(code(runner.client.create_execution(&module(), &fresh_key()).await), ErrorCode::Forbidden);
    let heartbeat = rgrid_api::workers::Heartbeat { holding: Vec::new() };
    assert_eq!(code(grid.client().heartbeat(&heartbeat).await), ErrorCode::Forbidden);
    let worker = CreateKey { name: "w".to_owned(), role: Role::Worker };
    assert_eq!(code(grid.client().create_key(&worker, &fresh_key()).await), ErrorCode::Invalid);
}
