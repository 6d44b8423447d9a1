//! As an ordinary user: pasta (Debian's `passt`), a network stack in user space, one per slot.
//!
//! Pasta makes the namespaces and runs our holder in them; the holder lives until its stdin closes. So when the runner
//! is killed the holder ends, pasta with it, and nothing is left.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::libc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use super::super::super::{SandboxConfig, SandboxError};
use super::super::kernel::Entry;
use super::super::launch::LAUNCH_ARGUMENT;
use super::{Seen, SlotNetwork, blocked, host_addresses, host_resolver, run, search_path};

/// The addresses inside: they mean nothing outside, pasta translates. The gateway answers names (over UDP) and nothing
/// else. They are the last of the range of which `veth` uses the first: no runner of root has them for its host.
const ADDRESS_V4: &str = "198.19.255.254";
const GATEWAY_V4: &str = "198.19.255.253";
const PREFIX_V4: &str = "30";

/// How long pasta may take to be ready.
const READY_DEADLINE: Duration = Duration::from_secs(10);
/// The holder says this when it runs in its namespaces.
const READY: &str = "ready";

/// Pasta, found on this machine.
#[derive(Debug)]
pub(crate) struct Pasta {
    launcher: PathBuf,
    config: SandboxConfig,
}

/// What keeps a slot's namespaces. The end of the holder's stdin is its end.
#[derive(Debug)]
pub(crate) struct Held {
    /// The process that lives in the namespaces.
    pub(super) holder: u32,
    _holder_stdin: ChildStdin,
    _pasta: Child,
}

impl Pasta {
    /// Looks for pasta and what it needs.
    pub(crate) fn find(config: &SandboxConfig) -> Result<Self, SandboxError> {
        let unavailable = |text: &str| Err(SandboxError::Unavailable(text.to_owned()));
        let missing =
            |program| !std::env::split_paths(&search_path()).any(|folder| folder.join(program).is_file());
        if missing("pasta") {
            return unavailable("`pasta` is not installed; apt-get install passt");
        }
        if missing("ip") {
            return unavailable("`ip` is not installed; apt-get install iproute2");
        }
        if let Err(error) = File::options().read(true).write(true).open("/dev/net/tun") {
            return unavailable(&format!(
                "/dev/net/tun cannot be used ({error}); as root: modprobe tun && chmod 666 /dev/net/tun"
            ));
        }
        Ok(Self { launcher: config.launcher.clone(), config: config.clone() })
    }

    /// Makes a slot's namespace.
    pub(crate) async fn open(&self) -> Result<SlotNetwork, SandboxError> {
        let seen = Seen::now();
        let mut command = Command::new("pasta");
        command.env("PATH", search_path()).kill_on_drop(true);
        command.args(["--foreground", "--quiet", "--config-net", "--ipv4-only", "--no-map-gw"]);
        // No port of either side appears on the other.
        command.args(["-t", "none", "-u", "none", "-T", "none", "-U", "none"]);
        command.args(["-a", ADDRESS_V4, "-n", PREFIX_V4, "-g", GATEWAY_V4, "--dns-forward", GATEWAY_V4]);
        command.arg("--").arg(&self.launcher).args([LAUNCH_ARGUMENT, "hold"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut pasta = command.spawn().map_err(SandboxError::system("start pasta"))?;
        let stdin = pasta.stdin.take().expect("it was asked for");
        let mut stdout = BufReader::new(pasta.stdout.take().expect("it was asked for"));
        let mut stderr = pasta.stderr.take().expect("it was asked for");
        let mut line = String::new();
        let ready = tokio::time::timeout(READY_DEADLINE, stdout.read_line(&mut line)).await;
        if !matches!(ready, Ok(Ok(_))) || line.trim() != READY {
            let mut said = String::new();
            drop(stdin);
            // What it said so far is enough; it may not end by itself.
            let _ = tokio::time::timeout(Duration::from_millis(500), stderr.read_to_string(&mut said)).await;
            let said = said.lines().last().unwrap_or("it said nothing").to_owned();
            return Err(SandboxError::Unavailable(format!("pasta cannot make a network: {said}")));
        }
        let holder = pasta.id().and_then(only_child).ok_or_else(|| {
            SandboxError::Unavailable(
                "pasta's namespaces cannot be found; is /proc/PID/task/*/children there?".to_owned(),
            )
        })?;
        let open = |name: &str| -> Result<OwnedFd, SandboxError> {
            let path = format!("/proc/{holder}/ns/{name}");
            Ok(File::open(&path).map_err(SandboxError::system(format!("open {path}")))?.into())
        };
        let namespaces = vec![(open("user")?, libc::CLONE_NEWUSER), (open("net")?, libc::CLONE_NEWNET)];
        let (options, _) = host_resolver();
        let mut slot = SlotNetwork {
            namespaces,
            resolver: format!("nameserver {GATEWAY_V4}\n{options}"),
            held: None,
            seen,
        };
        let namespaces = slot.namespaces().map_err(SandboxError::system("copy a descriptor"))?;
        run("ip", &["-batch", "-"], &self.routes(), Entry { namespaces, ..Entry::default() }).await?;
        slot.held = Some(Held { holder, _holder_stdin: stdin, _pasta: pasta });
        Ok(slot)
    }

    /// What is blocked has a route that leads nowhere. Every address of the host is: pasta would deliver there.
    fn routes(&self) -> String {
        let (mut v4, _) = blocked(&self.config);
        v4.extend(host_addresses().iter().filter(|address| address.is_ipv4()).map(IpAddr::to_string));
        let mut text = String::from("link set lo up\n");
        for range in v4.iter().filter(|range| !range.starts_with("127.")) {
            let _ = writeln!(text, "route replace unreachable {range}");
        }
        text
    }
}

/// The one child of a process.
fn only_child(pid: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// The holder's whole life, inside pasta's namespaces. The result is its exit code.
pub(crate) fn hold() -> i32 {
    let mut stdout = std::io::stdout();
    if writeln!(stdout, "{READY}").and_then(|()| stdout.flush()).is_err() {
        return 1;
    }
    let mut byte = [0];
    // Nobody writes: this returns when the runner closes its end or dies.
    while std::io::stdin().read(&mut byte).is_ok_and(|count| count > 0) {}
    0
}
