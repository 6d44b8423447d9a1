//! What can be ordered: locations, server types with their prices, the provider's own images. Data, and how it is shown.

mod images;
mod locations;
mod pricing;
mod server_types;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use images::{Image, ImageKind, ImageState};
pub(crate) use locations::{LOCATIONS, Location, datacenter};
pub(crate) use pricing::{IPV4_HOURLY, IPV4_MONTHLY};
pub(crate) use server_types::{Deprecation, ServerType, traffic};

/// The catalog as it is now: prices, stock and deprecations may change while the world runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Catalog {
    pub(crate) types: Vec<ServerType>,
    pub(crate) images: Vec<Image>,
}

/// Whether a value in a request, an id or a name, means this one. Ids may be sent as text.
pub(crate) fn means(which: &Value, id: i64, name: &str) -> bool {
    match which {
        Value::Number(number) => number.as_i64() == Some(id),
        Value::String(text) => text == name || text.parse() == Ok(id),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
    }
}

impl Catalog {
    pub(crate) fn new() -> Self {
        Self { types: server_types::all(), images: images::all() }
    }

    pub(crate) fn server_type(&self, which: &Value) -> Option<&ServerType> {
        self.types.iter().find(|one| means(which, one.id, &one.name))
    }

    pub(crate) fn server_type_mut(&mut self, name: &str) -> Option<&mut ServerType> {
        self.types.iter_mut().find(|one| one.name == name)
    }

    pub(crate) fn type_of(&self, id: i64) -> &ServerType {
        self.types.iter().find(|one| one.id == id).expect("types are never removed")
    }

    pub(crate) fn pricing(&self) -> Value {
        pricing::pricing(&self.types)
    }
}

pub(crate) fn location(which: &Value) -> Option<&'static Location> {
    LOCATIONS.iter().find(|one| means(which, one.id, one.name))
}

/// A location that a server or type was stored with.
pub(crate) fn location_of(name: &str) -> &'static Location {
    LOCATIONS.iter().find(|one| one.name == name).expect("locations are never removed")
}

/// Whether a deprecation, if any, has come into force.
pub(crate) fn is_gone(deprecation: Option<&Deprecation>, now: DateTime<Utc>) -> bool {
    deprecation.is_some_and(|deprecation| deprecation.unavailable_after <= now)
}
