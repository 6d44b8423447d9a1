//! What an execution asks to be run by. Container images come with the docker sandbox.

use std::fmt;
use std::str::FromStr;

/// A Python of one minor version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Runtime {
    minor: u8,
}

/// The oldest and newest minor version of Python 3 that we run (DESIGN section 6).
pub const PYTHON_MINOR: std::ops::RangeInclusive<u8> = 10..=14;

/// What is used when neither script, project nor an active Python says (DESIGN section 11).
pub const DEFAULT_RUNTIME: Runtime = Runtime { minor: 12 };

/// A text that names no runtime.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a runtime; known are python:3.10 to python:3.14")]
pub struct UnknownRuntime(pub String);

impl Runtime {
    /// Python 3.`minor`; `None` when we do not run it.
    pub fn python(minor: u8) -> Option<Self> {
        PYTHON_MINOR.contains(&minor).then_some(Self { minor })
    }

    /// Its minor version: 12 of Python 3.12.
    pub fn minor(self) -> u8 {
        self.minor
    }

    /// The version as people say it: `3.12`.
    pub fn version(self) -> String {
        format!("3.{}", self.minor)
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "python:3.{}", self.minor)
    }
}

impl FromStr for Runtime {
    type Err = UnknownRuntime;

    /// Reads `python:3.12`, and, since people write it, `python3.12` and `3.12`.
    fn from_str(text: &str) -> Result<Self, UnknownRuntime> {
        let version = text.strip_prefix("python").unwrap_or(text);
        let version = version.strip_prefix(':').unwrap_or(version);
        version
            .strip_prefix("3.")
            .and_then(|minor| minor.parse().ok())
            .and_then(Self::python)
            .ok_or_else(|| UnknownRuntime(text.to_owned()))
    }
}
