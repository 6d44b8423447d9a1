//! `POST /servers`: everything that is checked, then everything that is made.

use serde_json::{Value, json};

use crate::actions::Work;
use crate::body::{Body, missing};
use crate::call::Answer;
use crate::catalog::{self, Image, ImageState, Location, ServerType};
use crate::errors::ApiError;
use crate::fates::Fate;
use crate::labels::Labels;
use crate::ledger::{Billed, Entry};
use crate::primary_ips::Family;
use crate::servers::{Guest, Server, Status};
use crate::world::{Profile, World};

/// Bytes of user data.
pub(crate) const USER_DATA_BYTES_MAX: usize = 32_768;
/// Firewalls on one server.
const FIREWALLS_MAX: usize = 5;
/// Servers in one placement group.
const GROUP_SERVERS_MAX: usize = 10;
/// Servers in one private network.
const NETWORK_SERVERS_MAX: usize = 100;

/// Which addresses a server is to have.
struct PublicNet {
    with_ipv4: bool,
    with_ipv6: bool,
    ipv4: Option<i64>,
    ipv6: Option<i64>,
}

/// A request that is well formed and names only what there is.
struct Wanted {
    name: String,
    labels: Labels,
    server_type: ServerType,
    image: i64,
    location: &'static Location,
    user_data: String,
    start: bool,
    ssh_keys: Vec<i64>,
    net: PublicNet,
    networks: Vec<i64>,
    firewalls: Vec<i64>,
    placement_group: Option<i64>,
}

/// A host name by RFC 1123.
pub(crate) fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

impl World {
    pub(crate) fn create_server(&mut self, p: usize, body: Body, fates: &[Fate]) -> Result<Answer, ApiError> {
        let wanted = self.read_wanted(p, body)?;
        self.check_quotas(p, &wanted)?;
        self.check_stock(&wanted)?;
        Ok(self.make_server(p, wanted, fates))
    }

    fn read_wanted(&self, p: usize, mut body: Body) -> Result<Wanted, ApiError> {
        let of = &self.projects[p];
        let name = body.required_text("name")?;
        let type_named = body.take("server_type").ok_or_else(|| missing("server_type"))?;
        let image_named = body.take("image").ok_or_else(|| missing("image"))?;
        let location_named = body.take("location");
        let datacenter = if self.profile == Profile::Compat2025 { body.take("datacenter") } else { None };
        let labels = body.labels()?.unwrap_or_default();
        let user_data = body.text("user_data")?.unwrap_or_default();
        let start = body.flag("start_after_create")?.unwrap_or(true);
        let keys_named = body.list("ssh_keys")?;
        let net = read_public_net(&mut body)?;
        let networks = body.ids("networks")?;
        let mut firewalls = Vec::new();
        for firewall in body.list("firewalls")? {
            let mut firewall =
                Body::new(firewall).map_err(|_| ApiError::field("firewalls", "must be objects"))?;
            firewalls.push(firewall.id("firewall")?.ok_or_else(|| missing("firewalls.firewall"))?);
            firewall.end()?;
        }
        let placement_group = body.id("placement_group")?;
        let volumes = body.ids("volumes")?;
        body.flag("automount")?;
        body.end()?;

        if !is_host_name(&name) {
            return Err(ApiError::field("name", "Name must be a valid hostname."));
        }
        if user_data.len() > USER_DATA_BYTES_MAX {
            let why = format!("Length must be between 0 and {USER_DATA_BYTES_MAX}.");
            return Err(ApiError::field("user_data", &why));
        }
        let no_type = || ApiError::names_nothing("server_type", &type_named);
        let server_type = self.catalog.server_type(&type_named).ok_or_else(no_type)?.clone();
        let image = self.find_image(p, &image_named, &server_type)?;
        if image.arm != server_type.arm {
            let why = "image architecture does not match server type architecture";
            return Err(ApiError::field("image", why));
        }
        let location = self.find_location(location_named, datacenter, &server_type)?;
        let offer = server_type.offer(location.name).ok_or_else(|| unsupported(location))?;
        if catalog::is_gone(offer.deprecation.as_ref(), self.now) {
            return Err(ApiError::invalid(format!("server type {} is deprecated", server_type.id)));
        }
        let ssh_keys = find_all(&keys_named, "ssh_key", |which| {
            of.ssh_keys.values().find(|key| catalog::means(which, key.id, &key.name)).map(|key| key.id)
        })?;
        let by_id = |list: &[i64]| list.iter().map(|id| Value::from(*id)).collect::<Vec<_>>();
        find_all(&by_id(&networks), "network", |which| {
            which.as_i64().filter(|id| of.networks.contains_key(id))
        })?;
        find_all(&by_id(&firewalls), "firewall", |which| {
            which.as_i64().filter(|id| of.firewalls.contains_key(id))
        })?;
        if let Some(group) = placement_group {
            let there = of.placement_groups.contains_key(&group);
            find_all(&[group.into()], "placement_group", |_| there.then_some(group))?;
        }
        find_all(&by_id(&volumes), "volume", |_| None)?;
        if firewalls.len() > FIREWALLS_MAX {
            return Err(ApiError::field("firewalls", "at most 5 firewalls can be applied"));
        }
        if !net.with_ipv4 && !net.with_ipv6 && networks.is_empty() {
            return Err(ApiError::invalid("server must have at least one public IP or network"));
        }
        let taken = |server: &&Server| server.name.eq_ignore_ascii_case(&name);
        if of.servers.values().any(|server| taken(&server)) {
            return Err(ApiError::taken("server", "name", self.fields_on_conflict));
        }
        let image = image.id;
        Ok(Wanted {
            name,
            labels,
            server_type,
            image,
            location,
            user_data,
            start,
            ssh_keys,
            net,
            networks,
            firewalls,
            placement_group,
        })
    }

    /// One name stands for a row of each architecture: that of the type is meant.
    pub(crate) fn find_image(
        &self,
        p: usize,
        which: &Value,
        server_type: &ServerType,
    ) -> Result<&Image, ApiError> {
        let named = |image: &&Image| {
            let name = image.name.as_deref().unwrap_or_default();
            catalog::means(which, image.id, name)
        };
        let mut found: Vec<&Image> = self.catalog.images.iter().filter(named).collect();
        found.extend(self.projects[p].images.values().filter(named));
        let image = found
            .iter()
            .find(|image| image.arm == server_type.arm)
            .or_else(|| found.first())
            .ok_or_else(|| ApiError::names_nothing("image", which))?;
        if image.state != ImageState::Available {
            return Err(ApiError::field("image", "image is not available"));
        }
        Ok(image)
    }

    fn find_location(
        &self,
        location: Option<Value>,
        datacenter: Option<Value>,
        server_type: &ServerType,
    ) -> Result<&'static Location, ApiError> {
        if let Some(which) = location {
            return catalog::location(&which).ok_or_else(|| ApiError::names_nothing("location", &which));
        }
        if let Some(which) = datacenter {
            let of = |place: &&Location| {
                let shown = catalog::datacenter(place, None);
                let name = shown["name"].as_str().unwrap_or_default();
                catalog::means(&which, shown["id"].as_i64().unwrap_or_default(), name)
            };
            let found = catalog::LOCATIONS.iter().find(of);
            return found.ok_or_else(|| ApiError::names_nothing("datacenter", &which));
        }
        let offers = &server_type.offers;
        let offer = offers.iter().find(|offer| offer.available).or_else(|| offers.first());
        let offer = offer.ok_or_else(|| ApiError::by_code("resource_unavailable"))?;
        Ok(catalog::location_of(&offer.location))
    }

    fn check_quotas(&self, p: usize, wanted: &Wanted) -> Result<(), ApiError> {
        let (of, limits) = (&self.projects[p], self.limits);
        let cores: u64 =
            of.servers.values().map(|server| self.catalog.type_of(server.server_type).cores).sum();
        let new_ips = usize::from(wanted.net.with_ipv4 && wanted.net.ipv4.is_none())
            + usize::from(wanted.net.with_ipv6 && wanted.net.ipv6.is_none());
        if of.servers.len() >= limits.servers {
            return Err(ApiError::limit("server limit exceeded", "server_limit"));
        }
        if cores + wanted.server_type.cores > limits.cores {
            return Err(ApiError::limit("core limit exceeded", "cores_limit"));
        }
        if of.primary_ips.len() + new_ips > limits.primary_ips {
            return Err(ApiError::limit("Primary IP limit exceeded", "primary_ip_limit"));
        }
        for network in &wanted.networks {
            let attached = |server: &&Server| server.attachments.iter().any(|at| at.network == *network);
            if of.servers.values().filter(attached).count() >= NETWORK_SERVERS_MAX {
                return Err(ApiError::limit("network attachment limit exceeded", "network_server_limit"));
            }
            let zone = of.networks.get(network).map(|network| network.zones());
            if zone.is_some_and(|zones| !zones.contains(&wanted.location.zone)) {
                let why = "network has no subnet in the network zone of the server";
                return Err(ApiError::new(422, "no_subnet_available", why, Value::Null));
            }
        }
        for (id, family) in [(wanted.net.ipv4, Family::V4), (wanted.net.ipv6, Family::V6)] {
            let Some(id) = id else { continue };
            let ip = of.primary_ips.get(&id).filter(|ip| ip.family == family);
            let ip = ip.ok_or_else(|| ApiError::names_nothing("primary_ip", &id.into()))?;
            if ip.server.is_some() {
                return Err(ApiError::new(422, "primary_ip_assigned", "primary IP is assigned", Value::Null));
            }
            if ip.location != wanted.location.name {
                return Err(ApiError::field("public_net", "primary IP is in another location"));
            }
        }
        let members = |group| of.servers.values().filter(|s| s.placement_group == Some(group)).count();
        if wanted.placement_group.is_some_and(|group| members(group) >= GROUP_SERVERS_MAX) {
            return Err(ApiError::limit("placement group is full", "placement_group_server_limit"));
        }
        Ok(())
    }

    fn check_stock(&self, wanted: &Wanted) -> Result<(), ApiError> {
        let offer = wanted.server_type.offer(wanted.location.name);
        if offer.is_some_and(|offer| offer.available) {
            return Ok(());
        }
        Err(ApiError::by_code("resource_unavailable"))
    }

    fn make_server(&mut self, p: usize, wanted: Wanted, fates: &[Fate]) -> Answer {
        let id = self.next_id();
        let place = wanted.location.name;
        let address = |world: &mut Self, with: bool, given: Option<i64>, family| {
            let make = |world: &mut Self| world.make_primary_ip(p, None, family, place, true);
            with.then(|| given.unwrap_or_else(|| make(world)))
        };
        let ipv4 = address(self, wanted.net.with_ipv4, wanted.net.ipv4, Family::V4);
        let ipv6 = address(self, wanted.net.with_ipv6, wanted.net.ipv6, Family::V6);
        for ip in [ipv4, ipv6].into_iter().flatten() {
            self.assign(p, ip, Some(id));
        }
        let offer = wanted.server_type.offer(place).expect("the type is supported there");
        // Seconds, because that is what is shown and billed.
        let created = crate::world::whole_second(self.now);
        self.ledger.open(Entry {
            billed: Billed::Server,
            project: self.projects[p].name.clone(),
            id,
            name: wanted.name.clone(),
            server_type: Some(wanted.server_type.name.clone()),
            location: place.to_owned(),
            labels: wanted.labels.clone(),
            hourly: offer.hourly,
            monthly: offer.monthly,
            created,
            deleted: None,
        });
        let root_password = wanted.ssh_keys.is_empty().then(|| self.dice.hex(20));
        let server = Server {
            id,
            name: wanted.name,
            labels: wanted.labels,
            created,
            status: Status::Initializing,
            locks: Vec::new(),
            server_type: wanted.server_type.id,
            location: place.to_owned(),
            image: wanted.image,
            user_data: wanted.user_data,
            ssh_keys: wanted.ssh_keys,
            ipv4,
            ipv6,
            attachments: Vec::new(),
            firewalls: wanted.firewalls,
            placement_group: wanted.placement_group,
            protected: false,
            guest: Guest::Off,
            boot: 0,
            cut_off: false,
            fates: fates.to_vec(),
        };
        self.projects[p].servers.insert(id, server);
        for network in &wanted.networks {
            self.attach(p, id, *network);
        }

        let create = self.plan_action(p, Work::Create, Some(id), &[(wanted.image, "image")]);
        let mut next = Vec::new();
        for network in wanted.networks {
            next.push(self.plan_action(p, Work::Attach, Some(id), &[(network, "network")]));
        }
        if wanted.start {
            next.push(self.plan_action(p, Work::Start, Some(id), &[]));
        }
        let mut before = create;
        for action in &next {
            self.action_mut(p, before).next = Some(*action);
            before = *action;
        }
        self.begin_work(p, create);
        if fates.contains(&Fate::CreateVanishes) {
            self.vanish_action(p, create);
        }
        let next: Vec<Value> = next.into_iter().map(|id| self.show_action(p, id)).collect();
        let server = &self.projects[p].servers[&id];
        Answer::created(json!({
            "server": self.show_server(p, server), "action": self.show_action(p, create),
            "next_actions": next, "root_password": root_password,
        }))
    }
}

fn unsupported(location: &Location) -> ApiError {
    let mut error = ApiError::field("location", "unsupported location for server type");
    error.message = format!("unsupported location for server type: {}", location.name);
    error
}

fn read_public_net(body: &mut Body) -> Result<PublicNet, ApiError> {
    let mut read = PublicNet { with_ipv4: true, with_ipv6: true, ipv4: None, ipv6: None };
    let Some(mut net) = body.object("public_net")? else { return Ok(read) };
    read.with_ipv4 = net.flag("enable_ipv4")?.unwrap_or(true);
    read.with_ipv6 = net.flag("enable_ipv6")?.unwrap_or(true);
    read.ipv4 = net.id("ipv4")?;
    read.ipv6 = net.id("ipv6")?;
    net.end()?;
    Ok(read)
}

fn find_all(named: &[Value], what: &str, find: impl Fn(&Value) -> Option<i64>) -> Result<Vec<i64>, ApiError> {
    let one = |which: &Value| find(which).ok_or_else(|| ApiError::names_nothing(what, which));
    named.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_name_is_a_host_name() {
        for good in ["w", "rgrid-w-01hxyz", "a.b-c.d", "W1", &"a".repeat(63)] {
            assert!(is_host_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a_b", "a..b", "a b", "ö", &"a".repeat(64)] {
            assert!(!is_host_name(bad), "{bad}");
        }
    }
}
