//! `rgrid down`: stops the embedded grid, and with `--purge` deletes it.

use std::process::ExitCode;

use crate::command_line::DownArgs;
use crate::embedded::home::Home;
use crate::embedded::stop::{self, Stopped};

pub(crate) fn run(args: &DownArgs) -> ExitCode {
    match down(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::refused(&error),
    }
}

fn down(args: &DownArgs) -> anyhow::Result<()> {
    let home = Home::locate()?;
    if !home.root().exists() {
        super::note("there is no grid on this machine");
        return Ok(());
    }
    let question =
        format!("Delete the grid on this machine, its history and its files in {}?", home.root().display());
    if args.purge && !args.yes && !stop::confirmed(&question)? {
        super::note("nothing was done");
        return Ok(());
    }
    let (stopped, lock) = stop::stop(&home)?;
    super::note(match stopped {
        Stopped::Nothing => "the grid on this machine did not run",
        Stopped::Daemon => "stopped: the grid on this machine, its workers and its PostgreSQL",
        Stopped::Killed => {
            "the grid on this machine did not stop by itself and was killed, with its workers and its PostgreSQL"
        }
        Stopped::LeftOver => "stopped: a PostgreSQL that a killed grid had left behind",
    });
    if args.purge {
        stop::purge(&home, &lock)?;
        super::note(&format!("deleted: {}", home.root().display()));
    }
    Ok(())
}
