//! Keys: shown once, stored as a hash, revoked for good.

use rgrid_store::Error;
use rgrid_store::keys::Role;

use crate::stage::Stage;

#[tokio::test]
async fn a_key_opens_its_account_until_it_is_revoked() {
    let stage = Stage::new().await;
    let store = &stage.store;
    let (key, secret) = store.create_key(stage.account, "laptop", Role::Member).await.unwrap();
    assert!(secret.starts_with("rg_") && secret.len() > 40);
    let principal = store.authenticate(&secret).await.unwrap().unwrap();
    assert_eq!((principal.account_id, principal.account_name.as_str()), (stage.account, "default"));
    assert_eq!((principal.role, principal.worker), (Role::Member, None));
    assert!(store.list_keys(stage.account).await.unwrap()[0].last_used_at.is_some());
    let kept = "select count(*) from api_keys k where k::text like '%' || substr($1, 4) || '%'";
    let kept: i64 = sqlx::query_scalar(kept).bind(&secret).fetch_one(&mut stage.sql().await).await.unwrap();
    assert_eq!(kept, 0);
    let other = store.create_account("other").await.unwrap().id;
    assert!(matches!(store.revoke_key(other, key.id).await, Err(Error::NotFound { .. })));
    assert!(store.revoke_key(stage.account, key.id).await.unwrap().revoked_at.is_some());
    assert_eq!(store.authenticate(&secret).await.unwrap(), None);
}

#[tokio::test]
async fn other_secrets_open_nothing() {
    let stage = Stage::new().await;
    for secret in ["", "rg_", "rgw_x", "x", &"rg_".repeat(100)] {
        assert_eq!(stage.store.authenticate(secret).await.unwrap(), None, "{secret}");
    }
    let made = stage.store.create_key(stage.account, "w", Role::Worker).await;
    assert!(matches!(made, Err(Error::Invalid { .. })));
}
