//! Servers: what one is, and how it is shown.

mod create;
mod life;
mod orders;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::call::{Answer, Call, stamp};
use crate::catalog::{self, ImageKind};
use crate::errors::ApiError;
use crate::fates::Fate;
use crate::labels::Labels;
use crate::listing::{self, Distortion};
use crate::world::{Profile, World};

/// A server's status in the API. `running` means that power is on, not that a system is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Being made.
    Initializing,
    /// Without power.
    Off,
    /// Power is about to come on.
    Starting,
    /// Power is on.
    Running,
    /// Power is about to go.
    Stopping,
    /// Getting a new disk.
    Rebuilding,
    /// Being deleted.
    Deleting,
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "initializing",
            Self::Off => "off",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Rebuilding => "rebuilding",
            Self::Deleting => "deleting",
        }
    }
}

/// The system on a server, which the API says nothing of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guest {
    /// Nothing runs.
    Off,
    /// On its way, or never to come.
    Booting,
    /// Up.
    Up,
    /// Dead, while the power is on.
    Dead,
}

/// A server's place in a private network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Attachment {
    pub(crate) network: i64,
    pub(crate) ip: String,
    pub(crate) mac: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Server {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) labels: Labels,
    pub(crate) created: DateTime<Utc>,
    pub(crate) status: Status,
    /// Actions that hold it.
    pub(crate) locks: Vec<i64>,
    pub(crate) server_type: i64,
    pub(crate) location: String,
    pub(crate) image: i64,
    pub(crate) user_data: String,
    pub(crate) ssh_keys: Vec<i64>,
    pub(crate) ipv4: Option<i64>,
    pub(crate) ipv6: Option<i64>,
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) firewalls: Vec<i64>,
    pub(crate) placement_group: Option<i64>,
    pub(crate) protected: bool,
    pub(crate) guest: Guest,
    /// Counts starts; what belongs to an earlier one is void.
    pub(crate) boot: u64,
    pub(crate) cut_off: bool,
    pub(crate) fates: Vec<Fate>,
}

impl World {
    pub(crate) fn server(&self, project: usize, id: &str) -> Result<&Server, ApiError> {
        let server = id.parse().ok().and_then(|id: i64| self.projects[project].servers.get(&id));
        server.ok_or_else(|| ApiError::not_found("server", id))
    }

    /// A server that an event was put down for may be gone by then.
    pub(crate) fn server_mut(&mut self, project: usize, id: i64) -> Option<&mut Server> {
        self.projects[project].servers.get_mut(&id)
    }

    pub(crate) fn show_server(&self, project: usize, server: &Server) -> Value {
        let of = &self.projects[project];
        let place = catalog::location_of(&server.location);
        let with_old = self.profile == Profile::Compat2025;
        let address = |id: Option<i64>| id.and_then(|id| of.primary_ips.get(&id));
        let ipv4 = address(server.ipv4)
            .map(|ip| json!({"id": ip.id, "ip": ip.address, "blocked": false, "dns_ptr": ip.reverse_name()}));
        let ipv6 = address(server.ipv6)
            .map(|ip| json!({"id": ip.id, "ip": ip.address, "blocked": false, "dns_ptr": []}));
        let firewalls: Vec<Value> =
            server.firewalls.iter().map(|id| json!({"id": id, "status": "applied"})).collect();
        let attached = |one: &Attachment| json!({"network": one.network, "ip": one.ip, "alias_ips": [], "mac_address": one.mac});
        let server_type = self.catalog.type_of(server.server_type);
        let group = server.placement_group.and_then(|id| of.placement_groups.get(&id));
        let mut shown = json!({
            "id": server.id, "name": server.name, "status": server.status.as_str(), "created": stamp(server.created),
            "public_net": {"ipv4": ipv4, "ipv6": ipv6, "floating_ips": [], "firewalls": firewalls},
            "private_net": server.attachments.iter().map(attached).collect::<Vec<_>>(),
            "server_type": server_type.show(with_old), "location": place.show(),
            "image": self.image(project, server.image).map(|image| image.show(with_old)),
            "iso": null, "rescue_enabled": false, "locked": !server.locks.is_empty(), "backup_window": null,
            "outgoing_traffic": 0, "ingoing_traffic": 0, "included_traffic": catalog::traffic(&server.location),
            "protection": {"delete": server.protected, "rebuild": server.protected}, "labels": server.labels,
            "volumes": [], "load_balancers": [], "primary_disk_size": server_type.disk_gb,
            "placement_group": group.map(|group| self.show_placement_group(project, group)),
        });
        if with_old {
            shown["datacenter"] = catalog::datacenter(place, None);
        }
        shown
    }

    /// `GET /servers`. `stale_seconds` shows what was true that long ago of which servers there are.
    pub(crate) fn list_servers(
        &self,
        project: usize,
        call: &Call,
        distortion: Distortion,
        stale_seconds: Option<u32>,
    ) -> Result<Answer, ApiError> {
        let of = &self.projects[project];
        let then = stale_seconds.map(|seconds| self.now - chrono::TimeDelta::seconds(i64::from(seconds)));
        let was_there = |created: DateTime<Utc>| then.is_none_or(|then| created <= then);
        let mut rows: Vec<Value> = of
            .servers
            .values()
            .filter(|server| was_there(server.created))
            .map(|server| self.show_server(project, server))
            .collect();
        if let Some(then) = then {
            let dug_up = of.graves.iter().filter(|grave| grave.gone > then && grave.created <= then);
            rows.extend(dug_up.map(|grave| grave.shown.clone()));
            rows.sort_by_key(|row| row["id"].as_i64());
        }
        let states: Vec<&str> = call.queries("status").collect();
        rows.retain(|row| states.is_empty() || states.iter().any(|state| row["status"] == *state));
        listing::list(call, "servers", rows, &["id", "name", "created"], distortion)
    }

    pub(crate) fn get_server(&self, project: usize, id: &str) -> Result<Answer, ApiError> {
        let server = self.server(project, id)?;
        Ok(Answer::ok(json!({"server": self.show_server(project, server)})))
    }

    /// An image that this project may use: the provider's, or a snapshot of its own.
    pub(crate) fn image(&self, project: usize, id: i64) -> Option<&catalog::Image> {
        let own = self.projects[project].images.get(&id);
        own.or_else(|| self.catalog.images.iter().find(|image| image.id == id))
    }

    /// `GET /images`.
    pub(crate) fn list_images(&self, project: usize, call: &Call) -> Result<Answer, ApiError> {
        let asked = |name: &str, has: &str| {
            let mut wanted = call.queries(name).peekable();
            wanted.peek().is_none() || wanted.any(|wanted| wanted == has)
        };
        let with_old = self.profile == Profile::Compat2025;
        let with_deprecated = call.query("include_deprecated") == Some("true");
        let rows = self
            .catalog
            .images
            .iter()
            .chain(self.projects[project].images.values())
            .filter(|image| asked("type", image.kind.as_str()) && asked("status", image.state.as_str()))
            .filter(|image| asked("architecture", image.architecture()))
            .filter(|image| with_deprecated || image.deprecated.is_none())
            .filter(|image| call.query("bound_to").is_none() || image.kind == ImageKind::Backup)
            .map(|image| image.show(with_old))
            .collect();
        listing::list(call, "images", rows, &["id", "name", "created"], Distortion::default())
    }
}
