//! An embedded grid of our own for the measurements, in a folder that goes with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::{output, root, run};

/// A grid with its own home, and a folder for scripts.
pub(super) struct Grid {
    home: PathBuf,
    work: PathBuf,
    python: PathBuf,
    docker_socket: PathBuf,
}

impl Grid {
    pub(super) fn start() -> Result<Self> {
        let base = std::env::temp_dir().join(format!("rgrid-bench-{}", std::process::id()));
        let (home, work) = (base.join("home"), base.join("work"));
        std::fs::create_dir_all(&work)?;
        std::fs::create_dir_all(&home)?;
        let python = output(Command::new("python3").args(["-c", "import sys; print(sys.executable)"]))?;
        let docker_socket = base.join("docker.sock");
        Ok(Self { home, work, python: PathBuf::from(python.trim()), docker_socket })
    }

    /// The folder in which scripts run.
    pub(super) fn work(&self) -> &Path {
        &self.work
    }

    /// The interpreter by its real path: a pyenv shim costs 190 ms and would flatter us.
    pub(super) fn python(&self) -> Command {
        let mut command = Command::new(&self.python);
        command.current_dir(&self.work).stdin(Stdio::null());
        command
    }

    pub(super) fn python_path(&self) -> &Path {
        &self.python
    }

    /// Where an engine listens once one is started.
    pub(super) fn docker_socket(&self) -> &Path {
        &self.docker_socket
    }

    pub(super) fn python_version(&self) -> Result<String> {
        Ok(output(self.python().arg("--version"))?.trim().to_owned())
    }

    pub(super) fn rgrid(&self, args: &[&str]) -> Command {
        let mut command = Command::new(root().join("target/release/rgrid"));
        let path = self.python.parent().unwrap_or(Path::new("/usr/bin")).display().to_string();
        let inherited = std::env::var("PATH").unwrap_or_default();
        command
            .args(args)
            .env("RGRID_HOME", &self.home)
            .env("RGRID_DOCKER_SOCKET", &self.docker_socket)
            .env("PATH", format!("{path}:{inherited}"))
            .env_remove("RGRID_URL")
            .env_remove("RGRID_API_KEY")
            .current_dir(&self.work)
            .stdin(Stdio::null());
        command
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(std::fs::write(self.work.join(name), text)?)
    }

    /// The processes of the grid by what they are: `daemon`, `runner`, `postgres`.
    pub(super) fn processes(&self) -> Result<Vec<(String, u32)>> {
        let notice: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(self.home.join("grid.json"))?)?;
        let daemon = notice["process"]["pid"].as_u64().context("grid.json names no pid")? as u32;
        let mut found = vec![("daemon".to_owned(), daemon)];
        let mut children = String::new();
        for thread in std::fs::read_dir(format!("/proc/{daemon}/task"))?.flatten() {
            children.push_str(&std::fs::read_to_string(thread.path().join("children")).unwrap_or_default());
        }
        for child in children.split_whitespace() {
            let pid: u32 = child.parse()?;
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"))?.trim().to_owned();
            let kind = if name == "postgres" { "postgres" } else { "runner" };
            found.push((kind.to_owned(), pid));
        }
        Ok(found)
    }
}

impl Drop for Grid {
    fn drop(&mut self) {
        let _ = run(&mut self.rgrid(&["down", "--purge", "--yes"]));
        if let Some(base) = self.home.parent() {
            let _ = std::fs::remove_dir_all(base);
        }
    }
}

/// How long a command takes; it must succeed.
pub(super) fn timed(command: &mut Command) -> Result<Duration> {
    let started = Instant::now();
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    let time = started.elapsed();
    ensure!(status.success(), "{:?} ended with {status}", command.get_args().collect::<Vec<_>>());
    Ok(time)
}
