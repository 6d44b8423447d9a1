//! A container whose first process is systemd, on which real cloud-init runs the server's user data. It asks for it at
//! 169.254.169.254, where one service answers each container by its address. For that the stand-in is root, and in the
//! network namespace of the engine.
//!
//! The image is any Debian with systemd, cloud-init and iproute2. Cloud-init's own source for Hetzner wants the provider's name in the
//! machine's firmware, which a container cannot have: so it is told to take its NoCloud source, and that to ask this
//! address over the network for the same user data.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Facts, Machine, metadata_service};
use crate::stand::Shared;

/// Where cloud-init asks.
const METADATA: &str = "169.254.169.254";
/// What containers of a stand-in are marked with.
const LABEL: &str = "hetzner-sim";
/// What systemd and what a worker's own sandboxes need.
const FLAGS: &[&str] = &[
    "--cap-add=SYS_ADMIN",
    "--cap-add=NET_ADMIN",
    "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined",
    "--security-opt=systempaths=unconfined",
    // Systemd finds its own group by the machine's path in the machine's tree; by any other it would take the whole tree.
    "--cgroupns=host",
    "--tmpfs=/run",
    "--tmpfs=/run/lock",
    "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw",
];
/// Files that are put into each container before it starts.
const FILES: &[(&str, &str)] = &[
    ("etc/cloud/ds-identify.cfg", "policy: enabled\n"),
    (
        "etc/cloud/cloud.cfg.d/99_stand.cfg",
        "datasource_list: [NoCloud]\nnetwork: {config: disabled}\nlocale: false\n",
    ),
    ("var/lib/cloud/seed/nocloud/meta-data", "seedfrom: http://169.254.169.254/nocloud/\n"),
    ("var/lib/cloud/seed/nocloud/user-data", ""),
];

/// The engine, and who has which address in it.
pub(super) struct Engine {
    image: String,
    host: Option<String>,
    /// Of this stand-in, so that another's containers are left alone.
    mark: String,
    /// Whether the address was not there before.
    adds: bool,
    listener: Mutex<Option<std::net::TcpListener>>,
    addresses: Mutex<HashMap<IpAddr, (usize, i64)>>,
}

impl Engine {
    pub(super) async fn new(image: String, host: Option<String>) -> anyhow::Result<Self> {
        // It is there already if somebody else has put it there, and then it stays.
        let adds = run(&mut ip("add")).await.is_ok();
        let listener = TcpListener::bind((METADATA, 80)).await;
        let listener = listener.with_context(|| format!("listen on {METADATA}:80, as root"))?;
        let engine = Self {
            image,
            host,
            mark: std::process::id().to_string(),
            adds,
            listener: Mutex::new(Some(listener.into_std()?)),
            addresses: Mutex::default(),
        };
        engine.docker(&["image", "inspect", "--format", "{{.Id}}", &engine.image]).await?;
        engine.sweep().await?;
        Ok(engine)
    }

    /// Removes containers of stand-ins whose process has ended without removing them.
    async fn sweep(&self) -> anyhow::Result<()> {
        let format = format!("{{{{.ID}}}} {{{{.Label \"{LABEL}\"}}}}");
        let filter = format!("label={LABEL}");
        let all = self.docker(&["ps", "--all", "--filter", &filter, "--format", &format]).await?;
        for (id, mark) in all.lines().filter_map(|line| line.split_once(' ')) {
            if mark == self.mark || !Path::new("/proc").join(mark).exists() {
                self.docker(&["rm", "--force", "--volumes", id]).await?;
            }
        }
        Ok(())
    }

    pub(super) fn serve_metadata(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) {
        let listener = self.listener.lock().expect("no holder panics").take();
        let Some(Ok(listener)) = listener.map(TcpListener::from_std) else { return };
        let (engine, adds, shutdown) = (self.clone(), self.adds, shutdown.clone());
        let whose = move |peer: std::net::SocketAddr| {
            engine.addresses.lock().expect("no holder panics").get(&peer.ip()).copied()
        };
        let service = metadata_service::serve(listener, Arc::downgrade(shared), whose);
        tasks.spawn(async move {
            shutdown.run_until_cancelled(service).await;
            if adds && let Err(error) = run(&mut ip("delete")).await {
                tracing::error!(error = format!("{error:#}"), "the metadata address stays");
            }
        });
    }

    /// Leaves a container no way out by addresses that its server does not have; to its neighbours and to its metadata
    /// every server has one.
    async fn take_ways(&self, name: &str, facts: &Facts, gateway: &str) -> anyhow::Result<()> {
        let inside = ["exec", name, "ip"];
        if !facts.ipv4 {
            let metadata = ["route", "replace", METADATA, "via", gateway];
            self.docker(&[&inside[..], &metadata[..]].concat()).await?;
            self.docker(&[&inside[..], &["route", "delete", "default"]].concat()).await?;
        }
        if !facts.ipv6 {
            // Most engines have none of the kind.
            let _ = self.docker(&[&inside[..], &["-6", "route", "delete", "default"]].concat()).await;
        }
        Ok(())
    }

    async fn docker(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("docker");
        if let Some(host) = &self.host {
            command.args(["--host", host]);
        }
        run(command.args(words)).await
    }
}

fn ip(verb: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["address", verb, &format!("{METADATA}/32"), "dev", "lo"]);
    command
}

async fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().await.context("start docker or ip")?;
    if !output.status.success() {
        bail!("{:?}: {}", command.as_std(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

pub(super) struct Container {
    engine: Arc<Engine>,
    /// Its name, once it is made.
    name: Option<String>,
}

impl Container {
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, name: None }
    }

    async fn make(&mut self, facts: &Facts) -> anyhow::Result<String> {
        let name = format!("hetzner-sim-{}-{}", self.engine.mark, facts.server);
        let label = format!("--label={LABEL}={}", self.engine.mark);
        let server = format!("--label={LABEL}.server={}", facts.server);
        let mut words = vec!["create", "--name", &name, "--hostname", &facts.name, &label, &server];
        words.extend(FLAGS);
        words.extend([self.engine.image.as_str(), "/lib/systemd/systemd"]);
        self.engine.docker(&words).await?;
        self.name = Some(name.clone());
        let folder = tempfile::tempdir()?;
        for (file, text) in FILES {
            let file = folder.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap_or(folder.path()))?;
            std::fs::write(file, text)?;
        }
        let from = format!("{}/.", folder.path().display());
        self.engine.docker(&["cp", &from, &format!("{name}:/")]).await?;
        Ok(name)
    }

    fn forget_address(&self, server: impl Fn(&(usize, i64)) -> bool) {
        self.engine.addresses.lock().expect("no holder panics").retain(|_, whose| !server(whose));
    }
}

impl Machine for Container {
    async fn start(&mut self, facts: Facts) -> anyhow::Result<()> {
        let name = match self.name.clone() {
            Some(name) => name,
            None => self.make(&facts).await?,
        };
        self.engine.docker(&["start", &name]).await?;
        let format = "{{.NetworkSettings.IPAddress}} {{.NetworkSettings.Gateway}}";
        let addresses = self.engine.docker(&["inspect", "--format", format, &name]).await?;
        let (address, gateway) = addresses.split_once(' ').unwrap_or_default();
        let address: IpAddr = address.parse().with_context(|| format!("{name} has no address"))?;
        self.forget_address(|whose| whose.1 == facts.server);
        let whose = (facts.project, facts.server);
        self.engine.addresses.lock().expect("no holder panics").insert(address, whose);
        self.engine.take_ways(&name, &facts, gateway).await
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(name) = &self.name else { return Ok(()) };
        let running = self.engine.docker(&["inspect", "--format", "{{.State.Running}}", name]).await?;
        if running == "true" {
            self.engine.docker(&["kill", name]).await?;
        }
        Ok(())
    }

    async fn cut_off(&mut self) -> anyhow::Result<()> {
        let Some(name) = &self.name else { return Ok(()) };
        self.engine.docker(&["network", "disconnect", "--force", "bridge", name]).await?;
        Ok(())
    }

    async fn remove(&mut self) -> anyhow::Result<()> {
        let Some(name) = self.name.take() else { return Ok(()) };
        let server = name.rsplit('-').next().and_then(|id| id.parse::<i64>().ok());
        self.forget_address(|whose| Some(whose.1) == server);
        self.engine.docker(&["rm", "--force", "--volumes", &name]).await?;
        Ok(())
    }
}
