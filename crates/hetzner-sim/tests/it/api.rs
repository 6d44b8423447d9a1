//! A stand-in and a client of it that says what it wants in one line.

use std::time::Duration;

use hetzner_sim::{Options, Stand, Timings};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

pub(crate) struct Api {
    pub(crate) stand: Stand,
    client: reqwest::Client,
}

/// Status, body, headers.
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) headers: reqwest::header::HeaderMap,
}

impl Told {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn code(&self) -> (u16, &str) {
        (self.status, self.body["error"]["code"].as_str().unwrap_or_default())
    }
}

/// Midday, far from the end of a month.
pub(crate) const START: &str = "2026-11-10T12:00:00Z";

pub(crate) fn exact() -> Options {
    Options {
        start: Some(START.parse().unwrap()),
        timings: Timings { jitter_percent: 0, ..Timings::default() },
        ..Options::default()
    }
}

impl Api {
    pub(crate) async fn new() -> Self {
        Self::with(exact()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        // The client wants one even where nothing is encrypted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { stand: Stand::start(options).await.unwrap(), client }
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        token: &str,
    ) -> Result<Told, reqwest::Error> {
        let root = if path.starts_with("/_sim") { self.stand.root() } else { self.stand.endpoint() };
        let mut request = self.client.request(method, format!("{root}{path}")).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        if status == StatusCode::NO_CONTENT {
            assert_eq!(text, "");
        } else {
            assert_eq!(headers["content-type"], "application/json", "{text}");
        }
        Ok(Told { status, body: serde_json::from_str(&text).unwrap_or(Value::Null), headers })
    }

    pub(crate) async fn get(&self, path: &str) -> Told {
        self.send(Method::GET, path, None, self.stand.token()).await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Told {
        self.send(Method::POST, path, Some(&body), self.stand.token()).await.unwrap()
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Told {
        self.send(Method::PUT, path, Some(&body), self.stand.token()).await.unwrap()
    }

    pub(crate) async fn delete(&self, path: &str) -> Told {
        self.send(Method::DELETE, path, None, self.stand.token()).await.unwrap()
    }

    /// A server of this name, in whatever state it is after the request; its id.
    pub(crate) async fn create(&self, name: &str) -> i64 {
        let told = self.post("/servers", server(name)).await;
        assert_eq!(told.status, 201, "{}", told.body);
        told.body["server"]["id"].as_i64().unwrap()
    }

    /// A server that is on, and whose system is up.
    pub(crate) async fn running(&self, name: &str) -> i64 {
        let id = self.create(name).await;
        self.step(60);
        assert_eq!(self.status(id).await, "running");
        id
    }

    pub(crate) async fn status(&self, id: i64) -> String {
        let told = self.get(&format!("/servers/{id}")).await;
        told.body["server"]["status"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn step(&self, seconds: u64) {
        self.stand.step(Duration::from_secs(seconds));
    }
}

pub(crate) fn server(name: &str) -> Value {
    json!({
        "name": name, "server_type": "cpx12", "image": "debian-13", "location": "fsn1",
        "labels": {"rgrid/role": "worker"}, "user_data": "#cloud-config\n",
    })
}

/// `server(name)` with other fields.
pub(crate) fn server_with(name: &str, fields: Value) -> Value {
    let mut body = server(name);
    for (key, value) in fields.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}
