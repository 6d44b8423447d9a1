//! The sizes of servers, as they were offered in September 2026: prices since 2026-06-15, and what could be ordered.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::call::stamp;
use crate::money::Nanos;

const TERABYTE: u64 = 1_099_511_627_776;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Deprecation {
    pub(crate) announced: DateTime<Utc>,
    pub(crate) unavailable_after: DateTime<Utc>,
}

impl Deprecation {
    pub(crate) fn show(&self) -> Value {
        json!({"announced": stamp(self.announced), "unavailable_after": stamp(self.unavailable_after)})
    }
}

/// A type at a location where it is supported.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Offer {
    pub(crate) location: String,
    /// Can be ordered now.
    pub(crate) available: bool,
    pub(crate) hourly: Nanos,
    pub(crate) monthly: Nanos,
    pub(crate) deprecation: Option<Deprecation>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ServerType {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) cores: u64,
    memory_gb: u64,
    pub(crate) disk_gb: u64,
    dedicated: bool,
    pub(crate) arm: bool,
    pub(crate) offers: Vec<Offer>,
}

const EU: &[&str] = &["fsn1", "nbg1", "hel1"];
const US: &[&str] = &["ash", "hil"];
const EU_SIN: &[&str] = &["fsn1", "nbg1", "hel1", "sin"];
const ALL: &[&str] = &["fsn1", "nbg1", "hel1", "ash", "hil", "sin"];

/// Id, name, cores, GB of memory, GB of disk, dedicated, arm, euros a month and an hour, where, whether it can be ordered.
type Row =
    (i64, &'static str, u64, u64, u64, bool, bool, &'static str, &'static str, &'static [&'static str], bool);

const ROWS: &[Row] = &[
    (22, "cpx11", 2, 2, 40, false, false, "17.49", "0.0280", US, true),
    (45, "cax11", 2, 4, 40, false, true, "5.99", "0.0096", EU, false),
    (93, "cax21", 4, 8, 80, false, true, "10.49", "0.0168", EU, false),
    (96, "ccx13", 2, 8, 80, true, false, "42.99", "0.0689", ALL, true),
    (104, "cx22", 2, 4, 40, false, false, "3.99", "0.0064", EU, false),
    (109, "cpx12", 1, 2, 40, false, false, "11.49", "0.0184", EU_SIN, true),
    (110, "cpx22", 2, 4, 80, false, false, "19.49", "0.0312", EU_SIN, true),
    (111, "cpx32", 4, 8, 160, false, false, "35.49", "0.0569", EU_SIN, true),
    (114, "cx23", 2, 4, 40, false, false, "5.49", "0.0088", EU, false),
    (115, "cx33", 4, 8, 80, false, false, "8.49", "0.0136", EU, false),
];

fn date(text: &str) -> DateTime<Utc> {
    text.parse().expect("dates of the table are well formed")
}

pub(super) fn all() -> Vec<ServerType> {
    ROWS.iter()
        .map(|&(id, name, cores, memory_gb, disk_gb, dedicated, arm, monthly, hourly, places, available)| {
            let price = |text| Nanos::parse(text).expect("prices of the table are well formed");
            let deprecation = (name == "cx22").then(|| Deprecation {
                announced: date("2025-10-16T06:00:00Z"),
                unavailable_after: date("2026-01-15T06:00:00Z"),
            });
            let offer = |place: &&str| Offer {
                location: (*place).to_owned(),
                available,
                hourly: price(hourly),
                monthly: price(monthly),
                deprecation: deprecation.clone(),
            };
            let offers = places.iter().map(offer).collect();
            ServerType { id, name: name.to_owned(), cores, memory_gb, disk_gb, dedicated, arm, offers }
        })
        .collect()
}

/// Bytes of traffic a month that the price includes.
pub(crate) fn traffic(location: &str) -> u64 {
    if EU.contains(&location) { 20 * TERABYTE } else { TERABYTE }
}

impl ServerType {
    pub(crate) fn offer(&self, location: &str) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.location == location)
    }

    pub(crate) fn architecture(&self) -> &'static str {
        if self.arm { "arm" } else { "x86" }
    }

    pub(super) fn prices(&self) -> Vec<Value> {
        let price = |offer: &Offer| {
            json!({
                "location": offer.location, "price_hourly": offer.hourly.price(),
                "price_monthly": offer.monthly.price(), "included_traffic": traffic(&offer.location),
                "price_per_tb_traffic": Nanos(1_000_000_000).price(),
            })
        };
        self.offers.iter().map(price).collect()
    }

    /// `with_old` adds the fields at the top that were there in 2025.
    pub(crate) fn show(&self, with_old: bool) -> Value {
        let category = match (self.dedicated, self.name.as_bytes().get(1)) {
            (true, _) => "General Purpose",
            (false, Some(b'p')) => "Regular Performance",
            (false, _) => "Cost-Optimized",
        };
        let place = |offer: &Offer| {
            let of = super::location_of(&offer.location);
            json!({
                "id": of.id, "name": of.name, "available": offer.available, "recommended": offer.available && of.is_in_europe(),
                "deprecation": offer.deprecation.as_ref().map(Deprecation::show),
            })
        };
        let mut shown = json!({
            "id": self.id, "name": self.name, "description": self.name.to_uppercase(), "category": category,
            "cores": self.cores, "memory": self.memory_gb as f64, "disk": self.disk_gb, "storage_type": "local",
            "cpu_type": if self.dedicated { "dedicated" } else { "shared" }, "architecture": self.architecture(),
            "prices": self.prices(), "locations": self.offers.iter().map(place).collect::<Vec<_>>(),
        });
        if with_old {
            let deprecation = self.offers.first().and_then(|offer| offer.deprecation.as_ref());
            shown["deprecated"] = deprecation.is_some().into();
            shown["deprecation"] = deprecation.map(Deprecation::show).into();
            shown["included_traffic"] = Value::Null;
        }
        shown
    }
}
