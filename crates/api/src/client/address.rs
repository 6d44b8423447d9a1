//! How a client gets to an address, and how one is written. What is said there is the client's.

use serde::Serialize;

use super::CONNECT_DEADLINE;

pub(super) fn is_tls(url: &str) -> bool {
    !url.starts_with("http://")
}

/// True when `url` is on this machine. No proxy leads there, whatever the environment says.
fn is_loopback(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    ["127.", "localhost", "[::1]"].iter().any(|start| host.starts_with(start))
}

/// Connections to `url`. Reading the machine's certificates takes tens of milliseconds, and fails on a machine that
/// has none: where no TLS is spoken it is left out.
pub(super) fn transport(url: &str) -> Result<reqwest::Client, reqwest::Error> {
    let mut http = reqwest::Client::builder()
        .connect_timeout(CONNECT_DEADLINE)
        // Whoever sends us elsewhere must not be handed the headers, a key among them.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("rgrid/", env!("CARGO_PKG_VERSION")))
        .tcp_nodelay(true);
    if !is_tls(url) {
        http = http.tls_certs_only([]);
    }
    if is_loopback(url) {
        http = http.no_proxy();
    }
    http.build()
}

/// A text as one part of a path: everything but unreserved characters escaped (RFC 3986, section 2.3).
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Appends a flat struct as a query.
pub(super) fn with_query(path: &str, query: &impl Serialize) -> String {
    let value = serde_json::to_value(query).expect("a query is a flat struct of texts and numbers");
    let pairs: Vec<String> = value
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| match value {
            serde_json::Value::Null => None,
            serde_json::Value::String(text) => Some(format!("{name}={}", escaped(text))),
            other @ (serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_)) => Some(format!("{name}={}", escaped(&other.to_string()))),
        })
        .collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}
