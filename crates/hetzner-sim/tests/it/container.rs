//! Servers that are containers: systemd boots, real cloud-init fetches the user data from the metadata address and runs it.

use std::sync::Arc;

use hetzner_sim::Guests;
use serde_json::json;

use crate::api::{Api, exact, server_with};
use crate::engine::{Engine, IMAGE, with_engine};

/// What the server is told to do at its first boot.
const USER_DATA: &str = "#cloud-config
write_files:
- path: /root/given
  content: by cloud-init
runcmd:
- curl --silent --fail http://169.254.169.254/hetzner/v1/metadata/hostname --output /root/asked
- curl --silent --fail http://169.254.169.254/hetzner/v1/userdata --output /root/user-data
- touch /root/done
";

#[test]
fn a_container_boots_by_cloud_init_and_ends_with_its_server() {
    with_engine(boot);
}

async fn boot(engine: Arc<Engine>) {
    let mut options = exact();
    options.guests = Guests::Container { image: IMAGE.to_owned(), engine: Some(engine.address()) };
    let api = Api::with(options).await;
    let told = api.post("/servers", server_with("w1", json!({"user_data": USER_DATA}))).await;
    let id = told.body["server"]["id"].as_i64().unwrap();
    api.step(30);
    assert_eq!(api.status(id).await, "running");
    let name = engine.until("it runs", |engine| Some(engine.running()).filter(|name| !name.is_empty())).await;
    assert!(name.ends_with(&id.to_string()), "{name}");
    let read = |file: &str| engine.docker(&["exec", &name, "cat", file]);
    engine.until("cloud-init is done", |_| read("/root/done")).await;
    assert_eq!(read("/root/given").unwrap(), "by cloud-init");
    assert_eq!(read("/root/asked").unwrap(), "w1");
    assert_eq!(read("/root/user-data").unwrap(), USER_DATA.trim());
    assert_eq!(read("/proc/1/comm").unwrap(), "systemd");
    assert_eq!(
        engine.docker(&["exec", &name, "cloud-init", "query", "instance_id"]).unwrap(),
        id.to_string()
    );

    api.post(&format!("/servers/{id}/actions/poweroff"), json!({})).await;
    api.step(5);
    engine.until("it is killed with the power", |engine| engine.running().is_empty().then_some(())).await;
    api.post(&format!("/servers/{id}/actions/poweron"), json!({})).await;
    api.step(5);
    engine.until("it runs again", |engine| (engine.running() == name).then_some(())).await;
    // The disk is the same.
    assert_eq!(read("/root/given").unwrap(), "by cloud-init");
    api.delete(&format!("/servers/{id}")).await;
    engine.until("it is gone with its server", Engine::none_left).await;

    api.running("w2").await;
    engine.until("another runs", |engine| Some(engine.running()).filter(|name| !name.is_empty())).await;
    api.stand.stop().await;
    assert_eq!(engine.none_left(), Some(String::new()), "it is gone with the stand-in");
}
