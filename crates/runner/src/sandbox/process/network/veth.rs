//! As root: a pair of virtual interfaces per slot; the host routes, translates and filters (`ip`, `nft`).
//!
//! The namespace hangs on a descriptor of this process alone: when the runner is killed the kernel takes it away, the
//! interfaces with it. The rules are one table per runner, replaced as a whole.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::libc;

use super::super::super::{SandboxConfig, SandboxError};
use super::super::instance::{Instance, SLOTS_MAX};
use super::super::kernel::Entry;
use super::rules::{self, Addresses, INTERFACE, Rules, addresses};
use super::{Seen, SlotNetwork, foreign, host_resolver, run};

/// The host's side of all slots of one runner.
#[derive(Debug)]
pub(crate) struct Veth {
    first: u32,
    slots: u32,
    /// Whether the host has a route for IPv6.
    v6: bool,
    mtu: Option<String>,
    rules: Rules,
}

impl Veth {
    /// Turns routing on, removes what a killed runner left, applies the rules.
    pub(crate) async fn prepare(config: &SandboxConfig, instance: &Instance) -> Result<Self, SandboxError> {
        let first = instance.slot_number(0);
        let interfaces = (0..config.slots).map(|slot| interface(first + slot)).collect();
        let veth = Self {
            first,
            slots: config.slots,
            v6: has_default_route_v6(),
            mtu: mtu(),
            rules: Rules::new(config, instance, interfaces),
        };
        turn_on_routing(veth.v6)?;
        let (_, servers) = host_resolver();
        veth.rules.apply(&servers).await?;
        Ok(veth)
    }

    fn interface(&self, slot: u32) -> String {
        interface(self.first + slot)
    }

    async fn remove_interface(&self, slot: u32) -> Result<(), SandboxError> {
        remove_interface(&self.interface(slot)).await
    }

    /// Makes a slot's namespace.
    pub(in super::super) async fn open(&self, slot: u32) -> Result<SlotNetwork, SandboxError> {
        self.clear(slot).await?;
        let namespace = new_namespace().map_err(SandboxError::system("make a network namespace"))?;
        self.connect(slot, namespace).await
    }

    /// Makes the host ready for a slot's next namespace; whatever had the slot's network has it no more.
    pub(in super::super::super) async fn clear(&self, slot: u32) -> Result<(), SandboxError> {
        let (_, servers) = host_resolver();
        self.rules.apply(&servers).await?;
        foreign::let_through().await; // not once for all: Docker may start later than we
        self.remove_interface(slot).await
    }

    /// Connects a namespace in which there is nothing but its loopback, after the slot was cleared.
    pub(in super::super::super) async fn connect(
        &self,
        slot: u32,
        namespace: OwnedFd,
    ) -> Result<SlotNetwork, SandboxError> {
        let seen = Seen::now();
        let (options, servers) = host_resolver();
        self.rules.apply(&servers).await?;
        let Addresses { v4, v6 } = addresses(self.first + slot);
        let name = self.interface(slot);
        let inherited = namespace.try_clone().map_err(SandboxError::system("copy a descriptor"))?;
        let mtu = self.mtu.as_deref().map(|mtu| format!("mtu {mtu}")).unwrap_or_default();
        let mut outside = format!(
            "link add {name} {mtu} type veth peer name eth0 {mtu} netns /proc/self/fd/{}\n\
             link set {name} addrgenmode none\naddress add {}/30 dev {name}\n",
            inherited.as_raw_fd(),
            v4.0
        );
        let mut inside =
            format!("link set lo up\nlink set eth0 addrgenmode none\naddress add {}/30 dev eth0\n", v4.1);
        let mut entry = Entry { inherit: vec![inherited], ..Entry::default() };
        if self.v6 {
            let_have_v6(&namespace).map_err(SandboxError::system("turn IPv6 on"))?;
            if new_interfaces_lack_v6() {
                let (made, with) = (std::mem::take(&mut outside), std::mem::take(&mut entry));
                run("ip", &["-batch", "-"], &made, with).await?;
                set(&format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "0")?;
            }
            let _ = writeln!(outside, "address add {}/64 dev {name} nodad", v6.0);
            let _ = writeln!(inside, "address add {}/64 dev eth0 nodad", v6.1);
        }
        let _ = writeln!(outside, "link set {name} up");
        let _ = writeln!(inside, "link set eth0 up\nroute add default via {}", v4.0);
        if self.v6 {
            let _ = writeln!(inside, "route add default via {}", v6.0);
        }
        run("ip", &["-batch", "-"], &outside, entry).await?;
        let enter = namespace.try_clone().map_err(SandboxError::system("copy a descriptor"))?;
        let entry = Entry { namespaces: vec![(enter, libc::CLONE_NEWNET)], ..Entry::default() };
        run("ip", &["-batch", "-"], &inside, entry).await?;
        let local = servers.iter().all(IpAddr::is_loopback);
        if local {
            rules::let_reach_stub(&name)?;
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

    /// Removes rules and interfaces.
    pub(crate) async fn close(&self) {
        foreign::remove().await;
        for slot in 0..self.slots {
            if let Err(error) = self.remove_interface(slot).await {
                tracing::warn!(%error, slot, "a slot's interface stays behind until the next start");
            }
        }
        self.rules.remove().await;
    }
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
    rules::clean_up(killed).await
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

/// Turns IPv6 on where whoever made the namespace has turned it off.
fn let_have_v6(namespace: &OwnedFd) -> std::io::Result<()> {
    std::thread::scope(|scope| {
        // The settings are those of who looks, and a thread that entered is of no other use.
        let inside = scope.spawn(|| {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
            for which in ["all", "default"] {
                let file = format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6");
                if fs::read_to_string(&file)?.trim() != "0" {
                    fs::write(&file, "0")?;
                }
            }
            Ok(())
        });
        inside.join().map_err(|_| std::io::Error::other("the thread in a namespace panicked"))?
    })
}

/// Whether this host gives IPv6 to none of its interfaces that come later, though it has it, as a host in a container.
fn new_interfaces_lack_v6() -> bool {
    let setting = fs::read_to_string("/proc/sys/net/ipv6/conf/default/disable_ipv6");
    setting.is_ok_and(|setting| setting.trim() != "0")
}

fn interface_exists(name: &str) -> bool {
    // Not /sys/class/net: that shows the namespace of whoever mounted it.
    let listed = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    listed.lines().any(|line| line.trim_start().strip_prefix(name).is_some_and(|rest| rest.starts_with(':')))
}

/// The largest packet on the host's default route.
fn mtu() -> Option<String> {
    let routes = fs::read_to_string("/proc/thread-self/net/route").ok()?;
    let device = routes.lines().skip(1).find_map(|line| {
        let mut words = line.split_whitespace();
        let device = words.next()?;
        (words.next()? == "00000000").then(|| device.to_owned())
    })?;
    Some(fs::read_to_string(format!("/sys/class/net/{device}/mtu")).ok()?.trim().to_owned())
}

/// Whether the host has a route for IPv6.
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
