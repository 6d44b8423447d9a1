//! Why the packages of a script could not be settled.

use std::io;
use std::path::PathBuf;

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DependencyError {
    /// A file that declares packages, or what it names, cannot be read.
    #[error("{} cannot be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that declares packages is not what its name says.
    #[error("{}: {problem}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, in a fragment.
        problem: String,
    },
    /// No set of versions fits, or a package is not there.
    #[error("the packages of {source_of} do not fit together, or are not to be had")]
    Unsolvable {
        /// Who declares them.
        source_of: String,
        /// The resolver's own words.
        words: String,
    },
    /// The index did not answer.
    #[error("the packages of {source_of} could not be looked up: the index does not answer")]
    Unreachable {
        /// Who declares them.
        source_of: String,
        /// The resolver's own words.
        words: String,
    },
    /// The resolver did not do its work.
    #[error("uv did not do its work")]
    Resolver {
        /// What it said, or why it did not start.
        words: String,
    },
    /// The lock cannot be kept on this machine.
    #[error("{} cannot be written", .path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
