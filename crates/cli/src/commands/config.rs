//! `rgrid config show`: which grid is used and why, and the project's defaults. Asks no grid, and starts none.

use std::path::PathBuf;

use crate::args::{ConfigArgs, ConfigCommand};
use crate::configuration::Configuration;
use crate::errors::{Doing, Error};
use crate::grid::{EmbeddedGrid, Wishes};
use crate::session::Session;
use crate::{project, terminal};

pub(super) async fn config<G: EmbeddedGrid>(args: ConfigArgs, session: &Session<'_, G>) -> Result<u8, Error> {
    match args.command {
        ConfigCommand::Show => {
            let wishes = Wishes::look(session.globals.profile.as_deref());
            let (origin, configured) = wishes.choose()?;
            let address = match configured {
                Some(address) => Some(address),
                None => session.embedded().find().await,
            };
            let cwd = std::env::current_dir().map_err(|source| Error::File {
                doing: Doing::Read,
                path: PathBuf::from("."),
                source,
            })?;
            let (url, key) = address.map(|address| (address.url, address.key)).unzip();
            let credentials = wishes.credentials.filter(|path| path.exists());
            let sandbox = match session.sandbox() {
                Ok(kind) => kind.map(|kind| kind.as_str().to_owned()),
                Err(error) => Some(error.message().what),
            };
            let defaults = project::defaults(&cwd)?;
            let configuration = Configuration { origin, url, key, sandbox, credentials, defaults };
            terminal::print(&session.output().configuration(&configuration));
            Ok(0)
        }
    }
}
