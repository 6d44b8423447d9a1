//! The operator's public key at the stand-in for the provider.

use rgrid_orchestrator::Spending;
use serde_json::Value;

use crate::bought::Market;
use crate::stage::until;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8Qn0kL1mS2Yw3pT4vU5xW6yZ7aB8cD9eF0gH1iJ2kL";

impl Market {
    /// The bodies of what was posted to a path.
    fn posted(&self, path: &str) -> Vec<Value> {
        let requests = self.stand.requests(0);
        let posted = requests.into_iter().filter(|r| r.method == "POST" && r.path == path);
        posted.map(|request| request.body).collect()
    }

    /// The orders after one more, by an orchestrator that knows nothing of the one before.
    async fn buys_with_key(&self) -> Vec<Value> {
        let before = self.posted("/servers").len();
        let provider = self.provider(Some(format!("{KEY} me@home")));
        let buyer = self.buyer_of(provider, "a", Spending::On, |_| {});
        self.grid.submit().await;
        until("a server", async || self.posted("/servers").len() > before).await;
        buyer.stop().await;
        self.posted("/servers")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_equal_key_that_the_provider_knows_is_used_whatever_it_is_called() {
    let market = Market::new().await;
    let known = serde_json::json!({"name": "laptop", "public_key": format!("{KEY} somebody@elsewhere")});
    let request = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = request.post(format!("{}/ssh_keys", market.stand.endpoint()));
    let request = request.bearer_auth(market.stand.token()).header("content-type", "application/json");
    assert_eq!(request.body(known.to_string()).send().await.unwrap().status(), 201);
    let ordered = market.buys_with_key().await;
    assert_eq!(ordered[0]["ssh_keys"], serde_json::json!(["laptop"]));
    assert_eq!(market.posted("/ssh_keys").len(), 1, "the one that was there");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_key_is_registered_once_and_opens_every_server() {
    let market = Market::new().await;
    market.buys_with_key().await;
    let ordered = market.buys_with_key().await;
    let registered = market.posted("/ssh_keys");
    assert_eq!(registered.len(), 1, "{registered:?}");
    let name = registered[0]["name"].as_str().unwrap();
    assert!(name.starts_with(&format!("rgrid-{}-", market.id)), "{name}");
    assert!(ordered.iter().all(|order| order["ssh_keys"] == serde_json::json!([name])), "{ordered:?}");
    assert_eq!(market.stand.servers().len(), ordered.len());
}
