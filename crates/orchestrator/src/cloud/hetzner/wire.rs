//! What the provider sends, as little of it as is needed. Every field that can be done without is optional, every word is
//! open, and what is not known is skipped: fields have come and gone each year, and an answer to a create that cannot be
//! read is a server that nobody knows.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer};

/// A value, or nothing when it is absent, null or of another shape.
fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

/// A list without the members that cannot be read.
fn readable<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    let serde_json::Value::Array(members) = value else { return Ok(Vec::new()) };
    Ok(members.into_iter().filter_map(|member| serde_json::from_value(member).ok()).collect())
}

/// A server. Without labels it is nobody's that we know.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Server {
    pub(super) id: u64,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) created: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) labels: Option<BTreeMap<String, String>>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) location: Option<Named>,
    /// Its type as it is sold today: right after a create, what this server costs.
    #[serde(default, deserialize_with = "lenient")]
    pub(super) server_type: Option<Sold>,
}

/// Something of which the name is enough.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Named {
    pub(super) name: String,
}

/// What a type costs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Sold {
    #[serde(default, deserialize_with = "readable")]
    pub(super) prices: Vec<TypePrice>,
}

/// The answer to a create, and to a look at one server.
#[derive(Debug, Deserialize)]
pub(super) struct One {
    pub(super) server: Server,
}

/// A page of servers. A member that cannot be read must not look like an absent one: the whole page is unreadable then.
#[derive(Debug, Deserialize)]
pub(super) struct Servers {
    pub(super) servers: Vec<Server>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) meta: Option<Meta>,
}

/// A public address.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct PrimaryIp {
    pub(super) id: u64,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) ip: Option<String>,
    #[serde(default, rename = "type", deserialize_with = "lenient")]
    pub(super) kind: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) assignee_id: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) created: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) labels: Option<BTreeMap<String, String>>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) location: Option<Named>,
}

/// A page of them, whole or unreadable as one of servers is.
#[derive(Debug, Deserialize)]
pub(super) struct PrimaryIps {
    pub(super) primary_ips: Vec<PrimaryIp>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) meta: Option<Meta>,
}

/// A public key that the provider knows.
#[derive(Debug, Deserialize)]
pub(super) struct SshKey {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) public_key: Option<String>,
}

/// A page of them.
#[derive(Debug, Deserialize)]
pub(super) struct SshKeys {
    #[serde(default, deserialize_with = "readable")]
    pub(super) ssh_keys: Vec<SshKey>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) meta: Option<Meta>,
}

/// The answer to a new one, of which nothing need be read.
#[derive(Debug, Deserialize)]
pub(super) struct OneSshKey {}

/// Where a page stands.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Meta {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) pagination: Option<Pagination>,
}

/// The page after this one.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Pagination {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) next_page: Option<u32>,
}

/// The page after this one, if there is one.
pub(super) fn next_page(meta: Option<&Meta>) -> Option<u32> {
    meta.and_then(|meta| meta.pagination.as_ref()).and_then(|pagination| pagination.next_page)
}

/// A page of types.
#[derive(Debug, Deserialize)]
pub(super) struct ServerTypes {
    #[serde(deserialize_with = "readable")]
    pub(super) server_types: Vec<ServerType>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) meta: Option<Meta>,
}

/// A type.
#[derive(Debug, Deserialize)]
pub(super) struct ServerType {
    pub(super) name: String,
    pub(super) cores: u32,
    /// GB, of 2^30 bytes.
    pub(super) memory: f64,
    pub(super) disk: f64,
    /// Without the word it is what nearly all are.
    #[serde(default, deserialize_with = "lenient")]
    pub(super) architecture: Option<String>,
    #[serde(default, deserialize_with = "readable")]
    pub(super) prices: Vec<TypePrice>,
    #[serde(default, deserialize_with = "readable")]
    pub(super) locations: Vec<TypeLocation>,
    /// From the time before locations had one each.
    #[serde(default, deserialize_with = "lenient")]
    pub(super) deprecation: Option<Deprecation>,
}

/// What a type costs at a location.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct TypePrice {
    pub(super) location: String,
    pub(super) price_hourly: Amount,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) price_monthly: Option<Amount>,
}

/// A decimal.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Amount {
    pub(super) net: String,
}

/// A type at a location.
#[derive(Debug, Deserialize)]
pub(super) struct TypeLocation {
    pub(super) name: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) available: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) deprecation: Option<Deprecation>,
}

/// An announced end.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Deprecation {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) unavailable_after: Option<DateTime<Utc>>,
}

/// All prices; only those of addresses are read here.
#[derive(Debug, Deserialize)]
pub(super) struct PricingBody {
    pub(super) pricing: Pricing,
}

/// What is in it.
#[derive(Debug, Deserialize)]
pub(super) struct Pricing {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) currency: Option<String>,
    #[serde(default, deserialize_with = "readable")]
    pub(super) primary_ips: Vec<AddressPrices>,
}

/// What addresses of a kind cost.
#[derive(Debug, Deserialize)]
pub(super) struct AddressPrices {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default, deserialize_with = "readable")]
    pub(super) prices: Vec<TypePrice>,
}

/// The body of everything that is not a success.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ErrorBody {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) error: Option<ErrorWords>,
}

/// Its words.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ErrorWords {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) code: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) message: Option<String>,
}
