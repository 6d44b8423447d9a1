//! `rgrid up`: starts the embedded grid, or is it.

use std::process::ExitCode;

use crate::command_line::UpArgs;
use crate::config::Settings;
use crate::embedded::home::Home;
use crate::embedded::{self, Attachment};

pub(crate) fn run(args: &UpArgs, globals: &rgrid_cli::Globals) -> ExitCode {
    let attachment = match (args.foreground, args.background) {
        (true, _) => Attachment::Foreground,
        (false, true) => Attachment::Background,
        (false, false) => return super::once(start(globals)),
    };
    match Settings::load(None, Vec::new()) {
        Ok(settings) => embedded::run(&settings, attachment),
        Err(error) => super::refused(&error.into()),
    }
}

async fn start(globals: &rgrid_cli::Globals) -> anyhow::Result<()> {
    let audience = rgrid_cli::audience(globals.quiet);
    let address = embedded::ensure(&Home::locate()?, &audience).await?;
    match globals.json {
        true => super::print(&serde_json::json!({ "url": address.url }).to_string()),
        false => super::print(&format!("the grid on this machine is {}", address.url)),
    }
}
