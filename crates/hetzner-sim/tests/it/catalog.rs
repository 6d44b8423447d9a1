//! What can be ordered, and how two years show it.

use hetzner_sim::{Deed, Profile};
use serde_json::{Value, json};

use crate::api::{Api, exact, server, server_with};

#[tokio::test]
async fn the_year_2026_has_no_datacenters() {
    let api = Api::new().await;
    assert_eq!(api.get("/datacenters").await.code(), (410, "deprecated_api_endpoint"));
    assert_eq!(api.get("/datacenters/4").await.code(), (410, "deprecated_api_endpoint"));
    let types = api.get("/server_types").await;
    for one in types.body["server_types"].as_array().unwrap() {
        assert!(one.get("deprecated").is_none());
        assert_eq!(one["prices"].as_array().unwrap().len(), one["locations"].as_array().unwrap().len());
        assert!(one["locations"].as_array().unwrap().iter().all(|at| at["available"].is_boolean()));
    }
    let pricing = api.get("/pricing").await.body["pricing"].clone();
    let ip = &pricing["primary_ips"][0]["prices"][0];
    assert_eq!((&ip["location"], &ip["price_hourly"]["net"]), (&json!("fsn1"), &json!("0.0008000000")));
    assert!(ip.get("datacenter").is_none());
}

#[tokio::test]
async fn the_year_2025_had_them() {
    let mut options = exact();
    options.profile = Profile::Compat2025;
    let api = Api::with(options).await;
    let told = api.get("/datacenters").await;
    assert_eq!(told.body["datacenters"][0]["name"], "fsn1-dc14");
    assert_eq!(told.body["recommendation"], 4);
    assert_eq!(api.get("/datacenters/2").await.body["datacenter"]["location"]["name"], "nbg1");
    let made =
        api.post("/servers", server_with("w", json!({"location": null, "datacenter": "nbg1-dc3"}))).await;
    assert_eq!(made.body["server"]["datacenter"]["name"], "nbg1-dc3");
    assert_eq!(made.body["server"]["image"]["deprecated"], Value::Null);
    assert!(made.body["server"]["image"].get("deprecation").is_none());
    let types = api.get("/server_types?name=cx22").await;
    assert_eq!(types.body["server_types"][0]["deprecated"], true);
}

#[tokio::test]
async fn images_have_a_row_for_each_architecture() {
    let api = Api::new().await;
    let told = api.get("/images?name=debian-13&architecture=arm").await;
    assert_eq!(told.body["images"].as_array().unwrap().len(), 1);
    assert_eq!(api.get("/images?name=ubuntu-20.04").await.body["images"], json!([]));
    let told = api.get("/images?name=ubuntu-20.04&include_deprecated=true").await;
    assert_eq!(told.body["images"].as_array().unwrap().len(), 2);
    assert_eq!(api.get("/images?type=app").await.body["images"][0]["name"], "docker-ce");
}

#[tokio::test]
async fn stock_and_deprecation_change_while_one_looks() {
    let api = Api::new().await;
    let out = |location: &str| Deed::Stock {
        server_type: "cpx12".into(),
        location: Some(location.into()),
        available: false,
        for_seconds: Some(60),
    };
    api.stand.happen(out("fsn1")).unwrap();
    let told = api.post("/servers", server("w")).await;
    assert_eq!(told.code(), (412, "resource_unavailable"));
    assert_eq!(api.post("/servers", server_with("x", json!({"location": "nbg1"}))).await.status, 201);
    let shown = api.get("/server_types/109").await.body["server_type"]["locations"].clone();
    assert_eq!((&shown[0]["available"], &shown[1]["available"]), (&json!(false), &json!(true)));
    api.step(60);
    assert_eq!(api.post("/servers", server("w")).await.status, 201);
    api.stand.happen(Deed::Deprecate { server_type: "cpx12".into(), after_seconds: 10 }).unwrap();
    assert_eq!(api.post("/servers", server("y")).await.status, 201);
    api.step(10);
    assert_eq!(api.post("/servers", server("z")).await.code(), (422, "invalid_input"));
    assert!(api.stand.happen(Deed::Deprecate { server_type: "cpx99".into(), after_seconds: 10 }).is_err());
}

#[tokio::test]
async fn a_project_has_limits() {
    let api = Api::new().await;
    let check = async |servers, cores, primary_ips, limit: &str| {
        api.stand.happen(Deed::Limits { servers, cores, primary_ips }).unwrap();
        let told = api.post("/servers", server("more")).await;
        assert_eq!(told.code(), (403, "resource_limit_exceeded"));
        assert_eq!(told.body["error"]["details"], json!({"limits": [{"name": limit}]}));
    };
    api.create("w").await;
    check(1, 99, 99, "server_limit").await;
    check(9, 1, 99, "cores_limit").await;
    check(9, 9, 3, "primary_ip_limit").await;
    api.stand.happen(Deed::Limits { servers: 2, cores: 2, primary_ips: 4 }).unwrap();
    api.create("x").await;
}
