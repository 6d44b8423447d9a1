//! `rgrid completions`: the completion script of a shell.

use crate::args::CompletionsArgs;
use crate::errors::Error;
use crate::grid::EmbeddedGrid;
use crate::session::Session;
use crate::terminal;

pub(super) fn completions<G: EmbeddedGrid>(
    args: CompletionsArgs,
    session: &Session<'_, G>,
) -> Result<u8, Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut session.embedded().command_line(), "rgrid", &mut script);
    terminal::print(&String::from_utf8_lossy(&script));
    Ok(0)
}
