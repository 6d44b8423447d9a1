//! What a server can learn of itself at 169.254.169.254, while it is on. No token guards it.

use crate::servers::{Server, Status};
use crate::world::World;

/// A metadata answer: text, or nothing at that path.
pub(crate) type Told = Option<String>;

impl World {
    /// Whether a server's metadata service answers at all.
    pub(crate) fn has_metadata(&self, p: usize, id: i64) -> bool {
        let server = self.projects.get(p).and_then(|project| project.servers.get(&id));
        server.is_some_and(|server| {
            server.status == Status::Running && !server.fates.contains(&crate::fates::Fate::MetadataDown)
        })
    }

    /// The answer to a path like `/hetzner/v1/metadata/hostname`; none while the server is off, or has no such service.
    pub(crate) fn metadata(&self, p: usize, id: i64, path: &str) -> Told {
        if !self.has_metadata(p, id) {
            return None;
        }
        let server = self.projects.get(p)?.servers.get(&id)?;
        let path = path.trim_end_matches('/');
        if let Some(file) = path.strip_prefix("/nocloud/") {
            // The same, as cloud-init's NoCloud source asks for it.
            return match file {
                "meta-data" => {
                    Some(format!("instance-id: \"{}\"\nlocal-hostname: {}\n", server.id, server.name))
                }
                "user-data" => Some(server.user_data.clone()),
                "vendor-data" => Some(String::new()),
                _ => None,
            };
        }
        match path.strip_prefix("/hetzner/v1/")? {
            "userdata" => Some(server.user_data.clone()),
            "metadata" => Some(self.summary(p, server)),
            "metadata/hostname" => Some(server.name.clone()),
            "metadata/instance-id" => Some(server.id.to_string()),
            "metadata/public-ipv4" => Some(self.address(p, server.ipv4).unwrap_or_default()),
            "metadata/private-networks" => Some(private_networks(server)),
            "metadata/availability-zone" => Some(zone(server)),
            "metadata/region" => Some(crate::catalog::location_of(&server.location).zone.to_owned()),
            _ => None,
        }
    }

    fn address(&self, p: usize, id: Option<i64>) -> Told {
        Some(self.projects[p].primary_ips.get(&id?)?.address.clone())
    }

    /// The whole, in YAML. Strings are quoted as JSON, which YAML reads.
    fn summary(&self, p: usize, server: &Server) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let of = &self.projects[p];
        let keys: Vec<String> = server
            .ssh_keys
            .iter()
            .filter_map(|id| of.ssh_keys.get(id))
            .map(|key| format!("- {}\n", quoted(&key.public_key)))
            .collect();
        let keys = if keys.is_empty() { " []\n".to_owned() } else { format!("\n{}", keys.concat()) };
        let networks = private_networks(server);
        let networks = if networks.is_empty() { " []\n".to_owned() } else { format!("\n{networks}") };
        let mut text = format!(
            "availability-zone: {}\nhostname: {}\ninstance-id: {}\npublic-ipv4: {}\npublic-keys:{keys}region: {}\n",
            zone(server),
            quoted(&server.name),
            server.id,
            quoted(&self.address(p, server.ipv4).unwrap_or_default()),
            crate::catalog::location_of(&server.location).zone,
        );
        text.push_str(&format!("private-networks:{networks}"));
        text.push_str("network-config:\n  version: 1\n  config:\n  - type: physical\n    name: eth0\n    subnets:\n    - type: dhcp\n");
        text.push_str("vendor_data: \"\"\n");
        text
    }
}

fn zone(server: &Server) -> String {
    let place = crate::catalog::location_of(&server.location);
    let datacenter = crate::catalog::datacenter(place, None);
    datacenter["name"].as_str().unwrap_or_default().to_owned()
}

fn private_networks(server: &Server) -> String {
    let one = |at: &crate::servers::Attachment| {
        format!(
            "- ip: {}\n  alias_ips: []\n  mac_address: \"{}\"\n  network_id: {}\n",
            at.ip, at.mac, at.network
        )
    };
    server.attachments.iter().map(one).collect()
}
