//! Types, stock and prices as core knows them.

use rgrid_core::fleet::catalog::{Architecture, Catalog, MachineType, Offering};
use rgrid_core::money::Rate;

use super::wire::{Pricing, Server, ServerType, TypePrice};

/// The currency that limits and ledgers are in.
const CURRENCY: &str = "EUR";

/// Puts the catalog together. What cannot be read is left out, and said.
pub(super) fn read(types: Vec<ServerType>, pricing: Pricing) -> Catalog {
    if pricing.currency.as_deref().is_some_and(|currency| currency != CURRENCY) {
        tracing::warn!(currency = ?pricing.currency, "prices are in another currency: limits count it as euros");
    }
    let ipv4 = pricing
        .primary_ips
        .iter()
        .filter(|addresses| addresses.kind == "ipv4")
        .flat_map(|addresses| &addresses.prices)
        .filter_map(|price| Some((price.location.clone(), rate(price)?)))
        .collect();
    Catalog { types: types.iter().filter_map(machine_type).collect(), ipv4 }
}

/// What a server costs, as its own row says; `None` where that says nothing that can be read.
pub(super) fn rate_of(server: &Server) -> Option<Rate> {
    let location = server.location.as_ref()?;
    let prices = &server.server_type.as_ref()?.prices;
    prices.iter().find(|price| price.location == location.name).and_then(rate)
}

/// Net; a price that cannot be read is none.
fn rate(price: &TypePrice) -> Option<Rate> {
    let month = price.price_monthly.as_ref().map(|amount| amount.net.parse()).transpose().ok()?;
    Some(Rate { hour: price.price_hourly.net.parse().ok()?, month })
}

fn machine_type(t: &ServerType) -> Option<MachineType> {
    let architecture = match &t.architecture {
        None => Architecture::X86,
        Some(word) => word.parse::<Architecture>().ok()?,
    };
    let gigabytes = |number: f64| {
        // No machine has more than a petabyte of either.
        (0.0..1_048_576.0).contains(&number).then(|| (number * 1024.0) as u64 * (1 << 20))
    };
    Some(MachineType {
        name: t.name.clone(),
        cores: t.cores,
        memory_bytes: gigabytes(t.memory)?,
        disk_bytes: gigabytes(t.disk)?,
        architecture,
        locations: t.prices.iter().filter_map(|price| offering(t, price)).collect(),
    })
}

/// A type is supported where its `locations` name it; without that list, where it has a price.
fn offering(t: &ServerType, price: &TypePrice) -> Option<Offering> {
    let place = t.locations.iter().find(|place| place.name == price.location);
    if place.is_none() && !t.locations.is_empty() {
        return None;
    }
    let deprecation = place.and_then(|place| place.deprecation.clone()).or_else(|| t.deprecation.clone());
    Some(Offering {
        location: price.location.clone(),
        rate: rate(price)?,
        // An order tells when nothing else does.
        orderable: place.and_then(|place| place.available).unwrap_or(true),
        ends_at: deprecation.and_then(|deprecation| deprecation.unavailable_after),
    })
}
