//! `rgrid init`: connects this person to a grid. Nothing is written before the grid has answered to the key.

use std::io::Read;

use crate::args::InitArgs;
use crate::credentials::{self, DEFAULT_PROFILE};
use crate::errors::{Doing, Error};
use crate::grid::{EmbeddedGrid, GridAddress, checked};
use crate::interrupt::Signals;
use crate::session::{Connection, Session};
use crate::terminal::shown;
use crate::{ask, terminal};

pub(super) async fn init<G: EmbeddedGrid>(args: InitArgs, session: &Session<'_, G>) -> Result<u8, Error> {
    let path = credentials::path()?;
    let profile = session.globals.profile.as_deref().unwrap_or(DEFAULT_PROFILE);
    let mut signals = Signals::install();
    let url = match args.url {
        Some(url) => url,
        None => {
            let instead = "give the address with --url and the key with --key-file";
            ask::line(session.terminal, "the grid's address", instead, &mut signals).await?
        }
    };
    // The address is looked at before the key is asked for.
    let url = checked(GridAddress { url, key: String::new() })?.url;
    let key = match args.key_file.as_deref() {
        Some(file) => read_key(file)?,
        None => {
            let instead = "give the key with --key-file FILE, or - for standard input";
            ask::secret(session.terminal, "an API key of it", instead, &mut signals).await?
        }
    };
    let address = GridAddress { url, key };
    let connection = Connection::new(&address, false)?;
    let whoami = connection.client().whoami().await.map_err(|error| connection.failed(error))?;
    credentials::write(&path, profile, &address)?;
    terminal::print(&session.output().whoami(&whoami, &address.url));
    session.notes.say(&format!(
        "saved as profile [{}] in {}",
        shown(profile),
        shown(&path.to_string_lossy())
    ));
    Ok(0)
}

fn read_key(file: &str) -> Result<String, Error> {
    let failed = |source| Error::File { doing: Doing::Read, path: file.into(), source };
    let mut text = String::new();
    if file == "-" {
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
    } else {
        text = std::fs::read_to_string(file).map_err(failed)?;
    }
    Ok(text.trim().to_owned())
}
