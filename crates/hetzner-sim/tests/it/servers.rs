//! A server's life, from its creation to its deletion.

use serde_json::{Value, json};

use crate::api::{Api, START, exact, server, server_with};

#[tokio::test]
async fn a_create_answers_at_once_and_the_server_comes_up_after() {
    let api = Api::new().await;
    let told = api.post("/servers", server("w1")).await;
    assert_eq!(told.status, 201);
    let (made, action) = (&told.body["server"], &told.body["action"]);
    assert!(made["id"].as_i64().unwrap() > i64::from(u32::MAX));
    assert_eq!(
        (&made["status"], &made["locked"], &made["created"]),
        (&json!("initializing"), &json!(true), &json!(START))
    );
    assert_eq!(made["public_net"]["ipv4"]["ip"], "203.0.113.1");
    assert!(made["public_net"]["ipv6"]["ip"].as_str().unwrap().ends_with("::/64"));
    assert_eq!(made["image"]["name"], "debian-13");
    assert_eq!(made["image"]["architecture"], "x86");
    assert!(made["image"].get("deprecated").is_none() && made.get("datacenter").is_none());
    assert_eq!(
        (&action["command"], &action["status"], &action["progress"]),
        (&json!("create_server"), &json!("running"), &json!(0))
    );
    assert_eq!(told.body["next_actions"][0]["command"], "start_server");
    assert_eq!(told.body["root_password"].as_str().unwrap().len(), 20);

    let id = made["id"].as_i64().unwrap();
    let mut seen = vec![api.status(id).await];
    let poll = format!("/actions?id={}&id={}", action["id"], told.body["next_actions"][0]["id"]);
    let mut progress = Vec::new();
    for _ in 0..8 {
        api.step(1);
        seen.push(api.status(id).await);
        let actions = api.get(&poll).await.body["actions"].clone();
        progress.push((actions[0]["progress"].as_i64().unwrap(), actions[1]["progress"].as_i64().unwrap()));
    }
    seen.dedup();
    assert_eq!(seen, ["initializing", "starting", "running"]);
    assert_eq!(
        progress,
        [(25, 0), (50, 0), (75, 0), (100, 0), (100, 50), (100, 100), (100, 100), (100, 100)]
    );
    assert_eq!(api.get(&format!("/servers/{id}")).await.body["server"]["locked"], false);
    api.stand.stop().await;
}

#[tokio::test]
async fn a_server_that_is_not_to_be_started_stays_off() {
    let api = Api::new().await;
    let told = api.post("/servers", server_with("w", json!({"start_after_create": false}))).await;
    assert_eq!(told.body["next_actions"], json!([]));
    let id = told.body["server"]["id"].as_i64().unwrap();
    api.step(60);
    assert_eq!(api.status(id).await, "off");
    let told = api.post(&format!("/servers/{id}/actions/poweron"), json!({})).await;
    assert_eq!((told.status, &told.body["action"]["command"]), (201, &json!("start_server")));
    assert_eq!(api.status(id).await, "starting");
    api.step(5);
    assert_eq!(api.status(id).await, "running");
}

#[tokio::test]
async fn power_goes_and_comes_and_a_lock_lets_nobody_else_in() {
    let api = Api::new().await;
    let id = api.running("w").await;
    for (order, command, then) in [
        ("poweroff", "stop_server", "off"),
        ("poweron", "start_server", "running"),
        ("reset", "reset_server", "running"),
        ("reboot", "reboot_server", "running"),
        ("shutdown", "shutdown_server", "running"),
    ] {
        let told = api.post(&format!("/servers/{id}/actions/{order}"), json!({})).await;
        assert_eq!((told.status, told.body["action"]["command"].as_str()), (201, Some(command)), "{order}");
        let second = api.post(&format!("/servers/{id}/actions/poweroff"), json!({})).await;
        assert_eq!(second.code(), (423, "locked"), "{order}");
        assert_eq!(api.delete(&format!("/servers/{id}")).await.code(), (423, "locked"));
        // Names and labels may be changed all the same.
        assert_eq!(api.put(&format!("/servers/{id}"), json!({"labels": {"n": order}})).await.status, 200);
        api.step(2);
        assert_eq!(api.status(id).await, then, "{order}");
        if then == "running" {
            // The system must be up before it can obey the button.
            api.step(20);
        }
    }
    assert_eq!(api.status(id).await, "off");
    let labels = api.get(&format!("/servers/{id}")).await.body["server"]["labels"].clone();
    assert_eq!(labels, json!({"n": "shutdown"}));
    let told = api.post(&format!("/servers/{id}/actions/dance"), json!({})).await;
    assert_eq!(told.code(), (404, "not_found"));
}

#[tokio::test]
async fn a_deletion_is_at_once_and_its_action_outlives_the_server() {
    let api = Api::new().await;
    let id = api.running("w").await;
    let told = api.delete(&format!("/servers/{id}")).await;
    assert_eq!((told.status, &told.body["action"]["command"]), (200, &json!("delete_server")));
    let action = format!("/actions/{}", told.body["action"]["id"]);
    assert_eq!(api.delete(&format!("/servers/{id}")).await.code(), (404, "not_found"));
    assert_eq!(api.get("/servers").await.body["servers"], json!([]));
    assert_eq!(api.get("/primary_ips").await.body["primary_ips"], json!([]));
    assert_eq!(api.get(&action).await.body["action"]["status"], "running");
    api.step(1);
    assert_eq!(api.get(&action).await.body["action"]["status"], "success");
    // The name is free again.
    api.create("w").await;
}

#[tokio::test]
async fn a_deletion_may_take_a_while_in_which_the_server_is_shown() {
    let mut options = exact();
    options.timings.deleting_millis = 5_000;
    let api = Api::with(options).await;
    let id = api.running("w").await;
    api.delete(&format!("/servers/{id}")).await;
    assert_eq!(api.status(id).await, "deleting");
    assert_eq!(api.delete(&format!("/servers/{id}")).await.code(), (423, "locked"));
    assert_eq!(api.post("/servers", server("w")).await.code(), (409, "uniqueness_error"));
    api.step(5);
    assert_eq!(api.delete(&format!("/servers/{id}")).await.code(), (404, "not_found"));
}

#[tokio::test]
async fn a_name_is_taken_once() {
    for (fields, details) in [(true, json!({"fields": [{"name": "name"}]})), (false, json!({}))] {
        let mut options = exact();
        options.fields_on_conflict = fields;
        let api = Api::with(options).await;
        let id = api.create("w").await;
        let told = api.post("/servers", server("W")).await;
        assert_eq!(told.code(), (409, "uniqueness_error"));
        assert_eq!(told.body["error"]["message"], "server name is already used");
        assert_eq!(told.body["error"]["details"], details);
        let other = api.create("x").await;
        assert_eq!(api.put(&format!("/servers/{other}"), json!({"name": "w"})).await.status, 409);
        assert_eq!(api.put(&format!("/servers/{id}"), json!({"name": "w"})).await.status, 200);
        assert_eq!(api.stand.servers().len(), 2);
    }
}

#[tokio::test]
async fn what_a_create_may_not_say() {
    let api = Api::new().await;
    let check = async |fields: Value, status: u16, code: &str, message: &str| {
        let told = api.post("/servers", server_with("w", fields.clone())).await;
        assert_eq!(told.code(), (status, code), "{fields}: {}", told.body);
        let said = told.body["error"].to_string();
        assert!(said.contains(message), "{fields}: {said}");
    };
    check(json!({"colour": "red"}), 422, "invalid_input", "unknown field name 'colour'").await;
    check(json!({"datacenter": "fsn1-dc14"}), 422, "invalid_input", "unknown field").await;
    check(json!({"name": "a_b"}), 422, "invalid_input", "'name'").await;
    check(json!({"name": 3}), 422, "invalid_input", "must be a string").await;
    check(json!({"server_type": null}), 422, "invalid_input", "Missing data").await;
    check(json!({"server_type": "cx99"}), 422, "invalid_input", "server_type 'cx99' not found").await;
    check(json!({"image": "beos-5"}), 422, "invalid_input", "image 'beos-5' not found").await;
    check(json!({"location": "moon"}), 422, "invalid_input", "location 'moon' not found").await;
    check(json!({"server_type": "cx22"}), 422, "invalid_input", "server type 104 is deprecated").await;
    check(json!({"location": "ash"}), 422, "invalid_input", "unsupported location for server type").await;
    check(json!({"server_type": "cax11", "image": 310_557_660}), 422, "invalid_input", "architecture").await;
    check(json!({"server_type": "cx23"}), 412, "resource_unavailable", "unable to provision").await;
    check(json!({"server_type": "cax11"}), 412, "resource_unavailable", "").await;
    check(
        json!({"user_data": "x".repeat(32_769)}),
        422,
        "invalid_input",
        "Length must be between 0 and 32768.",
    )
    .await;
    check(json!({"labels": {"hetzner.cloud/a": "b"}}), 422, "invalid_input", "labels").await;
    check(json!({"labels": {"a": 1}}), 422, "invalid_input", "labels").await;
    check(json!({"ssh_keys": ["nobody"]}), 422, "invalid_input", "ssh_key 'nobody' not found").await;
    check(json!({"networks": ["name"]}), 422, "invalid_input", "integers").await;
    check(json!({"networks": [5]}), 422, "invalid_input", "network '5' not found").await;
    check(json!({"placement_group": 5}), 422, "invalid_input", "placement_group '5' not found").await;
    check(json!({"volumes": [5]}), 422, "invalid_input", "volume '5' not found").await;
    let none = json!({"public_net": {"enable_ipv4": false, "enable_ipv6": false}});
    check(none, 422, "invalid_input", "at least one").await;
    // None of it has made anything, or cost anything.
    assert_eq!((api.stand.servers().len(), api.stand.ledger().micros), (0, 0));
    api.post("/servers", server_with("w", json!({"user_data": "x".repeat(32_768)}))).await;
    assert_eq!(api.stand.servers().len(), 1);
}

#[tokio::test]
async fn ids_serve_as_well_as_names() {
    let api = Api::new().await;
    let fields = json!({"server_type": 109, "image": 310_557_660, "location": 1, "automount": false});
    let told = api.post("/servers", server_with("w", fields)).await;
    assert_eq!(told.status, 201, "{}", told.body);
    let told =
        api.post("/servers", server_with("x", json!({"server_type": "109", "image": "310557660"}))).await;
    assert_eq!(told.body["server"]["server_type"]["name"], "cpx12");
    let told = api.post("/servers", server_with("y", json!({"location": null}))).await;
    assert_eq!(told.body["server"]["location"]["name"], "fsn1");
}

#[tokio::test]
async fn addresses_that_are_not_wanted_are_null() {
    let api = Api::new().await;
    let without = json!({"public_net": {"enable_ipv4": false, "enable_ipv6": true}});
    let told = api.post("/servers", server_with("w", without)).await;
    assert_eq!(told.body["server"]["public_net"]["ipv4"], Value::Null);
    assert!(told.body["server"]["public_net"]["ipv6"]["id"].is_i64());
    // An IPv6 network costs nothing.
    api.step(60);
    assert_eq!(api.stand.ledger().lines.len(), 1);
}

#[tokio::test]
async fn protection_is_against_deletion() {
    let api = Api::new().await;
    let id = api.running("w").await;
    let protect = format!("/servers/{id}/actions/change_protection");
    assert_eq!(api.post(&protect, json!({"delete": true, "rebuild": false})).await.status, 422);
    assert_eq!(api.post(&protect, json!({"delete": true, "rebuild": true})).await.status, 201);
    api.step(5);
    assert_eq!(api.delete(&format!("/servers/{id}")).await.code(), (423, "protected"));
    api.post(&protect, json!({"delete": false, "rebuild": false})).await;
    api.step(5);
    assert_eq!(api.delete(&format!("/servers/{id}")).await.status, 200);
}

#[tokio::test]
async fn an_image_is_made_of_a_server_and_a_server_of_the_image() {
    let api = Api::new().await;
    let id = api.running("w").await;
    let body = json!({"type": "snapshot", "description": "mine", "labels": {"rgrid": "1"}});
    let told = api.post(&format!("/servers/{id}/actions/create_image"), body).await;
    assert_eq!((told.status, &told.body["image"]["status"]), (201, &json!("creating")));
    let image = told.body["image"]["id"].clone();
    let early = api.post("/servers", server_with("x", json!({"image": image}))).await;
    assert_eq!(early.code(), (422, "invalid_input"));
    api.step(60);
    let listed = api.get("/images?type=snapshot&status=available&label_selector=rgrid%3D1").await;
    assert_eq!(listed.body["images"][0]["id"], image);
    let told = api.post("/servers", server_with("x", json!({"image": image}))).await;
    assert_eq!((told.status, &told.body["server"]["image"]["type"]), (201, &json!("snapshot")));
    assert_eq!(api.delete(&format!("/images/{image}")).await.status, 204);
}

#[tokio::test]
async fn a_rebuild_may_bring_other_user_data() {
    let api = Api::new().await;
    let id = api.running("w").await;
    let body = json!({"image": "debian-12", "user_data": "#cloud-config\n# second\n"});
    let told = api.post(&format!("/servers/{id}/actions/rebuild"), body).await;
    assert_eq!((told.status, &told.body["action"]["command"]), (201, &json!("rebuild_server")));
    assert!(told.body["root_password"].is_string());
    assert_eq!(api.status(id).await, "rebuilding");
    api.step(60);
    assert_eq!(api.status(id).await, "running");
    assert_eq!(api.stand.metadata(id, "/hetzner/v1/userdata").unwrap(), "#cloud-config\n# second\n");
}

#[tokio::test]
async fn metadata_is_there_while_the_power_is_on() {
    let api = Api::new().await;
    let id = api.create("w").await;
    assert_eq!(api.stand.metadata(id, "/hetzner/v1/userdata"), None);
    api.step(60);
    let ask = |path: &str| api.stand.metadata(id, &format!("/hetzner/v1/{path}"));
    assert_eq!(ask("userdata").unwrap(), "#cloud-config\n");
    assert_eq!(ask("metadata/hostname").unwrap(), "w");
    assert_eq!(ask("metadata/instance-id").unwrap(), id.to_string());
    assert_eq!(ask("metadata/public-ipv4").unwrap(), "203.0.113.1");
    assert_eq!(ask("metadata/availability-zone").unwrap(), "fsn1-dc14");
    assert_eq!(ask("metadata/region").unwrap(), "eu-central");
    assert_eq!(ask("metadata/nothing"), None);
    let shown = api.get(&format!("/_sim/servers/{id}/metadata/hetzner/v1/metadata")).await;
    insta::assert_snapshot!(shown.body.as_str().unwrap().replace(&id.to_string(), "ID"), @r#"
    availability-zone: fsn1-dc14
    hostname: "w"
    instance-id: ID
    public-ipv4: "203.0.113.1"
    public-keys: []
    region: eu-central
    private-networks: []
    network-config:
      version: 1
      config:
      - type: physical
        name: eth0
        subnets:
        - type: dhcp
    vendor_data: ""
    "#);
    api.post(&format!("/servers/{id}/actions/poweroff"), json!({})).await;
    api.step(5);
    assert_eq!(ask("userdata"), None);
}
