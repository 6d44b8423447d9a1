//! Private networks: a range, its subnets, and who is in it.

use std::net::Ipv4Addr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::body::{Body, missing};
use crate::call::{Answer, Call, stamp};
use crate::catalog::LOCATIONS;
use crate::errors::ApiError;
use crate::labels::Labels;
use crate::listing::{self, Distortion};
use crate::world::World;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Network {
    pub(crate) id: i64,
    pub(crate) name: String,
    labels: Labels,
    created: DateTime<Utc>,
    range: Range,
    subnets: Vec<Subnet>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Subnet {
    kind: String,
    range: Range,
    zone: String,
}

/// An IPv4 range in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Range {
    first: Ipv4Addr,
    bits: u8,
}

impl Range {
    /// A private range with no host bits set.
    fn parse(text: &str) -> Option<Self> {
        let (first, bits) = text.split_once('/')?;
        let (first, bits): (Ipv4Addr, u8) = (first.parse().ok()?, bits.parse().ok()?);
        let range = Self { first, bits };
        let clean = (8..=29).contains(&bits) && first.to_bits() & (range.size() - 1) == 0;
        (clean && first.is_private()).then_some(range)
    }

    fn size(self) -> u32 {
        1 << (32 - u32::from(self.bits))
    }

    fn text(self) -> String {
        format!("{}/{}", self.first, self.bits)
    }

    fn holds(self, other: Self) -> bool {
        self.bits <= other.bits && other.first.to_bits() & !(self.size() - 1) == self.first.to_bits()
    }

    fn address(self, n: u32) -> String {
        Ipv4Addr::from_bits(self.first.to_bits() + n).to_string()
    }
}

impl Network {
    pub(crate) fn zones(&self) -> Vec<&str> {
        self.subnets.iter().map(|subnet| subnet.zone.as_str()).collect()
    }

    /// The first is the gateway's.
    pub(crate) fn free_address(&self, used: &[&str]) -> String {
        let range = self.subnets.first().map_or(self.range, |subnet| subnet.range);
        let free = (2..range.size() - 1).map(|n| range.address(n)).find(|ip| !used.contains(&ip.as_str()));
        free.unwrap_or_else(|| range.address(2))
    }
}

impl World {
    fn show_network(&self, p: usize, network: &Network) -> Value {
        let is_in = |id: &i64| {
            self.projects[p].servers[id].attachments.iter().any(|attached| attached.network == network.id)
        };
        let servers: Vec<i64> = self.projects[p].servers.keys().copied().filter(|id| is_in(id)).collect();
        let subnet = |subnet: &Subnet| {
            json!({"type": subnet.kind, "ip_range": subnet.range.text(), "network_zone": subnet.zone,
                   "gateway": network.range.address(1), "vswitch_id": null})
        };
        json!({
            "id": network.id, "name": network.name, "ip_range": network.range.text(), "created": stamp(network.created),
            "subnets": network.subnets.iter().map(subnet).collect::<Vec<_>>(), "routes": [], "servers": servers,
            "load_balancers": [], "protection": {"delete": false}, "labels": network.labels,
            "expose_routes_to_vswitch": false,
        })
    }

    fn network(&self, p: usize, id: &str) -> Result<&Network, ApiError> {
        let network = id.parse().ok().and_then(|id: i64| self.projects[p].networks.get(&id));
        network.ok_or_else(|| ApiError::not_found("network", id))
    }

    pub(crate) fn list_networks(&self, p: usize, call: &Call) -> Result<Answer, ApiError> {
        let all = self.projects[p].networks.values();
        let rows = all.map(|network| self.show_network(p, network)).collect();
        listing::list(call, "networks", rows, &["id", "name", "created"], Distortion::default())
    }

    pub(crate) fn get_network(&self, p: usize, id: &str) -> Result<Answer, ApiError> {
        let network = self.network(p, id)?;
        Ok(Answer::ok(json!({"network": self.show_network(p, network)})))
    }

    pub(crate) fn create_network(&mut self, p: usize, mut body: Body) -> Result<Answer, ApiError> {
        let (name, range) = (body.required_text("name")?, body.required_text("ip_range")?);
        let labels = body.labels()?.unwrap_or_default();
        let (given, _) = (body.list("subnets")?, body.list("routes")?);
        body.flag("expose_routes_to_vswitch")?;
        body.end()?;
        let bad = |name: &str| ApiError::field(name, "must be a private IPv4 range");
        let range = Range::parse(&range).ok_or_else(|| bad("ip_range"))?;
        let mut subnets: Vec<Subnet> = Vec::new();
        for subnet in given {
            let mut subnet = Body::new(subnet).map_err(|_| bad("subnets"))?;
            let kind = subnet.required_text("type")?;
            let zone = subnet.required_text("network_zone")?;
            let within = match subnet.text("ip_range")? {
                Some(text) => Range::parse(&text).ok_or_else(|| bad("subnets"))?,
                None => Range { bits: range.bits.max(24), ..range },
            };
            subnet.id("vswitch_id")?;
            subnet.end()?;
            if !range.holds(within) || !LOCATIONS.iter().any(|place| place.zone == zone) {
                return Err(ApiError::field("subnets", "not in the network's range, or in no network zone"));
            }
            if subnets.iter().any(|other| other.range.holds(within) || within.holds(other.range)) {
                return Err(ApiError::new(422, "networks_overlap", "subnets overlap", Value::Null));
            }
            subnets.push(Subnet { kind, range: within, zone });
        }
        if self.projects[p].networks.values().any(|network| network.name == name) {
            return Err(ApiError::taken("network", "name", self.fields_on_conflict));
        }
        let id = self.next_id();
        let created = crate::world::whole_second(self.now);
        self.projects[p].networks.insert(id, Network { id, name, labels, created, range, subnets });
        let shown = self.get_network(p, &id.to_string())?;
        Ok(Answer { status: 201, ..shown })
    }

    pub(crate) fn update_network(&mut self, p: usize, id: &str, mut body: Body) -> Result<Answer, ApiError> {
        let key = self.network(p, id)?.id;
        let (name, labels) = (body.text("name")?, body.labels()?);
        body.flag("expose_routes_to_vswitch")?;
        body.end()?;
        if let Some(network) = self.projects[p].networks.get_mut(&key) {
            network.name = name.unwrap_or_else(|| network.name.clone());
            network.labels = labels.unwrap_or_else(|| network.labels.clone());
        }
        self.get_network(p, id)
    }

    /// `POST /networks/{id}/actions/add_subnet`.
    pub(crate) fn order_network(
        &mut self,
        p: usize,
        id: &str,
        order: &str,
        call: &Call,
    ) -> Result<Answer, ApiError> {
        let network = self.network(p, id)?;
        let (key, range) = (network.id, network.range);
        if order != "add_subnet" {
            return Err(ApiError::not_found("action", order));
        }
        let mut body = Body::new(call.json()?)?;
        let (kind, zone) = (body.required_text("type")?, body.required_text("network_zone")?);
        let text = body.text("ip_range")?.ok_or_else(|| missing("ip_range"))?;
        body.end()?;
        let within = Range::parse(&text).filter(|within| range.holds(*within));
        let within = within.ok_or_else(|| ApiError::field("ip_range", "not in the network's range"))?;
        if network.subnets.iter().any(|other| other.range.holds(within) || within.holds(other.range)) {
            return Err(ApiError::new(422, "networks_overlap", "subnets overlap", Value::Null));
        }
        if let Some(network) = self.projects[p].networks.get_mut(&key) {
            network.subnets.push(Subnet { kind, range: within, zone });
        }
        let action = self.done_action(p, "add_subnet", &[(key, "network")]);
        Ok(Answer::created(json!({"action": action})))
    }

    pub(crate) fn delete_network(&mut self, p: usize, id: &str) -> Result<Answer, ApiError> {
        let key = self.network(p, id)?.id;
        self.projects[p].networks.remove(&key);
        for server in self.projects[p].servers.values_mut() {
            server.attachments.retain(|attached| attached.network != key);
        }
        Ok(Answer::empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_private_and_has_no_host_bits() {
        assert!(Range::parse("10.0.0.0/8").unwrap().holds(Range::parse("10.1.2.0/24").unwrap()));
        for bad in ["10.0.0.1/8", "8.8.8.0/24", "10.0.0.0", "10.0.0.0/33", "x/8"] {
            assert_eq!(Range::parse(bad), None, "{bad}");
        }
    }
}
