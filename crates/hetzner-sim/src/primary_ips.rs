//! Public addresses: made with a server and gone with it, or made by themselves and kept.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::body::Body;
use crate::call::{Answer, Call, stamp};
use crate::catalog::{self, IPV4_HOURLY, IPV4_MONTHLY};
use crate::errors::ApiError;
use crate::labels::Labels;
use crate::ledger::{Billed, Entry};
use crate::listing::{self, Distortion};
use crate::world::{Profile, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PrimaryIp {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) labels: Labels,
    pub(crate) created: DateTime<Utc>,
    pub(crate) family: Family,
    /// An IPv4 address, or an IPv6 network.
    pub(crate) address: String,
    pub(crate) location: String,
    pub(crate) server: Option<i64>,
    pub(crate) auto_delete: bool,
    pub(crate) protected: bool,
}

impl PrimaryIp {
    pub(crate) fn reverse_name(&self) -> String {
        let backwards: Vec<&str> = self.address.rsplit('.').collect();
        format!("static.{}.clients.your-server.de", backwards.join("."))
    }

    fn show(&self, profile: Profile) -> Value {
        let place = catalog::location_of(&self.location);
        let kind = match (self.server, profile) {
            (None, Profile::Y2026) => "unassigned",
            (Some(_), Profile::Y2026) | (_, Profile::Compat2025) => "server",
        };
        let dns = match self.family {
            Family::V4 => json!([{"ip": self.address, "dns_ptr": self.reverse_name()}]),
            Family::V6 => json!([]),
        };
        let mut shown = json!({
            "id": self.id, "name": self.name, "ip": self.address, "type": self.family.as_str(),
            "assignee_id": self.server, "assignee_type": kind, "auto_delete": self.auto_delete, "blocked": false,
            "dns_ptr": dns, "labels": self.labels, "location": place.show(), "protection": {"delete": self.protected},
            "created": stamp(self.created),
        });
        if profile == Profile::Compat2025 {
            shown["datacenter"] = catalog::datacenter(place, None);
        }
        shown
    }
}

/// The `n`th address: the ranges for documentation first, then the one for benchmarks.
fn address(family: Family, n: u64) -> String {
    match family {
        Family::V4 if n < 762 => {
            let net = ["203.0.113", "198.51.100", "192.0.2"][usize::try_from(n / 254).unwrap_or(0)];
            format!("{net}.{}", n % 254 + 1)
        }
        Family::V4 => {
            let m = n - 762;
            format!("198.{}.{}.{}", 18 + m / 65_024 % 2, m / 254 % 256, m % 254 + 1)
        }
        Family::V6 => format!("2001:db8:{:x}:{:x}::/64", n / 65_536 + 1, n % 65_536 + 1),
    }
}

impl World {
    pub(crate) fn make_primary_ip(
        &mut self,
        p: usize,
        name: Option<String>,
        family: Family,
        location: &str,
        auto_delete: bool,
    ) -> i64 {
        let id = self.next_id();
        let n = self.addresses;
        self.addresses += 1;
        let ip = PrimaryIp {
            id,
            name: name.unwrap_or_else(|| format!("primary_ip-{id}")),
            labels: Labels::new(),
            created: crate::world::whole_second(self.now),
            family,
            address: address(family, n),
            location: location.to_owned(),
            server: None,
            auto_delete,
            protected: false,
        };
        if family == Family::V4 {
            self.ledger.open(Entry {
                billed: Billed::PrimaryIpv4,
                project: self.projects[p].name.clone(),
                id,
                name: ip.name.clone(),
                server_type: None,
                location: ip.location.clone(),
                labels: Labels::new(),
                hourly: IPV4_HOURLY,
                monthly: IPV4_MONTHLY,
                created: ip.created,
                deleted: None,
            });
        }
        self.projects[p].primary_ips.insert(id, ip);
        id
    }

    pub(crate) fn assign(&mut self, p: usize, id: i64, server: Option<i64>) {
        if let Some(ip) = self.projects[p].primary_ips.get_mut(&id) {
            ip.server = server;
        }
    }

    fn primary_ip(&self, p: usize, id: &str) -> Result<&PrimaryIp, ApiError> {
        let ip = id.parse().ok().and_then(|id: i64| self.projects[p].primary_ips.get(&id));
        ip.ok_or_else(|| ApiError::not_found("primary_ip", id))
    }

    pub(crate) fn list_primary_ips(&self, p: usize, call: &Call) -> Result<Answer, ApiError> {
        let rows = self.projects[p]
            .primary_ips
            .values()
            .filter(|ip| call.query("ip").is_none_or(|wanted| ip.address == wanted))
            .map(|ip| ip.show(self.profile))
            .collect();
        listing::list(call, "primary_ips", rows, &["id", "name", "created"], Distortion::default())
    }

    pub(crate) fn get_primary_ip(&self, p: usize, id: &str) -> Result<Answer, ApiError> {
        Ok(Answer::ok(json!({"primary_ip": self.primary_ip(p, id)?.show(self.profile)})))
    }

    pub(crate) fn create_primary_ip(&mut self, p: usize, mut body: Body) -> Result<Answer, ApiError> {
        let name = body.required_text("name")?;
        let family = match body.required_text("type")?.as_str() {
            "ipv4" => Family::V4,
            "ipv6" => Family::V6,
            _ => return Err(ApiError::field("type", "must be ipv4 or ipv6")),
        };
        let auto_delete = body.flag("auto_delete")?.unwrap_or(false);
        let labels = body.labels()?.unwrap_or_default();
        let named = body.take("location");
        body.text("assignee_type")?;
        let assignee = body.id("assignee_id")?;
        body.end()?;
        if self.projects[p].primary_ips.values().any(|ip| ip.name == name) {
            return Err(ApiError::taken("primary_ip", "name", self.fields_on_conflict));
        }
        if self.projects[p].primary_ips.len() >= self.limits.primary_ips {
            return Err(ApiError::limit("Primary IP limit exceeded", "primary_ip_limit"));
        }
        let of_server = match assignee {
            None => None,
            Some(id) => {
                let server = self.projects[p].servers.get(&id);
                Some(server.ok_or_else(|| ApiError::names_nothing("server", &id.into()))?)
            }
        };
        if let Some(server) = of_server {
            let has = match family {
                Family::V4 => server.ipv4,
                Family::V6 => server.ipv6,
            };
            if has.is_some() {
                let why = "server already has a primary IP of this type";
                return Err(ApiError::new(422, "server_has_ipv4", why, Value::Null));
            }
        }
        let place = match (&named, of_server) {
            (Some(which), _) => {
                catalog::location(which).ok_or_else(|| ApiError::names_nothing("location", which))?.name
            }
            (None, Some(server)) => catalog::location_of(&server.location).name,
            (None, None) => return Err(crate::body::missing("location")),
        };
        let id = self.make_primary_ip(p, Some(name), family, place, auto_delete);
        self.assign(p, id, assignee);
        if let Some(server) = assignee.and_then(|server| self.server_mut(p, server)) {
            match family {
                Family::V4 => server.ipv4 = Some(id),
                Family::V6 => server.ipv6 = Some(id),
            }
        }
        if let Some(ip) = self.projects[p].primary_ips.get_mut(&id) {
            ip.labels = labels;
        }
        let shown = self.primary_ip(p, &id.to_string())?.show(self.profile);
        let action = self.done_action(p, "create_primary_ip", &[(id, "primary_ip")]);
        Ok(Answer::created(json!({"primary_ip": shown, "action": action})))
    }

    pub(crate) fn update_primary_ip(
        &mut self,
        p: usize,
        id: &str,
        mut body: Body,
    ) -> Result<Answer, ApiError> {
        let key = self.primary_ip(p, id)?.id;
        let (name, labels, auto_delete) = (body.text("name")?, body.labels()?, body.flag("auto_delete")?);
        body.end()?;
        if let Some(ip) = self.projects[p].primary_ips.get_mut(&key) {
            ip.name = name.unwrap_or_else(|| ip.name.clone());
            ip.labels = labels.unwrap_or_else(|| ip.labels.clone());
            ip.auto_delete = auto_delete.unwrap_or(ip.auto_delete);
        }
        self.get_primary_ip(p, id)
    }

    /// `DELETE /primary_ips/{id}`: refused while it is assigned.
    pub(crate) fn delete_primary_ip(&mut self, p: usize, id: &str) -> Result<Answer, ApiError> {
        let ip = self.primary_ip(p, id)?;
        if ip.protected {
            return Err(ApiError::new(423, "protected", "primary IP deletion is protected", Value::Null));
        }
        if ip.server.is_some() {
            let why = "primary IP must be unassigned before it is deleted";
            return Err(ApiError::new(422, "must_be_unassigned", why, Value::Null));
        }
        let key = ip.id;
        self.projects[p].primary_ips.remove(&key);
        self.ledger.close(Billed::PrimaryIpv4, key, self.now);
        Ok(Answer::empty())
    }

    /// `POST /primary_ips/{id}/actions/unassign`: of a server that is off.
    pub(crate) fn order_primary_ip(
        &mut self,
        p: usize,
        id: &str,
        order: &str,
        call: &Call,
    ) -> Result<Answer, ApiError> {
        let ip = self.primary_ip(p, id)?;
        let (key, server) = (ip.id, ip.server);
        let mut body = Body::new(call.json()?)?;
        match order {
            "unassign" => {
                body.end()?;
                if let Some(server) = server.and_then(|id| self.server_mut(p, id)) {
                    if server.status != crate::servers::Status::Off {
                        let why = "server must be stopped";
                        return Err(ApiError::new(422, "server_not_stopped", why, Value::Null));
                    }
                    server.ipv4 = server.ipv4.filter(|ip| *ip != key);
                    server.ipv6 = server.ipv6.filter(|ip| *ip != key);
                }
                self.assign(p, key, None);
                let action = self.done_action(p, "unassign_primary_ip", &[(key, "primary_ip")]);
                Ok(Answer::created(json!({"action": action})))
            }
            "change_protection" => {
                let delete = body.flag("delete")?.ok_or_else(|| crate::body::missing("delete"))?;
                body.end()?;
                if let Some(ip) = self.projects[p].primary_ips.get_mut(&key) {
                    ip.protected = delete;
                }
                let action = self.done_action(p, "change_protection", &[(key, "primary_ip")]);
                Ok(Answer::created(json!({"action": action})))
            }
            _ => Err(ApiError::not_found("action", order)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_address_is_given_twice() {
        for family in [Family::V4, Family::V6] {
            let all: BTreeSet<String> = (0..70_000).map(|n| address(family, n)).collect();
            assert_eq!(all.len(), 70_000);
        }
        assert_eq!(
            (address(Family::V4, 0), address(Family::V6, 0)),
            ("203.0.113.1".into(), "2001:db8:1:1::/64".into())
        );
    }
}
