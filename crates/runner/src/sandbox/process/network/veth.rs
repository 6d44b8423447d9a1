//! As root: a pair of virtual interfaces per slot; the host routes, translates and filters (`ip`, `nft`).
//!
//! The namespace hangs on a descriptor of this process alone: when the runner is killed the kernel takes it away, the
//! interfaces with it. The rules are one table per runner, replaced as a whole.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::libc;
use tokio::sync::Mutex;

use super::super::super::{SandboxConfig, SandboxError};
use super::super::instance::{Instance, SLOTS_MAX};
use super::super::kernel::Entry;
use super::{Seen, SlotNetwork, blocked, foreign, host_resolver, run};

/// Where slots have their addresses: the range for tests of network devices, four a slot.
const FIRST_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// And a private range of our own, a /64 a slot.
const FIRST_V6: Ipv6Addr = Ipv6Addr::new(0xfd72, 0x6772, 0x6964, 0, 0, 0, 0, 0);
/// Slots of one runner as prefix lengths of those ranges.
const RUNNER_V4_PREFIX: u32 = 32 - 2 - SLOTS_MAX.ilog2();
const RUNNER_V6_PREFIX: u32 = 64 - SLOTS_MAX.ilog2();
/// Every runner's interfaces begin so.
pub(super) const INTERFACE: &str = "rgrid";

/// The host's side of all slots of one runner.
#[derive(Debug)]
pub(crate) struct Veth {
    first: u32,
    table: String,
    slots: u32,
    config: SandboxConfig,
    /// Whether the host has a route for IPv6.
    v6: bool,
    mtu: Option<String>,
    /// The rules as last applied.
    rules: Mutex<String>,
}

/// The addresses of a slot: the host's end and the job's.
struct Addresses {
    v4: (Ipv4Addr, Ipv4Addr),
    v6: (Ipv6Addr, Ipv6Addr),
}

fn addresses(number: u32) -> Addresses {
    let v4 = FIRST_V4.to_bits() + number * 4;
    let v6 = FIRST_V6.to_bits() + (u128::from(number) << 64);
    Addresses {
        v4: (Ipv4Addr::from_bits(v4 + 1), Ipv4Addr::from_bits(v4 + 2)),
        v6: (Ipv6Addr::from_bits(v6 + 1), Ipv6Addr::from_bits(v6 + 2)),
    }
}

impl Veth {
    /// Turns routing on, removes what a killed runner left, applies the rules.
    pub(crate) async fn prepare(config: &SandboxConfig, instance: &Instance) -> Result<Self, SandboxError> {
        let route = default_route();
        let veth = Self {
            first: instance.slot_number(0),
            table: table(instance),
            slots: config.slots,
            config: config.clone(),
            v6: has_default_route_v6(),
            mtu: route.and_then(|device| fs::read_to_string(format!("/sys/class/net/{device}/mtu")).ok()),
            rules: Mutex::new(String::new()),
        };
        turn_on_routing(veth.v6)?;
        let (_, servers) = host_resolver();
        veth.apply_rules(&servers).await?;
        Ok(veth)
    }

    fn interface(&self, slot: u32) -> String {
        interface(self.first + slot)
    }

    async fn remove_interface(&self, slot: u32) -> Result<(), SandboxError> {
        remove_interface(&self.interface(slot)).await
    }

    /// Makes a slot's namespace.
    pub(crate) async fn open(&self, slot: u32) -> Result<SlotNetwork, SandboxError> {
        let seen = Seen::now();
        let (options, servers) = host_resolver();
        self.apply_rules(&servers).await?;
        foreign::let_through().await; // not once for all: Docker may start later than we
        self.remove_interface(slot).await?;
        let namespace = new_namespace().map_err(SandboxError::system("make a network namespace"))?;
        let Addresses { v4, v6 } = addresses(self.first + slot);
        let name = self.interface(slot);
        let inherited = namespace.try_clone().map_err(SandboxError::system("copy a descriptor"))?;
        let mtu = self.mtu.as_deref().map(|mtu| format!("mtu {}", mtu.trim())).unwrap_or_default();
        let mut outside = format!(
            "link add {name} {mtu} type veth peer name eth0 {mtu} netns /proc/self/fd/{}\n\
             link set {name} addrgenmode none\naddress add {}/30 dev {name}\n",
            inherited.as_raw_fd(),
            v4.0
        );
        let mut inside =
            format!("link set lo up\nlink set eth0 addrgenmode none\naddress add {}/30 dev eth0\n", v4.1);
        if self.v6 {
            let _ = writeln!(outside, "address add {}/64 dev {name} nodad", v6.0);
            let _ = writeln!(inside, "address add {}/64 dev eth0 nodad", v6.1);
        }
        let _ = writeln!(outside, "link set {name} up");
        let _ = writeln!(inside, "link set eth0 up\nroute add default via {}", v4.0);
        if self.v6 {
            let _ = writeln!(inside, "route add default via {}", v6.0);
        }
        let entry = Entry { inherit: vec![inherited], ..Entry::default() };
        run("ip", &["-batch", "-"], &outside, entry).await?;
        let enter = namespace.try_clone().map_err(SandboxError::system("copy a descriptor"))?;
        let entry = Entry { namespaces: vec![(enter, libc::CLONE_NEWNET)], ..Entry::default() };
        run("ip", &["-batch", "-"], &inside, entry).await?;
        let local = servers.iter().all(IpAddr::is_loopback);
        if local {
            let file = format!("/proc/sys/net/ipv4/conf/{name}/route_localnet");
            fs::write(&file, "1").map_err(SandboxError::system(format!("write {file}")))?;
        }
        let servers = if local { vec![IpAddr::V4(v4.0)] } else { servers };
        let names: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
        Ok(SlotNetwork {
            namespaces: vec![(namespace, libc::CLONE_NEWNET)],
            resolver: names + &options,
            held: None,
            seen,
        })
    }

    /// Replaces the table, when what it must say has changed.
    async fn apply_rules(&self, servers: &[IpAddr]) -> Result<(), SandboxError> {
        let rules = self.rules(servers);
        let mut applied = self.rules.lock().await;
        if *applied == rules {
            return Ok(());
        }
        // Declared, deleted, declared again: in one transaction, whether it was there or not.
        let text = format!("table inet {0}\ndelete table inet {0}\n{rules}", self.table);
        run("nft", &["-f", "-"], &text, Entry::default()).await?;
        *applied = rules;
        Ok(())
    }

    /// The policy, in the kernel's language.
    fn rules(&self, servers: &[IpAddr]) -> String {
        let slots: Vec<String> =
            (0..self.slots).map(|slot| format!("\"{}\"", self.interface(slot))).collect();
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

    /// Removes rules and interfaces.
    pub(crate) async fn close(&self) {
        foreign::remove().await;
        for slot in 0..self.slots {
            if let Err(error) = self.remove_interface(slot).await {
                tracing::warn!(%error, slot, "a slot's interface stays behind until the next start");
            }
        }
        if let Err(error) = run("nft", &["delete", "table", "inet", &self.table], "", Entry::default()).await
        {
            tracing::warn!(%error, "the network rules stay behind until the next start");
        }
    }
}

/// The table of a runner's rules.
fn table(instance: &Instance) -> String {
    format!("rgrid_{}", instance.number())
}

/// The host's end of a slot.
fn interface(number: u32) -> String {
    format!("{INTERFACE}{number}")
}

/// Removes a pair at once; a namespace that is closed takes its interfaces with it only some time later.
async fn remove_interface(name: &str) -> Result<(), SandboxError> {
    if !interface_exists(name) {
        return Ok(());
    }
    match run("ip", &["link", "delete", name], "", Entry::default()).await {
        // A namespace that is being taken apart may have come first.
        Err(error) if interface_exists(name) => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes what a killed runner left.
pub(crate) async fn clean_up(killed: &Instance) -> Result<(), SandboxError> {
    for slot in 0..SLOTS_MAX {
        remove_interface(&interface(killed.slot_number(slot))).await?;
    }
    // Declared first, so that there is one to delete.
    let text = format!("table inet {0}\ndelete table inet {0}\n", table(killed));
    run("nft", &["-f", "-"], &text, Entry::default()).await
}

/// A new network namespace that lives as long as the descriptor.
fn new_namespace() -> std::io::Result<OwnedFd> {
    // A thread's namespace can be changed for good, so this one is thrown away.
    let made = std::thread::spawn(|| -> std::io::Result<OwnedFd> {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
        Ok(File::open("/proc/thread-self/ns/net")?.into())
    });
    made.join().map_err(|_| std::io::Error::other("the thread that makes a namespace panicked"))?
}

fn interface_exists(name: &str) -> bool {
    // Not /sys/class/net: that shows the namespace of whoever mounted it.
    let listed = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    listed.lines().any(|line| line.trim_start().strip_prefix(name).is_some_and(|rest| rest.starts_with(':')))
}

/// The device of the host's default route.
fn default_route() -> Option<String> {
    let routes = fs::read_to_string("/proc/thread-self/net/route").ok()?;
    routes.lines().skip(1).find_map(|line| {
        let mut words = line.split_whitespace();
        let device = words.next()?;
        (words.next()? == "00000000").then(|| device.to_owned())
    })
}

fn has_default_route_v6() -> bool {
    let routes = fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap_or_default();
    let nowhere = "0".repeat(32);
    routes.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.first() == Some(&nowhere.as_str()) && words.get(1) == Some(&"00") && words.last() != Some(&"lo")
    })
}

/// Lets the host forward. Interfaces that learn their IPv6 routes from a router go on doing so.
fn turn_on_routing(v6: bool) -> Result<(), SandboxError> {
    set("/proc/sys/net/ipv4/ip_forward", "1")?;
    if !v6 {
        return Ok(());
    }
    let folder = Path::new("/proc/sys/net/ipv6/conf");
    for entry in fs::read_dir(folder).map_err(SandboxError::system("read the IPv6 settings"))?.flatten() {
        let file = entry.path().join("accept_ra");
        if fs::read_to_string(&file).is_ok_and(|now| now.trim() == "1") {
            set(&file.to_string_lossy(), "2")?;
        }
    }
    set("/proc/sys/net/ipv6/conf/all/forwarding", "1")
}

fn set(file: &str, value: &str) -> Result<(), SandboxError> {
    if fs::read_to_string(file).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    fs::write(file, value).map_err(SandboxError::system(format!("set {file} to {value}")))
}
