//! A job's network: a namespace per slot, made ahead and made anew after each job, so that nothing of one job's
//! connections is there for the next.
//!
//! Two ways, chosen by the probe: `veth` as root, `pasta` as an ordinary user. Where neither works there is no network;
//! the host's own is used only when the operator says so. What is blocked is data here, for both.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use ipnet::IpNet;
use nix::libc;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::super::{SandboxConfig, SandboxError};
use super::instance::Instance;
use super::kernel::{self, Entry};
use crate::guards;

mod foreign;
pub(super) mod pasta;
mod rules;
pub(in super::super) mod veth;

/// Never reachable: this network, loopback, link-local (with the metadata service), multicast, reserved.
const BLOCKED_V4: &[&str] = &["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "224.0.0.0/3"];
/// Private: unless the operator allows them.
const PRIVATE_V4: &[&str] =
    &["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15"];
/// Never reachable: unspecified, loopback and mapped IPv4, translations to IPv4 (private ones among it), link-local,
/// multicast, and the metadata service of one provider.
const BLOCKED_V6: &[&str] =
    &["::/8", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "fe80::/9", "ff00::/8", "fd00:ec2::254/128"];
/// Private: unless the operator allows them.
const PRIVATE_V6: &[&str] = &["fc00::/7"];

/// How long a command of the system (`ip`, `nft`) may take.
const COMMAND_DEADLINE: Duration = Duration::from_secs(10);

/// How jobs get a network.
#[derive(Debug)]
pub(super) enum Network {
    /// A pair of virtual interfaces per slot, routed and filtered by the host.
    Veth(veth::Veth),
    /// A user-space network stack per slot.
    Pasta(pasta::Pasta),
    /// The host's own: the operator said so.
    Host,
    /// None, for this reason.
    None(String),
}

/// A namespace that is ready for one job.
#[derive(Debug)]
pub(in super::super) struct SlotNetwork {
    /// What is entered before bubblewrap starts.
    namespaces: Vec<(OwnedFd, libc::c_int)>,
    /// What `resolv.conf` says inside.
    resolver: String,
    /// What must live as long.
    held: Option<pasta::Held>,
    /// What it was made for; when this changes it is made anew.
    seen: Seen,
}

/// What of the host a namespace depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    addresses: Vec<IpAddr>,
    resolver: String,
}

impl Network {
    /// Finds a way that works, by making the first slot's network.
    pub(super) async fn probe(
        config: &SandboxConfig,
        instance: &Instance,
        root: bool,
    ) -> (Self, Option<SlotNetwork>) {
        let network = if root {
            veth::Veth::prepare(config, instance).await.map(Self::Veth)
        } else {
            pasta::Pasta::find(config).map(Self::Pasta)
        };
        let tried = match network {
            Ok(network) => network.open(0).await.map(|slot| (network, slot)),
            Err(error) => Err(error),
        };
        match tried {
            Ok((network, slot)) => (network, Some(slot)),
            Err(_) if config.allow_host_network => (Self::Host, None),
            Err(error) => (Self::None(error.to_string()), None),
        }
    }

    /// Its name for people.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Veth(_) => "veth",
            Self::Pasta(_) => "pasta",
            Self::Host => "host",
            Self::None(_) => "none",
        }
    }

    /// Makes a slot's namespace.
    pub(super) async fn open(&self, slot: u32) -> Result<SlotNetwork, SandboxError> {
        match self {
            Self::Veth(veth) => veth.open(slot).await,
            Self::Pasta(pasta) => pasta.open().await,
            Self::Host => {
                let resolver = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
                Ok(SlotNetwork { namespaces: Vec::new(), resolver, held: None, seen: Seen::now() })
            }
            Self::None(why) => Err(SandboxError::NoNetwork(why.clone())),
        }
    }

    /// Gives back what is the runner's, not a slot's.
    pub(super) async fn close(&self) {
        match self {
            Self::Veth(veth) => veth.close().await,
            Self::Pasta(_) | Self::Host | Self::None(_) => {}
        }
    }
}

impl SlotNetwork {
    /// Whether the host is still as it was when this was made.
    pub(in super::super) fn is_current(&self) -> bool {
        self.seen == Seen::now()
    }

    /// What `resolv.conf` says inside.
    pub(in super::super) fn resolver(&self) -> &str {
        &self.resolver
    }

    /// Whether no packet was ever sent in it, not even on its loopback: then nothing of a job can be left there.
    pub(super) fn is_untouched(&self) -> bool {
        let sent = match (&self.held, self.namespaces.as_slice()) {
            (Some(held), _) => sent_packets(&format!("/proc/{}/net", held.holder)),
            (None, [(namespace, _)]) => std::thread::scope(|scope| {
                // The counters are shown to who is inside, and a thread that entered is of no other use.
                let inside = scope.spawn(|| {
                    nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).ok()?;
                    sent_packets("/proc/thread-self/net")
                });
                inside.join().ok().flatten()
            }),
            (None, _) => None,
        };
        sent == Some(0)
    }

    /// Descriptors of its namespaces, for a process that enters them.
    pub(super) fn namespaces(&self) -> std::io::Result<Vec<(OwnedFd, libc::c_int)>> {
        self.namespaces.iter().map(|(file, kind)| Ok((file.try_clone()?, *kind))).collect()
    }
}

impl Seen {
    fn now() -> Self {
        Self {
            // Slots' own come and go with every job.
            addresses: host_addresses().into_iter().filter(|address| !rules::is_of_slots(*address)).collect(),
            resolver: fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        }
    }
}

/// Packets sent in a network, but for the neighbours' talk that IPv6 starts by itself.
fn sent_packets(folder: &str) -> Option<u64> {
    let four = fs::read_to_string(format!("{folder}/snmp")).ok()?;
    let mut lines = four.lines().filter(|line| line.starts_with("Ip:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let column = names.split(' ').position(|name| name == "OutRequests")?;
    let four: u64 = values.split(' ').nth(column)?.parse().ok()?;
    let six = fs::read_to_string(format!("{folder}/snmp6")).unwrap_or_default();
    let count = |name: &str| -> u64 {
        let value = six
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix([' ', '\t'])?.trim().parse().ok());
        value.unwrap_or(0)
    };
    Some(four + count("Ip6OutRequests").saturating_sub(count("Icmp6OutMsgs")))
}

/// What may not be reached, by family, as the operator allows it.
fn blocked(config: &SandboxConfig) -> (Vec<String>, Vec<String>) {
    let private = !config.allow_private_ranges && guards::holds(&guards::PRIVATE_RANGES);
    let list = |always: &[&str], private_ones: &[&str]| -> Vec<String> {
        let private_ones = private_ones.iter().filter(|_| private);
        always.iter().chain(private_ones).map(|&text| text.to_owned()).collect()
    };
    let (mut v4, mut v6) = (list(BLOCKED_V4, PRIVATE_V4), list(BLOCKED_V6, PRIVATE_V6));
    for address in config.blocked.iter().filter(|_| guards::holds(&guards::GRID_BLOCKED)) {
        match address {
            IpAddr::V4(address) => v4.push(address.to_string()),
            IpAddr::V6(address) => v6.push(address.to_string()),
        }
    }
    (v4, v6)
}

/// Addresses that no job reaches, for what is connected on behalf of one.
#[derive(Debug, Default)]
pub struct Forbidden {
    ranges: Vec<IpNet>,
}

impl Forbidden {
    /// Those that the operator's settings forbid. The host's own are too, as they are at any time.
    #[must_use]
    pub fn of(config: &SandboxConfig) -> Self {
        let (v4, v6) = blocked(config);
        let range = |text: &String| {
            let single = || text.parse::<IpAddr>().map(IpNet::from);
            text.parse().or_else(|_| single()).expect("what is blocked is written as the kernel reads it")
        };
        Self { ranges: v4.iter().chain(&v6).map(range).collect() }
    }

    /// Whether no job may reach this address.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.ranges.iter().any(|range| range.contains(&address)) || host_addresses().contains(&address)
    }
}

/// Every address of the host, sorted.
fn host_addresses() -> Vec<IpAddr> {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    addresses_in(&read("/proc/thread-self/net/fib_trie"), &read("/proc/thread-self/net/if_inet6"))
}

/// The addresses in the kernel's two tables.
pub(super) fn addresses_in(trie: &str, six: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let mut last = None;
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(last.map(IpAddr::V4));
        }
    }
    let bits = six.lines().filter_map(|line| u128::from_str_radix(line.split(' ').next()?, 16).ok());
    found.extend(bits.map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))));
    found.sort();
    found.dedup();
    found
}

/// The lines of `resolv.conf` that matter, and its servers. A stub on the loopback is replaced by what stands behind it.
fn host_resolver() -> (String, Vec<IpAddr>) {
    let mut text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = |text: &str| -> Vec<IpAddr> {
        text.lines().filter_map(|line| line.strip_prefix("nameserver")?.trim().parse().ok()).collect()
    };
    let mut found = servers(&text);
    if found.iter().all(IpAddr::is_loopback)
        && let Ok(behind) = fs::read_to_string("/run/systemd/resolve/resolv.conf")
    {
        found = servers(&behind);
        text = behind;
    }
    let kept = |line: &&str| line.starts_with("search") || line.starts_with("options");
    let options: String = text.lines().filter(kept).map(|line| format!("{line}\n")).collect();
    (options, found)
}

/// Runs a command of the system with `input`, after `entry`; its complaint becomes the error.
async fn run(program: &str, arguments: &[&str], input: &str, entry: Entry) -> Result<(), SandboxError> {
    let failed =
        |what: String| SandboxError::Unavailable(format!("`{program} {}`: {what}", arguments.join(" ")));
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command.env("PATH", search_path());
    kernel::enter_before_exec(&mut command, entry);
    let mut child = command.spawn().map_err(|error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            let package = if program == "nft" { "nftables" } else { "iproute2" };
            SandboxError::Unavailable(format!("`{program}` is not installed; apt-get install {package}"))
        } else {
            failed(error.to_string())
        }
    })?;
    let mut stdin = child.stdin.take().expect("it was asked for");
    let work = async {
        // A program that ends early says why on stderr; a broken pipe adds nothing.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(COMMAND_DEADLINE, work)
        .await
        .map_err(|_| failed(format!("not done after {} s", COMMAND_DEADLINE.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(said.lines().next().unwrap_or("it failed and said nothing").to_owned()))
}

/// Where the system's commands are, also for a user whose `PATH` leaves `sbin` out.
pub(super) fn search_path() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin");
    path
}
