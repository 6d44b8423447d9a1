//! A container's network: a bridge of the engine's per slot, so that no job has a neighbour, behind the same rules as the
//! process sandbox's jobs.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use tokio::sync::Mutex;

use super::super::process::instance::Instance;
use super::super::process::network::rules::{Addresses, INTERFACE, Rules, addresses, let_reach_stub};
use super::super::process::network::veth::{has_default_route_v6, mtu, turn_on_routing};
use super::super::process::network::{foreign, host_resolver};
use super::super::{SandboxConfig, SandboxError};
use super::engine::Engine;
use super::owner;

/// The networks of one runner's slots.
#[derive(Debug)]
pub(super) struct Bridges {
    first: u32,
    rules: Rules,
    v6: bool,
    /// The names of those that are made.
    made: Mutex<HashSet<String>>,
}

/// A slot's network.
#[derive(Debug)]
pub(super) struct Bridge {
    /// The engine's name for it.
    pub(super) name: String,
    /// What `resolv.conf` says inside.
    pub(super) resolver: String,
}

impl Bridges {
    /// Turns routing on and applies the rules, ahead of any bridge.
    pub(super) async fn prepare(config: &SandboxConfig, instance: &Instance) -> Result<Self, SandboxError> {
        let first = instance.slot_number(0);
        let interfaces = (0..config.slots).map(|slot| interface(first + slot)).collect();
        let v6 = has_default_route_v6();
        let rules = Rules::new(config, instance, interfaces);
        turn_on_routing(v6)?;
        rules.apply(&host_resolver().1).await?;
        Ok(Self { first, rules, v6, made: Mutex::default() })
    }

    /// The network of a slot; made when it is used first.
    pub(super) async fn of(&self, engine: &Engine, owner: &str, slot: u32) -> Result<Bridge, SandboxError> {
        let (options, servers) = host_resolver();
        self.rules.apply(&servers).await?;
        let number = self.first + slot;
        let Addresses { v4: (gateway, _), v6: (gateway_v6, _) } = addresses(number);
        let local = servers.iter().all(IpAddr::is_loopback);
        let heard = if local { vec![IpAddr::V4(gateway)] } else { servers };
        let names: String = heard.iter().map(|server| format!("nameserver {server}\n")).collect();
        let bridge = Bridge { name: format!("rgrid-slot-{number}"), resolver: names + &options };
        let mut made = self.made.lock().await;
        if !made.contains(&bridge.name) {
            let base = Ipv4Addr::from_bits(gateway.to_bits() - 1);
            let mut subnets = vec![subnet(format!("{base}/30"), &gateway.into())];
            if self.v6 {
                let base = Ipv6Addr::from_bits(gateway_v6.to_bits() - 1);
                subnets.push(subnet(format!("{base}/64"), &gateway_v6.into()));
            }
            engine.remove_network(&bridge.name).await?;
            engine.create_network(self.request(&bridge.name, number, subnets, owner)).await?;
            foreign::let_through().await; // where more than Docker guards the host's forwarding
            made.insert(bridge.name.clone());
        }
        if local {
            let_reach_stub(&interface(number))?;
        }
        Ok(bridge)
    }

    fn request(
        &self,
        name: &str,
        number: u32,
        subnets: Vec<IpamConfig>,
        owner: &str,
    ) -> NetworkCreateRequest {
        let mut options = HashMap::from([
            ("com.docker.network.bridge.name".to_owned(), interface(number)),
            ("com.docker.network.bridge.enable_ip_masquerade".to_owned(), "true".to_owned()),
        ]);
        options.extend(mtu().map(|mtu| ("com.docker.network.driver.mtu".to_owned(), mtu)));
        NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            enable_ipv6: Some(self.v6),
            ipam: Some(Ipam { config: Some(subnets), ..Ipam::default() }),
            options: Some(options),
            labels: Some(HashMap::from([(owner::LABEL.to_owned(), owner.to_owned())])),
            ..NetworkCreateRequest::default()
        }
    }

    /// Removes networks and rules. No container is in them any more.
    pub(super) async fn close(&self, engine: &Engine) {
        for name in self.made.lock().await.drain() {
            if let Err(error) = engine.remove_network(&name).await {
                tracing::warn!(%error, "a slot's network stays behind until the next start");
            }
        }
        self.rules.remove().await;
    }
}

/// The host's end of a slot's network.
fn interface(number: u32) -> String {
    format!("{INTERFACE}-d{number}")
}

fn subnet(subnet: String, gateway: &IpAddr) -> IpamConfig {
    IpamConfig { subnet: Some(subnet), gateway: Some(gateway.to_string()), ..IpamConfig::default() }
}
