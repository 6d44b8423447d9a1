//! The URL table.

use serde_json::{Value, json};

use crate::body::Body;
use crate::call::{Answer, Call};
use crate::catalog::{self, LOCATIONS};
use crate::errors::ApiError;
use crate::listing::{self, Distortion};
use crate::world::requests::Doctored;
use crate::world::{Profile, World};

/// Paths that are known by their first word and, after an id, by nothing or by actions.
const NOUNS: &[&str] = &[
    "servers",
    "actions",
    "ssh_keys",
    "server_types",
    "locations",
    "images",
    "pricing",
    "networks",
    "firewalls",
    "placement_groups",
    "primary_ips",
    "datacenters",
    "isos",
    "volumes",
    "floating_ips",
    "load_balancers",
    "certificates",
];

impl World {
    pub(crate) fn route(&mut self, p: usize, call: &Call, doctored: &Doctored) -> Result<Answer, ApiError> {
        let words: Vec<&str> = call.path.split('/').filter(|word| !word.is_empty()).collect();
        let body = || Body::new(call.json()?);
        match (call.method.as_str(), words.as_slice()) {
            ("GET", ["servers"]) => self.list_servers(p, call, doctored.distortion, doctored.stale_seconds),
            ("POST", ["servers"]) => self.create_server(p, body()?, &doctored.fates),
            ("GET", ["servers", id]) => self.get_server(p, id),
            ("PUT", ["servers", id]) => self.update_server(p, id, body()?),
            ("DELETE", ["servers", id]) => self.delete_server(p, id),
            ("GET", ["servers", id, "actions"]) => {
                let server = self.server(p, id)?.id;
                self.list_actions_of(p, server, call)
            }
            ("GET", ["servers", id, "actions", action]) => {
                self.server(p, id)?;
                self.get_action(p, action)
            }
            ("POST", ["servers", id, "actions", order]) => self.order_server(p, id, order, call),

            ("GET", ["actions"]) => self.list_actions(p, call),
            ("GET", ["actions", id]) => self.get_action(p, id),

            ("GET", ["ssh_keys"]) => self.list_ssh_keys(p, call),
            ("POST", ["ssh_keys"]) => self.create_ssh_key(p, body()?),
            ("GET", ["ssh_keys", id]) => self.get_ssh_key(p, id),
            ("PUT", ["ssh_keys", id]) => self.update_ssh_key(p, id, body()?),
            ("DELETE", ["ssh_keys", id]) => self.delete_ssh_key(p, id),

            ("GET", ["primary_ips"]) => self.list_primary_ips(p, call),
            ("POST", ["primary_ips"]) => self.create_primary_ip(p, body()?),
            ("GET", ["primary_ips", id]) => self.get_primary_ip(p, id),
            ("PUT", ["primary_ips", id]) => self.update_primary_ip(p, id, body()?),
            ("DELETE", ["primary_ips", id]) => self.delete_primary_ip(p, id),
            ("POST", ["primary_ips", id, "actions", order]) => self.order_primary_ip(p, id, order, call),

            ("GET", ["networks"]) => self.list_networks(p, call),
            ("POST", ["networks"]) => self.create_network(p, body()?),
            ("GET", ["networks", id]) => self.get_network(p, id),
            ("PUT", ["networks", id]) => self.update_network(p, id, body()?),
            ("DELETE", ["networks", id]) => self.delete_network(p, id),
            ("POST", ["networks", id, "actions", order]) => self.order_network(p, id, order, call),

            ("GET", ["firewalls"]) => self.list_firewalls(p, call),
            ("POST", ["firewalls"]) => self.create_firewall(p, body()?),
            ("GET", ["firewalls", id]) => self.get_firewall(p, id),
            ("PUT", ["firewalls", id]) => self.update_firewall(p, id, body()?),
            ("DELETE", ["firewalls", id]) => self.delete_firewall(p, id),

            ("GET", ["placement_groups"]) => self.list_placement_groups(p, call),
            ("POST", ["placement_groups"]) => self.create_placement_group(p, body()?),
            ("GET", ["placement_groups", id]) => self.get_placement_group(p, id),
            ("PUT", ["placement_groups", id]) => self.update_placement_group(p, id, body()?),
            ("DELETE", ["placement_groups", id]) => self.delete_placement_group(p, id),

            ("GET", ["server_types"]) => {
                let with_old = self.profile == Profile::Compat2025;
                let rows = self.catalog.types.iter().map(|one| one.show(with_old)).collect();
                listing::list(call, "server_types", rows, &["id", "name"], Distortion::default())
            }
            ("GET", ["server_types", id]) => {
                let with_old = self.profile == Profile::Compat2025;
                let found = self.catalog.types.iter().find(|one| one.id.to_string() == **id);
                let found = found.ok_or_else(|| ApiError::not_found("server_type", id))?;
                Ok(Answer::ok(json!({"server_type": found.show(with_old)})))
            }
            ("GET", ["locations"]) => {
                let rows = LOCATIONS.iter().map(catalog::Location::show).collect();
                listing::list(call, "locations", rows, &["id", "name"], Distortion::default())
            }
            ("GET", ["locations", id]) => {
                let found = LOCATIONS.iter().find(|one| one.id.to_string() == **id);
                let found = found.ok_or_else(|| ApiError::not_found("location", id))?;
                Ok(Answer::ok(json!({"location": found.show()})))
            }
            ("GET", ["datacenters", ..]) if self.profile == Profile::Y2026 => Err(gone()),
            ("GET", ["datacenters"]) => {
                let rows = LOCATIONS.iter().map(|place| self.datacenter(place)).collect();
                let mut answer =
                    listing::list(call, "datacenters", rows, &["id", "name"], Distortion::default())?;
                if let Some(body) = &mut answer.body {
                    body["recommendation"] = 4.into();
                }
                Ok(answer)
            }
            ("GET", ["datacenters", id]) => {
                let id_asked: Option<i64> = id.parse().ok();
                let mut all = LOCATIONS.iter().map(|place| self.datacenter(place));
                let found = all.find(|one| one["id"].as_i64() == id_asked);
                let found = found.ok_or_else(|| ApiError::not_found("datacenter", id))?;
                Ok(Answer::ok(json!({"datacenter": found})))
            }
            ("GET", ["pricing"]) => Ok(Answer::ok(self.catalog.pricing())),

            ("GET", ["images"]) => self.list_images(p, call),
            ("GET", ["images", id]) => {
                let image = id.parse().ok().and_then(|id| self.image(p, id));
                let image = image.ok_or_else(|| ApiError::not_found("image", id))?;
                Ok(Answer::ok(json!({"image": image.show(self.profile == Profile::Compat2025)})))
            }
            ("PUT", ["images", id]) => self.update_image(p, id, body()?),
            ("DELETE", ["images", id]) => {
                let own = id.parse().ok().and_then(|id: i64| self.projects[p].images.remove(&id));
                own.map(|_| Answer::empty()).ok_or_else(|| ApiError::not_found("image", id))
            }

            // Of these there are none, and none can be made.
            ("GET", [noun @ ("isos" | "volumes" | "floating_ips" | "load_balancers" | "certificates")]) => {
                listing::list(call, noun, Vec::new(), &["id", "name", "created"], Distortion::default())
            }
            (_, [noun, rest @ ..]) if NOUNS.contains(noun) && (rest.len() < 2 || rest[1] == "actions") => {
                Err(ApiError::method_not_allowed())
            }
            _ => Err(ApiError::by_code("not_found")),
        }
    }

    fn datacenter(&self, place: &catalog::Location) -> Value {
        let ids = |only_available: bool| {
            let offered = |one: &&catalog::ServerType| {
                one.offer(place.name).is_some_and(|offer| offer.available || !only_available)
            };
            self.catalog.types.iter().filter(offered).map(|one| one.id).collect()
        };
        catalog::datacenter(place, Some((ids(false), ids(true))))
    }

    fn update_image(&mut self, p: usize, id: &str, mut body: Body) -> Result<Answer, ApiError> {
        let (description, labels) = (body.text("description")?, body.labels()?);
        body.text("type")?;
        body.end()?;
        let with_old = self.profile == Profile::Compat2025;
        let image = id.parse().ok().and_then(|id: i64| self.projects[p].images.get_mut(&id));
        let image = image.ok_or_else(|| ApiError::not_found("image", id))?;
        image.description = description.unwrap_or_else(|| image.description.clone());
        image.labels = labels.unwrap_or_else(|| image.labels.clone());
        Ok(Answer::ok(json!({"image": image.show(with_old)})))
    }
}

fn gone() -> ApiError {
    let details = json!({"announcement": "https://docs.hetzner.cloud/changelog#datacenters-deprecated"});
    let message = "the datacenters endpoints have been removed: use locations";
    ApiError::new(410, "deprecated_api_endpoint", message, details)
}
