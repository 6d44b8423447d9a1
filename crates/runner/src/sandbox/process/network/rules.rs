//! What jobs may reach, in the kernel's language: one table per runner, replaced as a whole, for all interfaces behind
//! which its jobs are.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::sync::Mutex;

use super::super::super::{SandboxConfig, SandboxError};
use super::super::instance::{Instance, SLOTS_MAX};
use super::super::kernel::Entry;
use super::{blocked, run};

/// Where slots have their addresses: the range for tests of network devices, four a slot.
const FIRST_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// And a private range of our own, a /64 a slot.
const FIRST_V6: Ipv6Addr = Ipv6Addr::new(0xfd72, 0x6772, 0x6964, 0, 0, 0, 0, 0);
/// The prefix lengths of both ranges as a whole: all slots of all runners.
const ALL_V4_PREFIX: u32 = 15;
const ALL_V6_PREFIX: u32 = 48;
/// Slots of one runner as prefix lengths of those ranges.
const RUNNER_V4_PREFIX: u32 = 32 - 2 - SLOTS_MAX.ilog2();
const RUNNER_V6_PREFIX: u32 = 64 - SLOTS_MAX.ilog2();
/// Every runner's interfaces begin so.
pub(super) const INTERFACE: &str = "rgrid";

/// The addresses of a slot: the host's end and the job's.
pub(super) struct Addresses {
    pub(super) v4: (Ipv4Addr, Ipv4Addr),
    pub(super) v6: (Ipv6Addr, Ipv6Addr),
}

/// Those of the slot with this number among all runners of the machine.
pub(super) fn addresses(number: u32) -> Addresses {
    let v4 = FIRST_V4.to_bits() + number * 4;
    let v6 = FIRST_V6.to_bits() + (u128::from(number) << 64);
    Addresses {
        v4: (Ipv4Addr::from_bits(v4 + 1), Ipv4Addr::from_bits(v4 + 2)),
        v6: (Ipv6Addr::from_bits(v6 + 1), Ipv6Addr::from_bits(v6 + 2)),
    }
}

/// Whether an address of the host is one of a slot, of whichever runner.
pub(super) fn is_of_slots(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => (v4.to_bits() ^ FIRST_V4.to_bits()) >> (32 - ALL_V4_PREFIX) == 0,
        IpAddr::V6(v6) => (v6.to_bits() ^ FIRST_V6.to_bits()) >> (128 - ALL_V6_PREFIX) == 0,
    }
}

/// The rules of one runner.
#[derive(Debug)]
pub(super) struct Rules {
    table: String,
    first: u32,
    /// Behind which jobs are.
    interfaces: Vec<String>,
    config: SandboxConfig,
    /// As last applied.
    applied: Mutex<String>,
}

impl Rules {
    pub(super) fn new(config: &SandboxConfig, instance: &Instance, interfaces: Vec<String>) -> Self {
        let first = instance.slot_number(0);
        let config = config.clone();
        Self { table: table(instance), first, interfaces, config, applied: Mutex::default() }
    }

    /// Replaces the table, when what it must say has changed.
    pub(super) async fn apply(&self, servers: &[IpAddr]) -> Result<(), SandboxError> {
        let rules = self.text(servers);
        let mut applied = self.applied.lock().await;
        if *applied == rules {
            return Ok(());
        }
        // Declared, deleted, declared again: in one transaction, whether it was there or not.
        let text = format!("table inet {0}\ndelete table inet {0}\n{rules}", self.table);
        run("nft", &["-f", "-"], &text, Entry::default()).await?;
        *applied = rules;
        Ok(())
    }

    /// Removes the table.
    pub(super) async fn remove(&self) {
        if let Err(error) = run("nft", &["delete", "table", "inet", &self.table], "", Entry::default()).await
        {
            tracing::warn!(%error, "the network rules stay behind until the next start");
        }
    }

    /// The policy.
    fn text(&self, servers: &[IpAddr]) -> String {
        let slots: Vec<String> = self.interfaces.iter().map(|name| format!("\"{name}\"")).collect();
        let (v4, v6) = blocked(&self.config);
        let Addresses { v4: (first_v4, _), v6: (first_v6, _) } = addresses(self.first);
        let table = &self.table;
        let mut names = String::new();
        let mut to_stub = String::new();
        for server in servers {
            let family = if server.is_ipv4() { "ip" } else { "ip6" };
            let _ =
                writeln!(names, "    {family} daddr {server} meta l4proto {{ tcp, udp }} th dport 53 accept");
        }
        // Only a stub on the host's loopback answers names: the slot's gateway stands for it.
        if let Some(IpAddr::V4(stub)) = servers.iter().find(|_| servers.iter().all(IpAddr::is_loopback)) {
            let _ = writeln!(
                to_stub,
                "  chain names {{\n    type nat hook prerouting priority dstnat; policy accept;\n    \
                 iifname @slots fib daddr type local meta l4proto {{ tcp, udp }} th dport 53 dnat ip to {stub}\n  }}"
            );
        }
        format!(
            "table inet {table} {{
  set slots {{ type ifname; elements = {{ {slots} }} }}
  set blocked4 {{ type ipv4_addr; flags interval; auto-merge; elements = {{ {v4} }} }}
  set blocked6 {{ type ipv6_addr; flags interval; auto-merge; elements = {{ {v6} }} }}
{to_stub}  chain names_of_jobs {{
{names}  }}
  chain input {{
    type filter hook input priority filter - 10; policy accept;
    iifname != @slots accept
    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
    jump names_of_jobs
    meta l4proto tcp reject with tcp reset
    reject with icmpx admin-prohibited
  }}
  chain forward {{
    type filter hook forward priority filter - 10; policy accept;
    iifname @slots jump from_jobs
    oifname @slots ct state established,related accept
    oifname @slots drop
  }}
  chain from_jobs {{
    oifname \"{INTERFACE}*\" reject with icmpx admin-prohibited
    jump names_of_jobs
    ip daddr @blocked4 reject with icmp admin-prohibited
    ip6 daddr @blocked6 reject with icmpv6 admin-prohibited
  }}
  chain translate {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {first_v4}/{RUNNER_V4_PREFIX} masquerade
    ip6 saddr {first_v6}/{RUNNER_V6_PREFIX} masquerade
  }}
}}
",
            slots = slots.join(", "),
            v4 = v4.join(", "),
            v6 = v6.join(", "),
        )
    }
}

/// The table of a runner's rules.
fn table(instance: &Instance) -> String {
    format!("rgrid_{}", instance.number())
}

/// Removes the table of a killed runner.
pub(super) async fn clean_up(killed: &Instance) -> Result<(), SandboxError> {
    // Declared first, so that there is one to delete.
    let text = format!("table inet {0}\ndelete table inet {0}\n", table(killed));
    run("nft", &["-f", "-"], &text, Entry::default()).await
}

/// Lets what is behind an interface be sent on to the host's own name server.
pub(super) fn let_reach_stub(interface: &str) -> Result<(), SandboxError> {
    let file = format!("/proc/sys/net/ipv4/conf/{interface}/route_localnet");
    fs::write(&file, "1").map_err(SandboxError::system(format!("write {file}")))
}
