//! Each fault does what it says.

use hetzner_sim::{Deed, Effect, Fate, Fault, Guest, Matching};
use reqwest::Method;
use serde_json::json;

use crate::api::{Api, exact, server, server_with};

fn creates() -> Matching {
    Matching::request("POST", "/servers")
}

async fn post(api: &Api, body: &serde_json::Value) -> Result<crate::api::Told, reqwest::Error> {
    api.send(Method::POST, "/servers", Some(body), api.stand.token()).await
}

#[tokio::test]
async fn a_create_is_lost_before_or_after_it_is_done() {
    let api = Api::new().await;
    api.stand.inject(Fault::once(creates(), Effect::ResetBefore)).unwrap();
    assert!(post(&api, &server("a")).await.is_err());
    assert_eq!(api.stand.servers().len(), 0);
    api.stand.inject(Fault::once(creates(), Effect::ResetAfter)).unwrap();
    assert!(post(&api, &server("a")).await.is_err());
    assert_eq!(api.stand.servers().len(), 1);
    api.stand.inject(Fault::once(creates(), Effect::ErrorAfter { code: "server_error".into() })).unwrap();
    assert_eq!(post(&api, &server("b")).await.unwrap().code(), (500, "server_error"));
    assert_eq!(api.stand.servers().len(), 2);
    api.stand.inject(Fault::once(creates(), Effect::DelayedCommit { seconds: 30 })).unwrap();
    assert_eq!(post(&api, &server("c")).await.unwrap().code(), (504, "timeout"));
    assert_eq!(api.get("/servers?name=c").await.body["servers"], json!([]));
    api.step(30);
    assert_eq!(api.get("/servers?name=c").await.body["servers"][0]["status"], "initializing");
    let hits: Vec<u64> = api.stand.faults().iter().map(|standing| standing.hits).collect();
    assert_eq!(hits, [1, 1, 1, 1]);
    let statuses: Vec<_> = api
        .stand
        .requests(0)
        .iter()
        .filter(|r| r.method == "POST")
        .map(|r| (r.status, r.faults.clone()))
        .collect();
    assert_eq!(statuses, [(None, vec![1]), (None, vec![2]), (Some(500), vec![3]), (Some(504), vec![4])]);
}

#[tokio::test]
async fn errors_by_code_with_their_statuses() {
    let api = Api::new().await;
    for (code, status) in [
        ("rate_limit_exceeded", 429),
        ("conflict", 409),
        ("locked", 423),
        ("resource_unavailable", 412),
        ("placement_error", 422),
        ("resource_limit_exceeded", 403),
        ("unauthorized", 401),
        ("server_error", 500),
        ("unavailable", 503),
        ("timeout", 504),
        ("never_heard_of", 500),
    ] {
        let effect = Effect::Error { code: code.into(), status: None, message: None };
        api.stand.inject(Fault::once(Matching::default(), effect)).unwrap();
        let told = api.post("/servers", server("w")).await;
        assert_eq!(told.code(), (status, code));
        assert!(!told.header("x-correlation-id").is_empty());
    }
    assert_eq!(api.stand.servers().len(), 0);
}

#[tokio::test]
async fn a_cell_is_sold_out_for_a_while() {
    let api = Api::new().await;
    let on = Matching { server_type: Some("cpx12".into()), location: Some("fsn1".into()), ..creates() };
    let effect = Effect::Error { code: "resource_unavailable".into(), status: None, message: None };
    api.stand.inject(Fault { for_seconds: Some(60), ..Fault::sticky(on, effect) }).unwrap();
    assert_eq!(api.post("/servers", server("a")).await.status, 412);
    assert_eq!(api.post("/servers", server_with("a", json!({"location": null}))).await.status, 412);
    assert_eq!(api.post("/servers", server_with("b", json!({"location": "nbg1"}))).await.status, 201);
    assert_eq!(api.post("/servers", server_with("c", json!({"server_type": "cpx22"}))).await.status, 201);
    api.step(60);
    assert_eq!(api.post("/servers", server("a")).await.status, 201);
}

#[tokio::test]
async fn answers_come_broken() {
    let api = Api::new().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async || {
        let request = client.get(format!("{}/servers", api.stand.endpoint())).bearer_auth(api.stand.token());
        let response = request.send().await.unwrap();
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        (response.status().as_u16(), kind, response.text().await.unwrap())
    };
    api.stand.inject(Fault::once(Matching::default(), Effect::Html { status: 502 })).unwrap();
    let (status, kind, text) = ask().await;
    assert_eq!((status, kind.as_str(), text.contains("<html>")), (502, "text/html", true));
    api.stand.inject(Fault::once(Matching::default(), Effect::Truncated)).unwrap();
    let (status, _, text) = ask().await;
    assert!(
        status == 200 && text.starts_with('{') && serde_json::from_str::<serde_json::Value>(&text).is_err()
    );
    api.stand.inject(Fault::once(Matching::default(), Effect::SlowBody { millis: 1 })).unwrap();
    api.stand.inject(Fault::once(Matching::default(), Effect::Latency { millis: 1 })).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&ask().await.2).is_ok());
    assert_eq!(api.stand.faults().iter().map(|standing| standing.hits).sum::<u64>(), 4);
}

#[tokio::test]
async fn the_budget_and_the_token_fail_mid_run() {
    let api = Api::new().await;
    api.stand.happen(Deed::Drain { left: 1 }).unwrap();
    assert_eq!(api.get("/servers").await.status, 200);
    assert_eq!(api.get("/servers").await.status, 429);
    api.step(2);
    api.stand.inject(Fault::once(Matching::default(), Effect::Drain { left: 0 })).unwrap();
    assert_eq!(api.get("/servers").await.status, 429);
    api.step(5);
    let token = |valid| Deed::Token { token: api.stand.token().to_owned(), valid };
    api.stand.happen(token(false)).unwrap();
    assert_eq!(api.get("/servers").await.code(), (401, "unauthorized"));
    api.stand.happen(token(true)).unwrap();
    assert_eq!(api.get("/servers").await.status, 200);
}

/// What a doomed server looks like after ten minutes: its status, its lock, its create action, its guest.
async fn doomed(fates: Vec<Fate>) -> (String, bool, String, Guest, bool) {
    let api = Api::new().await;
    api.stand.inject(Fault::once(creates(), Effect::Doom { fates })).unwrap();
    let told = api.post("/servers", server("w")).await;
    assert_eq!(told.status, 201);
    let id = told.body["server"]["id"].as_i64().unwrap();
    api.step(30);
    let locked = api.get(&format!("/servers/{id}")).await.body["server"]["locked"].as_bool().unwrap();
    api.step(570);
    let action = api.get(&format!("/actions/{}", told.body["action"]["id"])).await;
    let action = action.body["action"]["status"].as_str().unwrap_or("not found").to_owned();
    let view = api.stand.servers().remove(0);
    // Whatever happens to it, it costs, and can be deleted.
    assert_eq!(api.stand.ledger().micros, 19_200);
    assert_eq!(api.delete(&format!("/servers/{id}")).await.status, 200);
    let status = serde_json::to_value(view.status).unwrap().as_str().unwrap().to_owned();
    (status, locked, action, view.guest, view.cut_off)
}

#[tokio::test]
async fn servers_are_doomed_in_every_way() {
    let expect = |status: &str, locked, action: &str, guest, cut_off| {
        (status.to_owned(), locked, action.to_owned(), guest, cut_off)
    };
    let code = || "action_failed".to_owned();
    assert_eq!(doomed(vec![]).await, expect("running", false, "success", Guest::Up, false));
    assert_eq!(
        doomed(vec![Fate::CreateFails { code: code() }]).await,
        expect("initializing", false, "error", Guest::Off, false)
    );
    assert_eq!(
        doomed(vec![Fate::StartFails { code: code() }]).await,
        expect("off", false, "success", Guest::Off, false)
    );
    assert_eq!(
        doomed(vec![Fate::CreateSticks]).await,
        expect("initializing", true, "running", Guest::Off, false)
    );
    assert_eq!(doomed(vec![Fate::StartSticks]).await, expect("starting", true, "success", Guest::Off, false));
    assert_eq!(
        doomed(vec![Fate::CreateVanishes]).await,
        expect("running", false, "not found", Guest::Up, false)
    );
    assert_eq!(
        doomed(vec![Fate::NeverBoots]).await,
        expect("running", false, "success", Guest::Booting, false)
    );
    assert_eq!(
        doomed(vec![Fate::DiesAfter { seconds: 9 }]).await,
        expect("running", false, "success", Guest::Dead, false)
    );
    assert_eq!(
        doomed(vec![Fate::CutOffAfter { seconds: 9 }]).await,
        expect("running", false, "success", Guest::Up, true)
    );
    assert_eq!(
        doomed(vec![Fate::PowerFailsAfter { seconds: 9 }]).await,
        expect("off", false, "success", Guest::Off, false)
    );
}

#[tokio::test]
async fn a_guest_without_metadata_and_one_that_ignores_the_button() {
    let api = Api::new().await;
    let fates = vec![Fate::MetadataDown, Fate::IgnoresAcpi];
    api.stand.inject(Fault::once(creates(), Effect::Doom { fates })).unwrap();
    let id = api.running("w").await;
    assert_eq!(api.stand.metadata(id, "/hetzner/v1/userdata"), None);
    let told = api.post(&format!("/servers/{id}/actions/shutdown"), json!({})).await;
    api.step(60);
    let action = api.get(&format!("/actions/{}", told.body["action"]["id"])).await;
    assert_eq!(
        (action.body["action"]["status"].as_str(), api.status(id).await.as_str()),
        (Some("success"), "running")
    );
    api.post(&format!("/servers/{id}/actions/poweroff"), json!({})).await;
    api.step(60);
    assert_eq!(api.status(id).await, "off");
}

#[tokio::test]
async fn things_happen_behind_our_back() {
    let api = Api::new().await;
    let id = api.running("w").await;
    api.stand.happen(Deed::PowerOff { server: "w".into() }).unwrap();
    assert_eq!(api.status(id).await, "off");
    let labels = [("rgrid/role".to_owned(), "worker".to_owned())].into();
    api.stand.happen(Deed::ForeignServer { name: "x".into(), labels }).unwrap();
    assert_eq!(api.post("/servers", server("x")).await.code(), (409, "uniqueness_error"));
    let seen = api.get("/servers?label_selector=rgrid/role%3Dworker").await;
    assert_eq!(seen.body["servers"].as_array().unwrap().len(), 2);
    api.stand.happen(Deed::DeleteServer { server: id.to_string() }).unwrap();
    assert_eq!(api.get(&format!("/servers/{id}")).await.code(), (404, "not_found"));
    for deed in [Deed::KillGuest { server: "x".into() }, Deed::CutOff { server: "x".into() }] {
        api.stand.happen(deed).unwrap();
    }
    let view = api.stand.servers().remove(0);
    assert_eq!((view.guest, view.cut_off), (Guest::Dead, true));
    assert!(api.stand.happen(Deed::PowerOff { server: "w".into() }).is_err());
}

#[tokio::test]
async fn lists_are_stale_repeated_or_empty() {
    let api = Api::new().await;
    let old = api.create("old").await;
    api.step(60);
    let new = api.create("new").await;
    api.delete(&format!("/servers/{old}")).await;
    let lists = Matching::request("GET", "/servers");
    let ids = async || {
        let told = api.get("/servers").await;
        let all = told.body["servers"].as_array().unwrap().clone();
        all.iter().map(|server| server["id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(ids().await, [new]);
    api.step(5);
    api.stand.inject(Fault::once(lists.clone(), Effect::Stale { seconds: 10 })).unwrap();
    assert_eq!(ids().await, [old]);
    api.stand.inject(Fault::once(lists.clone(), Effect::Repeats)).unwrap();
    assert_eq!(ids().await, [new, new]);
    api.stand.inject(Fault::once(lists, Effect::EmptyList)).unwrap();
    assert_eq!(ids().await, [0_i64; 0]);
    assert_eq!(ids().await, [new]);
}

#[tokio::test]
async fn answers_have_other_fields_and_another_date() {
    let api = Api::new().await;
    let id = api.running("w").await;
    let set = Effect::Set { pointer: "/server/status".into(), value: json!("hibernating") };
    api.stand.inject(Fault::once(Matching::default(), set)).unwrap();
    api.stand
        .inject(Fault::once(Matching::default(), Effect::Remove { pointer: "/**/ipv6".into() }))
        .unwrap();
    api.stand.inject(Fault::once(Matching::default(), Effect::DateSkew { seconds: 3600 })).unwrap();
    let told = api.get(&format!("/servers/{id}")).await;
    assert_eq!(told.body["server"]["status"], "hibernating");
    assert!(told.body["server"]["public_net"].get("ipv6").is_none());
    assert_eq!(told.header("date"), "Tue, 10 Nov 2026 13:01:00 GMT");
    assert_eq!(api.status(id).await, "running");
}

#[tokio::test]
async fn faults_are_set_and_cleared_over_http() {
    let api = Api::with(exact()).await;
    let fault =
        json!({"on": {"method": "GET"}, "effect": {"kind": "error", "code": "unavailable"}, "times": null});
    let told = api.post("/_sim/faults", fault).await;
    assert_eq!((told.status, &told.body["number"]), (201, &json!(1)));
    assert_eq!(api.get("/servers").await.status, 503);
    let told = api.get("/_sim/faults").await;
    assert_eq!(told.body["faults"][0]["hits"], 1);
    assert_eq!(api.delete("/_sim/faults/1").await.status, 204);
    assert_eq!(api.delete("/_sim/faults/1").await.status, 404);
    assert_eq!(api.get("/servers").await.status, 200);
    assert_eq!(api.post("/_sim/faults", json!({"effect": {"kind": "meteor"}})).await.status, 422);
    let deed = json!({"deed": "foreign_server", "name": "theirs"});
    assert_eq!(api.post("/_sim/faults", deed).await.status, 201);
    assert_eq!(api.get("/_sim/servers").await.body["servers"][0]["name"], "theirs");
    let told = api.post("/_sim/clock", json!({"step_seconds": 90})).await;
    assert_eq!(told.body["now"], "2026-11-10T12:01:30Z");
    assert_eq!(api.get("/_sim/servers").await.body["servers"][0]["guest"], "up");
    assert_eq!(api.delete("/_sim/faults").await.status, 204);
}
