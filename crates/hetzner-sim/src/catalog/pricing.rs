//! `/pricing`, and the price of an IPv4 address.

use serde_json::{Value, json};

use super::locations::LOCATIONS;
use super::server_types::ServerType;
use crate::money::{Nanos, VAT_PERCENT};

/// EUR 0.50 a month.
pub(crate) const IPV4_MONTHLY: Nanos = Nanos(500_000_000);
/// EUR 0.0008 an hour.
pub(crate) const IPV4_HOURLY: Nanos = Nanos(800_000);

pub(super) fn pricing(types: &[ServerType]) -> Value {
    let address = |kind: &str, hourly: Nanos, monthly: Nanos| {
        let price = |place: &str| json!({"location": place, "price_hourly": hourly.price(), "price_monthly": monthly.price()});
        let prices: Vec<Value> = LOCATIONS.iter().map(|place| price(place.name)).collect();
        json!({"type": kind, "prices": prices})
    };
    let of_type = |one: &ServerType| json!({"id": one.id, "name": one.name, "prices": one.prices()});
    json!({"pricing": {
        "currency": "EUR",
        "vat_rate": format!("{VAT_PERCENT}.00"),
        "image": {"price_per_gb_month": Nanos(11_000_000).price()},
        "primary_ips": [address("ipv4", IPV4_HOURLY, IPV4_MONTHLY), address("ipv6", Nanos(0), Nanos(0))],
        "floating_ips": [],
        "load_balancer_types": [],
        "server_backup": {"percentage": "20.00"},
        "server_types": types.iter().map(of_type).collect::<Vec<_>>(),
        "volume": {"price_per_gb_month": Nanos(44_000_000).price()},
    }})
}
