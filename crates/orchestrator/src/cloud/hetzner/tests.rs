//! What is read of the provider's answers, and what is sent.

use rgrid_core::runtime::SandboxKind;
use rgrid_store::servers::server_name;
use serde_json::{Value, json};

use super::*;
use crate::cloud::ServerWish;

fn hetzner() -> Hetzner {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Hetzner::new(Config {
        endpoint: "http://127.0.0.1:1/v1".to_owned(),
        token: Token::new("a".repeat(64)),
        grid: GridId::new(1, [1; 10]),
        epoch: 7,
        image: "debian-13".to_owned(),
        ipv4: true,
        ipv6: true,
        network: None,
        ssh_keys: Vec::new(),
        ssh_public_key: None,
        boot: Boot {
            api_url: "https://grid.example.com".to_owned(),
            binary_sha256: "ab".repeat(32),
            sandbox: SandboxKind::Process,
            images: Vec::new(),
        },
        probe: PROBE,
    })
    .unwrap()
}

fn wish() -> Wish {
    let intent = IntentId::new(2, [2; 10]);
    Wish {
        worker: WorkerId::new(3, [3; 10]),
        join_token: "rgj_secret".to_owned(),
        server: Some(ServerWish {
            intent,
            name: server_name(intent),
            machine_type: "cpx12".to_owned(),
            location: "fsn1".to_owned(),
        }),
    }
}

fn server() -> Value {
    let hetzner = hetzner();
    let wish = wish();
    let intent = wish.server.as_ref().unwrap().intent;
    json!({"id": 117_017_457_000_u64, "name": server_name(intent), "status": "initializing",
        "created": "2026-11-23T11:15:58Z", "labels": hetzner.labels(intent, wish.worker),
        "public_net": {"ipv4": {"id": 9, "ip": "203.0.113.10"}, "ipv6": null}, "private_net": [],
        "server_type": {"id": 109, "name": "cpx12"}, "location": {"id": 1, "name": "fsn1"}, "image": null,
        "locked": false, "protection": {"delete": false}, "volumes": []})
}

/// Every body that lacks one field, or has another word or shape in its place.
fn variations(body: &Value) -> Vec<(String, Value)> {
    fn walk(value: &Value, pointer: &str, found: &mut Vec<String>) {
        let children: Vec<(String, &Value)> = match value {
            Value::Object(fields) => fields.iter().map(|(k, v)| (k.replace('/', "~1"), v)).collect(),
            Value::Array(members) => members.iter().enumerate().map(|(n, v)| (n.to_string(), v)).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
        };
        for (key, child) in children {
            let at = format!("{pointer}/{key}");
            walk(child, &at, found);
            found.push(at);
        }
    }
    let mut pointers = Vec::new();
    walk(body, "", &mut pointers);
    let mut all = Vec::new();
    for pointer in pointers {
        for other in [Value::Null, json!("a_new_word"), json!({"a": "new shape"}), json!(-1)] {
            let mut changed = body.clone();
            *changed.pointer_mut(&pointer).unwrap() = other.clone();
            all.push((format!("{pointer} = {other}"), changed));
        }
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let mut removed = body.clone();
        if let Some(Value::Object(fields)) = removed.pointer_mut(parent) {
            fields.remove(&key.replace("~1", "/"));
            all.push((format!("{pointer} removed"), removed));
        }
    }
    all
}

#[test]
fn an_answer_to_a_create_is_read_whatever_else_than_its_id_is_missing_or_new() {
    let body = json!({"server": server(), "action": {"id": 1, "command": "create_server", "status": "running",
        "progress": 0, "error": null}, "next_actions": [], "root_password": null});
    for (what, changed) in variations(&body) {
        let read = serde_json::from_value::<wire::One>(changed);
        let essential =
            what.starts_with("/server/id") || what.starts_with("/server =") || what == "/server removed";
        assert!(read.is_ok() || essential, "{what}: {read:?}");
    }
}

#[test]
fn a_listing_is_read_with_anything_missing_or_new_and_takes_nobody_elses_server_for_ours() {
    let body = json!({"servers": [server()], "meta": {"pagination": {"page": 1, "per_page": 50,
        "previous_page": null, "next_page": null, "last_page": 1, "total_entries": 1}}});
    let hetzner = hetzner();
    let whole: wire::Servers = serde_json::from_value(body.clone()).unwrap();
    assert!(hetzner.ours(&whole.servers[0]).is_some());
    for (what, changed) in variations(&body) {
        let read = serde_json::from_value::<wire::Servers>(changed);
        let essential = ["/servers =", "/servers removed", "/servers/0 =", "/servers/0/id"]
            .iter()
            .any(|start| what.starts_with(start));
        match read {
            Ok(read) => {
                let mark = what.starts_with("/servers/0/labels") || what.starts_with("/servers/0/name");
                let ours = read.servers.iter().filter_map(|server| hetzner.ours(server)).count();
                assert_eq!(ours, usize::from(!mark), "{what}");
            }
            Err(error) => assert!(essential, "{what}: {error}"),
        }
    }
}

#[test]
fn addresses_are_read_with_anything_missing_or_new_but_their_ids() {
    let body = json!({"primary_ips": [{"id": 42, "name": "primary_ip-42", "ip": "203.0.113.10", "type": "ipv4",
        "assignee_id": 17, "assignee_type": "server", "auto_delete": true, "blocked": false, "labels": {"team": "web"},
        "dns_ptr": [{"ip": "203.0.113.10", "dns_ptr": "x"}], "location": {"id": 1, "name": "fsn1"},
        "protection": {"delete": false}, "created": "2026-11-23T11:15:58Z"}],
        "meta": {"pagination": {"page": 1, "next_page": null}}});
    for (what, changed) in variations(&body) {
        let read = serde_json::from_value::<wire::PrimaryIps>(changed);
        let essential = ["/primary_ips =", "/primary_ips removed", "/primary_ips/0 =", "/primary_ips/0/id"];
        assert!(read.is_ok() || essential.iter().any(|start| what.starts_with(start)), "{what}: {read:?}");
    }
}

#[test]
fn a_catalog_is_read_with_anything_missing_or_new() {
    let types = json!({"server_types": [{"id": 109, "name": "cpx12", "description": "CPX 12", "category": "shared",
        "cores": 1, "memory": 2.0, "disk": 40, "storage_type": "local", "cpu_type": "shared", "architecture": "x86",
        "prices": [{"location": "fsn1", "price_hourly": {"net": "0.0184000000", "gross": "0.0218960000"},
            "price_monthly": {"net": "11.4900000000", "gross": "13.6731000000"}, "included_traffic": 1}],
        "locations": [{"id": 1, "name": "fsn1", "available": true, "recommended": true, "deprecation": null}]}],
        "meta": {"pagination": {"page": 1, "next_page": null}}});
    let prices = || -> wire::Pricing {
        serde_json::from_value(
            json!({"currency": "EUR", "primary_ips": [{"type": "ipv4", "prices": [{"location":
            "fsn1", "price_hourly": {"net": "0.0008"}, "price_monthly": {"net": "0.5"}}]}]}),
        )
        .unwrap()
    };
    let read = |body: Value| {
        let body: wire::ServerTypes = serde_json::from_value(body)?;
        Ok::<_, serde_json::Error>(catalog::read(body.server_types, prices()))
    };
    let whole = read(types.clone()).unwrap();
    let price = whole.price("cpx12", "fsn1", true).unwrap();
    assert_eq!((price.hour().0, price.server.month.map(|m| m.rounded().0)), (19_200, Some(11_490_000)));
    for (what, changed) in variations(&types) {
        let essential =
            ["/server_types =", "/server_types removed"].iter().any(|start| what.starts_with(start));
        assert!(read(changed).is_ok() || essential, "{what}");
    }
}

#[test]
fn an_error_is_read_whatever_it_looks_like() {
    let body = json!({"error": {"code": "invalid_input", "message": "no", "details": {"fields": []}}});
    for (what, changed) in variations(&body) {
        assert!(serde_json::from_value::<wire::ErrorBody>(changed).is_ok(), "{what}");
    }
}

#[test]
fn user_data_holds_one_secret_and_is_small() {
    let hetzner = hetzner();
    let (name, body) = hetzner.order(&wish(), None).unwrap();
    assert_eq!(name, server_name(wish().server.unwrap().intent));
    let data = body["user_data"].as_str().unwrap();
    assert!(data.len() < 8 << 10, "{}", data.len());
    assert!(data.starts_with("#cloud-config\n"));
    assert_eq!(data.matches("rgj_secret").count(), 1);
    assert!(!data.contains(&"a".repeat(64)), "never the provider's token");
    assert!(data.contains(&format!("https://grid.example.com/api/v1/binaries/{}", "ab".repeat(32))));
    for place in ["@API_URL@", "@SHA256@", "@PROGRAMS@", "@PACKAGES@"] {
        assert!(!data.contains(place), "{place} was not filled in");
    }
}

#[test]
fn servers_of_a_grid_that_runs_scripts_in_containers_get_an_engine_and_its_images() {
    let mut hetzner = hetzner();
    let mut text = |kind, images: &[&str]| {
        hetzner.config.boot.sandbox = kind;
        hetzner.config.boot.images = images.iter().map(ToString::to_string).collect();
        hetzner.order(&wish(), None).unwrap().1["user_data"].as_str().unwrap().to_owned()
    };
    let process = text(SandboxKind::Process, &[]);
    assert!(process.contains("RGRID_SANDBOX=process\n") && !process.contains("docker.io"), "{process}");
    assert!(process.contains(" bubblewrap nftables iproute2 ca-certificates curl;"), "{process}");
    let docker = text(SandboxKind::Docker, &["a=b:1", "c=d:2"]);
    let env = "    RGRID_SANDBOX=docker\n    RGRID_IMAGES=a=b:1,c=d:2\n";
    assert!(docker.contains(env) && docker.contains(" curl docker.io;"), "{docker}");
}

#[test]
fn a_server_may_have_ipv6_alone_or_only_a_private_network() {
    let ordered = |ipv4, ipv6, network| {
        let mut hetzner = hetzner();
        (hetzner.config.ipv4, hetzner.config.ipv6, hetzner.config.network) = (ipv4, ipv6, network);
        hetzner.order(&wish(), None).unwrap().1
    };
    let usual = ordered(true, true, None);
    let newer = ordered(false, true, None);
    assert_eq!(newer["public_net"], json!({"enable_ipv4": false, "enable_ipv6": true}));
    assert_eq!(newer.get("networks"), None);
    let private = ordered(false, false, Some(4711));
    assert_eq!(private["public_net"], json!({"enable_ipv4": false, "enable_ipv6": false}));
    assert_eq!(private["networks"], json!([4711]));
    for other in [&newer, &private] {
        assert_eq!(other["user_data"], usual["user_data"], "one text boots them all");
    }
}
