//! The places where servers stand.

use serde_json::{Value, json};

pub(crate) struct Location {
    pub(crate) id: i64,
    pub(crate) name: &'static str,
    description: &'static str,
    country: &'static str,
    city: &'static str,
    latitude: f64,
    longitude: f64,
    pub(crate) zone: &'static str,
    /// The datacenter that this location had when there were datacenters.
    datacenter: (i64, &'static str),
}

macro_rules! place {
    ($id:expr, $name:expr, $description:expr, $country:expr, $city:expr, $at:expr, $zone:expr, $datacenter:expr) => {
        Location {
            id: $id,
            name: $name,
            description: $description,
            country: $country,
            city: $city,
            latitude: $at.0,
            longitude: $at.1,
            zone: $zone,
            datacenter: $datacenter,
        }
    };
}

pub(crate) const LOCATIONS: &[Location] = &[
    place!(
        1,
        "fsn1",
        "Falkenstein DC Park 1",
        "DE",
        "Falkenstein",
        (50.47612, 12.370071),
        "eu-central",
        (4, "fsn1-dc14")
    ),
    place!(
        2,
        "nbg1",
        "Nuremberg DC Park 1",
        "DE",
        "Nuremberg",
        (49.452102, 11.076665),
        "eu-central",
        (2, "nbg1-dc3")
    ),
    place!(
        3,
        "hel1",
        "Helsinki DC Park 1",
        "FI",
        "Helsinki",
        (60.169855, 24.938379),
        "eu-central",
        (3, "hel1-dc2")
    ),
    place!(4, "ash", "Ashburn, VA", "US", "Ashburn, VA", (39.045821, -77.487073), "us-east", (5, "ash-dc1")),
    place!(
        5,
        "hil",
        "Hillsboro, OR",
        "US",
        "Hillsboro, OR",
        (45.54222, -122.951924),
        "us-west",
        (6, "hil-dc1")
    ),
    place!(6, "sin", "Singapore", "SG", "Singapore", (1.283333, 103.833333), "ap-southeast", (7, "sin-dc1")),
];

impl Location {
    pub(crate) fn show(&self) -> Value {
        json!({
            "id": self.id, "name": self.name, "description": self.description, "country": self.country,
            "city": self.city, "latitude": self.latitude, "longitude": self.longitude, "network_zone": self.zone,
        })
    }

    pub(crate) fn is_in_europe(&self) -> bool {
        self.zone == "eu-central"
    }
}

/// The datacenter of a location, for clients of 2025. `types` are the ids of those supported there, and of those that
/// can be ordered.
pub(crate) fn datacenter(location: &Location, types: Option<(Vec<i64>, Vec<i64>)>) -> Value {
    let (id, name) = location.datacenter;
    let (supported, available) = types.unwrap_or_default();
    json!({
        "id": id, "name": name, "description": format!("{} virtual DC", location.city), "location": location.show(),
        "server_types": {"supported": supported, "available": available, "available_for_migration": available},
    })
}
