//! SSH keys, networks, firewalls, placement groups.

use serde_json::json;

use crate::api::{Api, server_with};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEzWjEkS6LHlYUHzGhkMl4v1wY4nVsPpw6LbZv4cYq4f";

#[tokio::test]
async fn a_key_stands_in_for_a_password() {
    let api = Api::new().await;
    let told = api.post("/ssh_keys", json!({"name": "rg", "public_key": KEY})).await;
    assert_eq!(told.status, 201);
    let (id, fingerprint) = (told.body["ssh_key"]["id"].clone(), told.body["ssh_key"]["fingerprint"].clone());
    let again = api.post("/ssh_keys", json!({"name": "rg", "public_key": KEY})).await;
    assert_eq!(again.code(), (409, "uniqueness_error"));
    let again = api.post("/ssh_keys", json!({"name": "other", "public_key": format!("{KEY} me")})).await;
    assert_eq!(again.code(), (409, "uniqueness_error"));
    let bad = api.post("/ssh_keys", json!({"name": "bad", "public_key": "no"})).await;
    assert_eq!(bad.code(), (422, "invalid_input"));
    let found = api.get(&format!("/ssh_keys?fingerprint={}", fingerprint.as_str().unwrap())).await;
    assert_eq!(found.body["ssh_keys"][0]["id"], id);
    for key in [json!("rg"), id.clone()] {
        let told = api
            .post("/servers", server_with(&format!("w{key}").replace('"', ""), json!({"ssh_keys": [key]})))
            .await;
        assert_eq!((told.status, &told.body["root_password"]), (201, &json!(null)));
    }
    assert_eq!(
        api.put(&format!("/ssh_keys/{id}"), json!({"name": "new"})).await.body["ssh_key"]["name"],
        "new"
    );
    assert_eq!(api.delete(&format!("/ssh_keys/{id}")).await.status, 204);
    assert_eq!(api.get(&format!("/ssh_keys/{id}")).await.code(), (404, "not_found"));
}

#[tokio::test]
async fn a_network_is_joined_by_an_action_of_its_own() {
    let api = Api::new().await;
    let subnet = json!({"type": "cloud", "ip_range": "10.0.1.0/24", "network_zone": "eu-central"});
    let body = json!({"name": "n", "ip_range": "10.0.0.0/16", "subnets": [subnet]});
    let network = api.post("/networks", body).await.body["network"]["id"].clone();
    let net = json!({"networks": [network], "public_net": {"enable_ipv4": false, "enable_ipv6": false}});
    let told = api.post("/servers", server_with("w", net)).await;
    assert_eq!(told.status, 201, "{}", told.body);
    let commands: Vec<_> = told.body["next_actions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|action| action["command"].clone())
        .collect();
    assert_eq!(commands, ["attach_to_network", "start_server"]);
    assert_eq!(told.body["server"]["private_net"][0]["ip"], "10.0.1.2");
    let id = told.body["server"]["id"].as_i64().unwrap();
    api.step(60);
    assert_eq!(api.status(id).await, "running");
    let told = api.stand.metadata(id, "/hetzner/v1/metadata/private-networks").unwrap();
    assert!(told.starts_with("- ip: 10.0.1.2\n"), "{told}");
    assert_eq!(api.get(&format!("/networks/{network}")).await.body["network"]["servers"], json!([id]));
    // Elsewhere there is no subnet of it.
    let far = json!({"networks": [network], "location": "sin"});
    assert_eq!(api.post("/servers", server_with("x", far)).await.code(), (422, "no_subnet_available"));
    let orders = format!("/servers/{id}/actions");
    assert_eq!(
        api.post(&format!("{orders}/attach_to_network"), json!({"network": network})).await.status,
        422
    );
    assert_eq!(
        api.post(&format!("{orders}/detach_from_network"), json!({"network": network})).await.status,
        201
    );
    assert_eq!(api.delete(&format!("/networks/{network}")).await.status, 204);
}

#[tokio::test]
async fn a_firewall_in_use_stays() {
    let api = Api::new().await;
    let rule = json!({"direction": "in", "protocol": "tcp", "port": "22", "source_ips": ["0.0.0.0/0"]});
    let told = api.post("/firewalls", json!({"name": "f", "rules": [rule]})).await;
    let firewall = told.body["firewall"]["id"].clone();
    let told = api.post("/servers", server_with("w", json!({"firewalls": [{"firewall": firewall}]}))).await;
    assert_eq!(
        told.body["server"]["public_net"]["firewalls"],
        json!([{"id": firewall, "status": "applied"}])
    );
    let id = told.body["server"]["id"].as_i64().unwrap();
    api.step(60);
    assert_eq!(api.delete(&format!("/firewalls/{firewall}")).await.code(), (422, "resource_in_use"));
    api.delete(&format!("/servers/{id}")).await;
    assert_eq!(api.delete(&format!("/firewalls/{firewall}")).await.status, 204);
    let mut many = Vec::new();
    for n in 0..6 {
        let told = api.post("/firewalls", json!({"name": format!("f{n}")})).await;
        many.push(json!({"firewall": told.body["firewall"]["id"]}));
    }
    assert_eq!(api.post("/servers", server_with("x", json!({"firewalls": many}))).await.status, 422);
}

#[tokio::test]
async fn a_placement_group_holds_ten() {
    let api = Api::new().await;
    let told = api.post("/placement_groups", json!({"name": "g", "type": "spread"})).await;
    let group = told.body["placement_group"]["id"].clone();
    for n in 0..10 {
        let told =
            api.post("/servers", server_with(&format!("w{n}"), json!({"placement_group": group}))).await;
        assert_eq!(told.status, 201);
    }
    let told = api.post("/servers", server_with("w10", json!({"placement_group": group}))).await;
    assert_eq!(told.code(), (403, "resource_limit_exceeded"));
    assert_eq!(api.delete(&format!("/placement_groups/{group}")).await.status, 204);
}
