//! Private readers of outside bytes, opened for the crate that fuzzes them (`fuzz/`). No logic of its own.

use std::path::{Path, PathBuf};

use rgrid_api::executions::Execution;
use rgrid_api::logs::{Cursor, LogChunk, Stream};
use rgrid_core::path::AbsolutePath;
use rgrid_core::runtime::Python;

pub use crate::discovery::fuzzing::{is_kept_back, matches, scanned};
use crate::download::Place;
use crate::grid::GridAddress;
use crate::transcript::{Addition, Transcript};
use crate::{credentials, ending, environment, output, pins, terminal};

/// A name as it reaches a terminal.
pub fn shown(name: &str) -> String {
    terminal::shown(name)
}

/// Whether a terminal may obey a character.
pub fn commands(c: char) -> bool {
    terminal::turns_or_commands(c)
}

/// The sentence on files that are not brought back.
pub fn not_brought_back(paths: &[String]) -> Option<String> {
    ending::not_brought_back(paths)
}

/// The command line of an execution.
pub fn command(execution: &Execution) -> String {
    output::table::command(execution)
}

/// The pairs of a file of variables.
///
/// # Errors
/// What is wrong with it.
pub fn env_file(text: &str) -> Result<Vec<(String, String)>, String> {
    environment::parse_file(text)
}

/// The block of PEP 723 in a script.
pub fn block(script: &str) -> Option<String> {
    pins::block(script)
}

/// The version that a `.python-version` names.
pub fn pinned(text: &str) -> Option<Python> {
    pins::version(text)
}

/// Names of the profiles in a file of credentials; `None` when it cannot be read.
pub fn profiles(path: &Path) -> Option<Vec<String>> {
    credentials::profiles(path).ok()
}

/// Address and key of a profile.
pub fn profile(path: &Path, name: &str) -> Option<GridAddress> {
    credentials::read(path, name).ok().flatten()
}

/// Writes a profile; false when it could not be.
pub fn keep_profile(path: &Path, name: &str, address: &GridAddress) -> bool {
    credentials::write(path, name, address).is_ok()
}

/// Where an output of this path would be written.
///
/// # Errors
/// Why nowhere.
pub fn place(
    project_root: &AbsolutePath,
    roots: &[AbsolutePath],
    folder: Option<&Path>,
    path: &str,
) -> Result<PathBuf, String> {
    Place::new(project_root.clone(), roots.to_vec(), folder.map(Path::to_owned)).of(path)
}

/// A follower's terminal.
pub struct Followed(Transcript);

impl Followed {
    /// From this cursor on.
    pub fn from(cursor: Cursor) -> Self {
        Self(Transcript::from(cursor))
    }

    /// Where it would resume.
    pub fn cursor(&self) -> Cursor {
        self.0.cursor()
    }

    /// The bytes that the next chunk adds, and the number of sentences.
    pub fn take(&mut self, chunk: &LogChunk) -> (Vec<(Stream, Vec<u8>)>, usize) {
        split(self.0.take(chunk))
    }

    /// The number of sentences at the end.
    pub fn end(&mut self) -> usize {
        split(self.0.end()).1
    }
}

fn split(additions: Vec<Addition>) -> (Vec<(Stream, Vec<u8>)>, usize) {
    let all = additions.len();
    let bytes = additions.into_iter().filter_map(|addition| match addition {
        Addition::Bytes(stream, bytes) => Some((stream, bytes)),
        Addition::Note(_) => None,
    });
    let bytes: Vec<_> = bytes.collect();
    let notes = all - bytes.len();
    (bytes, notes)
}
