//! What every command works with: the options, the person's terminal, and the connection to the grid.

use std::cell::RefCell;
use std::path::PathBuf;

use rgrid_api::client::{Client, ClientError};
use rgrid_core::runtime::SandboxKind;

use crate::args::Globals;
use crate::errors::Error;
use crate::grid::{Audience, EmbeddedGrid, GridAddress, Origin, Wishes};
use crate::output::{Json, Output, Quiet, Table};
use crate::progress::Progress;
use crate::terminal::{Notes, Terminal};

/// One command's surroundings.
pub(crate) struct Session<'a, G> {
    pub globals: Globals,
    pub terminal: Terminal,
    pub notes: Notes,
    grid: &'a G,
}

impl<'a, G: EmbeddedGrid> Session<'a, G> {
    pub(crate) fn new(globals: Globals, grid: &'a G) -> Self {
        let terminal = Terminal::look();
        Self { notes: Notes::new(terminal, globals.quiet), terminal, globals, grid }
    }

    /// The grid of this machine.
    pub(crate) fn embedded(&self) -> &'a G {
        self.grid
    }

    /// How results are printed.
    pub(crate) fn output(&self) -> Box<dyn Output> {
        match (self.globals.json, self.globals.quiet) {
            (true, _) => Box::new(Json),
            (false, true) => Box::new(Quiet),
            (false, false) => Box::new(Table { columns: self.terminal.columns, now: chrono::Utc::now() }),
        }
    }

    /// The connection to the grid of DESIGN section 5. Nothing is sent; the one of this machine is started.
    pub(crate) async fn connect(&self) -> Result<Connection, Error> {
        let (address, embedded) = match Wishes::look(self.globals.profile.as_deref()).choose()?.1 {
            Some(address) => (address, false),
            None => (self.start().await?, true),
        };
        Connection::new(&address, embedded)
    }

    async fn start(&self) -> Result<GridAddress, Error> {
        let audience = Person { notes: self.notes, progress: Progress::new(self.terminal, self.notes) };
        self.grid.ensure(&audience).await.map_err(Error::EmbeddedGrid)
    }

    /// What isolates scripts that name no image, where they run on this machine; `None` where another grid is used.
    pub(crate) fn sandbox(&self) -> Result<Option<SandboxKind>, Error> {
        match Wishes::look(self.globals.profile.as_deref()).choose()?.0 {
            Origin::Profile(_) | Origin::Environment | Origin::Credentials => Ok(None),
            Origin::Embedded => {
                let audience =
                    Person { notes: self.notes, progress: Progress::new(self.terminal, self.notes) };
                self.grid.sandbox(&audience).map(Some).map_err(Error::EmbeddedGrid)
            }
        }
    }

    /// uv, which locks packages; fetched when this machine lacks it.
    pub(crate) async fn uv(&self) -> Result<PathBuf, Error> {
        let audience = Person { notes: self.notes, progress: Progress::new(self.terminal, self.notes) };
        self.grid.uv(&audience).await.map_err(Error::NoUv)
    }

    /// Looks again where the grid of this machine is, and starts it if it is gone. Another grid stays where it is.
    pub(crate) async fn renew(&self, connection: &Connection) -> Result<(), Error> {
        if connection.embedded {
            let address = self.start().await?;
            *connection.client.borrow_mut() = new_client(&address)?;
        }
        Ok(())
    }
}

/// Whoever sits at the terminal of this command.
struct Person {
    notes: Notes,
    progress: Progress,
}

/// The person at the terminal of a command that is not of this crate.
pub fn audience(quiet: bool) -> impl Audience {
    let terminal = Terminal::look();
    let notes = Notes::new(terminal, quiet);
    Person { notes, progress: Progress::new(terminal, notes) }
}

impl Audience for Person {
    fn say(&self, sentence: &str) {
        self.notes.say(sentence);
    }

    fn transfer(&self, verb: &'static str, total_bytes: u64) {
        self.progress.transfer(verb, total_bytes, 0);
    }

    fn advance(&self, bytes: u64) {
        self.progress.advance(bytes);
    }

    fn clear(&self) {
        self.progress.clear();
    }
}

/// A connection, shared by all that a command does at once.
#[derive(Debug)]
pub(crate) struct Connection {
    client: RefCell<Client>,
    /// It is the grid of this machine.
    pub embedded: bool,
}

impl Connection {
    pub(crate) fn new(address: &GridAddress, embedded: bool) -> Result<Self, Error> {
        Ok(Self { client: RefCell::new(new_client(address)?), embedded })
    }

    /// The client as of now.
    pub(crate) fn client(&self) -> Client {
        self.client.borrow().clone()
    }

    /// The grid's address.
    pub(crate) fn url(&self) -> String {
        self.client.borrow().url().to_owned()
    }

    /// A failed call as the person is told of it.
    pub(crate) fn failed(&self, source: ClientError) -> Error {
        Error::grid(&self.url(), source)
    }
}

fn new_client(address: &GridAddress) -> Result<Client, Error> {
    Client::new(&address.url, &address.key).map_err(|source| Error::grid(&address.url, source))
}
