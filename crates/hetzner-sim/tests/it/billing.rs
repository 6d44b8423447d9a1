//! The bill, to the millionth of a euro.

use hetzner_sim::{Billed, Deed};
use serde_json::json;

use crate::api::{Api, server_with};

#[tokio::test]
async fn a_server_costs_each_hour_that_it_has_begun() {
    let api = Api::new().await;
    let id = api.running("w").await;
    assert_eq!(api.stand.ledger().micros, 18_400 + 800);
    api.step(3600 - 60);
    assert_eq!(api.stand.ledger().micros, 18_400 + 800);
    api.step(1);
    // It costs without power too.
    api.post(&format!("/servers/{id}/actions/poweroff"), json!({})).await;
    let bill = api.stand.ledger();
    assert_eq!((bill.micros, bill.servers_alive), (2 * (18_400 + 800), 1));
    api.step(60);
    api.delete(&format!("/servers/{id}")).await;
    api.step(100_000);
    let bill = api.stand.ledger();
    assert_eq!((bill.micros, bill.servers_alive), (2 * (18_400 + 800), 0));
    assert_eq!(bill.lines[1].hours, 2);
    let told = api.get("/_sim/ledger").await;
    assert_eq!((&told.body["micros"], &told.body["servers_alive"]), (&json!(38_400), &json!(0)));
}

#[tokio::test]
async fn a_price_is_that_of_the_day_of_the_order() {
    let api = Api::new().await;
    api.create("old").await;
    let price = Deed::Price { server_type: "cpx12".into(), hourly: "0.0200".into(), monthly: "12.00".into() };
    api.stand.happen(price).unwrap();
    api.create("new").await;
    let shown = api.get("/server_types?name=cpx12").await;
    assert_eq!(shown.body["server_types"][0]["prices"][0]["price_hourly"]["net"], "0.0200000000");
    api.step(3600);
    let servers = |line: &&hetzner_sim::Line| line.billed == Billed::Server;
    let costs: Vec<u64> = api.stand.ledger().lines.iter().filter(servers).map(|line| line.micros).collect();
    assert_eq!(costs, [18_400, 20_000]);
}

#[tokio::test]
async fn an_address_that_is_kept_goes_on_costing() {
    let api = Api::new().await;
    let body = json!({"name": "mine", "type": "ipv4", "location": "fsn1", "assignee_type": "server"});
    let told = api.post("/primary_ips", body).await;
    let ip = told.body["primary_ip"]["id"].as_i64().unwrap();
    let net = json!({"public_net": {"ipv4": ip, "enable_ipv6": false}});
    let id = api.post("/servers", server_with("w", net)).await.body["server"]["id"].as_i64().unwrap();
    api.step(60);
    assert_eq!(api.delete(&format!("/primary_ips/{ip}")).await.code(), (422, "must_be_unassigned"));
    api.delete(&format!("/servers/{id}")).await;
    let kept = api.get(&format!("/primary_ips/{ip}")).await;
    assert_eq!(kept.body["primary_ip"]["assignee_type"], "unassigned");
    api.step(3600);
    assert_eq!(api.stand.ledger().micros, 18_400 + 2 * 800);
    assert_eq!(api.delete(&format!("/primary_ips/{ip}")).await.status, 204);
}
