//! A command on this machine that lives as long as its server has power, with a metadata service on a port of its own.

use std::process::Stdio;
use std::sync::Weak;

use anyhow::Context;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::{Facts, Machine, metadata_service};
use crate::stand::Shared;

pub(super) struct Process {
    command: String,
    shared: Weak<Shared>,
    running: Option<Running>,
}

struct Running {
    child: Child,
    /// Of the child, which leads it.
    group: Pid,
    metadata: JoinHandle<()>,
    /// Holds the user data's file.
    _folder: tempfile::TempDir,
}

impl Process {
    pub(super) fn new(command: String, shared: Weak<Shared>) -> Self {
        Self { command, shared, running: None }
    }
}

impl Machine for Process {
    async fn start(&mut self, facts: Facts) -> anyhow::Result<()> {
        self.stop().await?;
        let folder = tempfile::tempdir()?;
        let user_data = folder.path().join("user-data");
        std::fs::write(&user_data, &facts.user_data)?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (project, server) = (facts.project, facts.server);
        let service =
            metadata_service::serve(listener, self.shared.clone(), move |_| Some((project, server)));
        let metadata = tokio::spawn(service);
        let mut command = Command::new("sh");
        command
            .args(["-c", &self.command])
            .env("HETZNER_METADATA", format!("http://{address}/hetzner/v1"))
            .env("HETZNER_SERVER_ID", facts.server.to_string())
            .env("HETZNER_SERVER_NAME", &facts.name)
            .env("HETZNER_USER_DATA", &user_data)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().context("start the command of a server")?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).context("it has ended already")?;
        self.running = Some(Running { child, group: Pid::from_raw(id), metadata, _folder: folder });
        Ok(())
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        running.metadata.abort();
        // Its leader is not waited for before this, so the group's number is still its own.
        let _ = killpg(running.group, Signal::SIGKILL);
        running.child.wait().await.context("wait for the command of a server")?;
        Ok(())
    }

    /// A process on loopback has no cable to pull: it is held, and so says nothing more.
    async fn cut_off(&mut self) -> anyhow::Result<()> {
        let Some(running) = &self.running else { return Ok(()) };
        running.metadata.abort();
        killpg(running.group, Signal::SIGSTOP).context("hold the command of a server")
    }

    async fn remove(&mut self) -> anyhow::Result<()> {
        self.stop().await
    }
}
