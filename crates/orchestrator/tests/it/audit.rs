//! Everything that is billed has an owner, addresses too.

use rgrid_core::money::Micros;
use rgrid_orchestrator::audit::{Audit, Owner, audit};
use rgrid_orchestrator::cloud::hetzner;
use serde_json::{Value, json};

use crate::bought::{Market, TO_THE_EDGE};

impl Market {
    async fn audit(&self) -> Audit {
        audit(&self.grid.store, &self.provider(None)).await.unwrap()
    }

    /// What somebody else does by hand at the provider.
    async fn by_hand(&self, method: &str, path: &str, body: &Value) -> Value {
        let url = format!("{}{path}", self.stand.endpoint());
        let request = reqwest::Client::new().request(method.parse().unwrap(), url);
        let answer = request.bearer_auth(self.stand.token()).json(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {}", answer.status());
        answer.json().await.unwrap()
    }

    /// Makes an address that is kept alone.
    async fn address(&self, name: &str, kind: &str, labels: Value) -> String {
        let body = json!({"name": name, "type": kind, "location": "fsn1", "labels": labels});
        let made = self.by_hand("POST", "/primary_ips", &body).await;
        made["primary_ip"]["id"].to_string()
    }
}

fn owners(audit: &Audit) -> Vec<(&'static str, Option<Micros>, Owner)> {
    audit.billed.iter().map(|billed| (billed.item, billed.hour, billed.owner.clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_and_its_address_have_the_same_owner_and_an_address_that_stays_behind_has_none() {
    let market = Market::new().await;
    let buyer = market.buyer("a");
    let (worker, claimed) = market.at_work().await;
    market.listings(2).await;
    let before = market.audit().await;
    let (server, address) = (Some(Micros(18_400)), Some(Micros(800)));
    let both = [("server", server, Owner::Worker(worker)), ("ipv4", address, Owner::Worker(worker))];
    assert_eq!((owners(&before).as_slice(), before.is_owned()), (both.as_slice(), true));
    let kept = format!("/primary_ips/{}", before.billed[1].id);
    market.by_hand("PUT", &kept, &json!({"auto_delete": false})).await;
    market.finish(worker, &claimed).await;
    market.beat(worker, &[]).await;
    market.stand.step(TO_THE_EDGE);
    market.until_servers(0).await;
    let after = market.audit().await;
    assert_eq!((owners(&after), after.is_owned()), (vec![("ipv4", address, Owner::Nobody)], false));
    assert_eq!((&after.billed[0].id, &after.billed[0].name), (&before.billed[1].id, &before.billed[1].name));
    buyer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_kept_alone_is_nobodys_unless_somebody_wrote_on_it_whose_it_is() {
    let market = Market::new().await;
    market.address("free", "ipv6", json!({})).await;
    market.address("web", "ipv4", json!({"team": "web"})).await;
    let another = rgrid_core::id::GridId::new(9, [9; 10]).to_string();
    market.address("theirs", "ipv4", json!({hetzner::GRID_LABEL: another.clone()})).await;
    let rate = Some(Micros(800));
    let owned = market.audit().await;
    let labels = ["team=web".to_owned(), format!("{}={another}", hetzner::GRID_LABEL)];
    let expected = labels.map(|label| ("ipv4", rate, Owner::Label(label)));
    assert_eq!((owners(&owned), owned.is_owned()), (expected.to_vec(), true));
    let ours = market.address("ours", "ipv4", json!({hetzner::GRID_LABEL: market.id.to_string()})).await;
    let bare = market.address("bare", "ipv4", json!({})).await;
    let audit = market.audit().await;
    let nobodys = audit.billed.iter().filter(|billed| billed.owner == Owner::Nobody);
    assert_eq!(nobodys.map(|billed| &billed.id).collect::<Vec<_>>(), [&ours, &bare]);
    assert!(!audit.is_owned());
}
