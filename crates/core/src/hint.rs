//! A failure hands over the fixed command: the one table from what went wrong to what to type next
//! (DESIGN section 4, step 8). Pure: what lies on the user's machine is asked through [`Local`].

use crate::outcome::Outcome;

/// What a local path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
}

/// The user's machine, as far as a hint must know it.
pub trait Local {
    /// What lies at `path` (absolute, or relative to the working directory).
    fn path(&self, path: &str) -> Option<LocalKind>;
    /// The file or folder from which Python would import the top-level module `name` here, as it would be typed.
    fn module(&self, name: &str) -> Option<String>;
    /// True when the environment variable is set.
    fn variable(&self, name: &str) -> bool;
}

/// What the execution was given, as far as a hint must know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// False under `--no-network`.
    pub network: bool,
    /// True when stdin was sent.
    pub stdin: bool,
}

/// What to tell the user, and what to add to the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// A sentence on why it failed on the grid.
    pub explanation: String,
    /// Words to put between `rgrid run` and the script; empty when the sentence says it all.
    pub options: Vec<String>,
    /// Options of the command that must go for the new one to work, such as `--no-network`.
    pub without: Vec<String>,
    /// What to put before the command, such as `cat answers.txt |`.
    pub before: Option<String>,
}

/// The hint for an outcome, if the table has one. `stderr_tail` is the end of what the script wrote to stderr.
pub fn hint(outcome: &Outcome, stderr_tail: &str, given: Given, local: &impl Local) -> Option<Hint> {
    let _ = (outcome, stderr_tail, given, local);
    None
}
