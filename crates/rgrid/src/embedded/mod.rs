//! The embedded grid: everything of a grid on this machine, for people who have set nothing up. The same code as in
//! production, only the providers differ. The daemon is one process; the commands find it, start it and stop it.

mod address;
mod daemon;
mod doctor;
pub(crate) mod home;
mod idle;
mod parts;
mod postgres;
pub(crate) mod process;
pub(crate) mod sandbox;
mod start;
pub(crate) mod stop;
pub(crate) mod tools;
mod weight;
pub(crate) mod wheels;

use std::path::PathBuf;

use rgrid_cli::{Audience, Check, EmbeddedGrid, GridAddress};
use rgrid_core::runtime::SandboxKind;

pub(crate) use self::daemon::{Attachment, run};
pub(crate) use self::start::ensure;
use crate::config::{EmbeddedConfig, Settings};
use home::Home;

/// The grid of this machine, as the user's commands see it.
#[derive(Debug)]
pub(crate) struct ThisMachine {
    pub(crate) command_line: clap::Command,
}

impl EmbeddedGrid for ThisMachine {
    async fn find(&self) -> Option<GridAddress> {
        start::find(&Home::locate().ok()?).await
    }

    async fn ensure(&self, audience: &dyn Audience) -> Result<GridAddress, anyhow::Error> {
        ensure(&Home::locate()?, audience).await
    }

    fn sandbox(&self, audience: &dyn Audience) -> Result<SandboxKind, anyhow::Error> {
        let config = EmbeddedConfig::of(&Settings::load(None, Vec::new())?)?;
        sandbox::of_commands(&Home::locate()?, &config, audience)
    }

    async fn uv(&self, audience: &dyn Audience) -> Result<PathBuf, anyhow::Error> {
        tools::uv(&Home::locate()?, audience).await
    }

    fn doctor(&self) -> Vec<Check> {
        doctor::checks()
    }

    fn command_line(&self) -> clap::Command {
        self.command_line.clone()
    }
}
