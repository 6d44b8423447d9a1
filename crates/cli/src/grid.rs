//! Which grid a command speaks to, and the seam to the one that lives on this machine.

use std::future::Future;

/// Where a grid answers, and the key to present there.
#[derive(Clone, PartialEq, Eq)]
pub struct GridAddress {
    /// Scheme, host and port.
    pub url: String,
    /// `rg_...`
    pub key: String,
}

/// The key is a secret: it stands in no debug output.
impl std::fmt::Debug for GridAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GridAddress").field("url", &self.url).finish_non_exhaustive()
    }
}

/// One thing that `rgrid doctor` looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at, in a few words: `bubblewrap`, `PostgreSQL`.
    pub what: String,
    /// What was found.
    pub health: Health,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It is as it should be; the text says what was found.
    Good(String),
    /// It works, with a restriction that the text names.
    Limited(String),
    /// It does not work.
    Bad {
        /// What is wrong, in a sentence.
        problem: String,
        /// What to do about it, in a sentence.
        fix: String,
    },
}

/// The grid that lives on this machine. The binary implements it: it alone has the parts of a grid at hand.
pub trait EmbeddedGrid {
    /// Its address if it runs now. Starts nothing.
    fn find(&self) -> impl Future<Output = Option<GridAddress>>;

    /// Its address, and starts it first if it does not run. While that takes long, `say` is given sentences for
    /// the person who waits. Cheap when it runs: this is on the path of every command.
    fn ensure(&self, say: &dyn Fn(&str)) -> impl Future<Output = Result<GridAddress, anyhow::Error>>;

    /// Looks at everything that the embedded grid needs. Starts nothing.
    fn doctor(&self) -> Vec<Check>;

    /// The whole command line as the binary has it, for `rgrid completions`.
    fn command_line(&self) -> clap::Command;
}
