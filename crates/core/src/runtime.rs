//! What an execution asks to be run by: a Python of the worker's, or the one in a container image; and which images a grid
//! takes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What an execution asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Runtime {
    /// A Python of this version.
    Python(Python),
    /// The Python of a container image, in the docker sandbox.
    Image(ImageName),
}

/// A Python of one minor version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Python {
    minor: u8,
}

/// The name of a container image, as the Docker Engine takes it; or a grid's short name for one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName(String);

/// The oldest and newest minor version of Python 3 that we run (DESIGN section 6).
pub const PYTHON_MINOR: std::ops::RangeInclusive<u8> = 10..=14;

/// What is used when neither script, project nor an active Python says (DESIGN section 11).
pub const DEFAULT_PYTHON: Python = Python { minor: 12 };
/// The same as a runtime.
pub const DEFAULT_RUNTIME: Runtime = Runtime::Python(DEFAULT_PYTHON);

/// What isolates scripts that name no image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxKind {
    /// The process sandbox, with a Python of the worker's.
    Process,
    /// A container, with the Python of the image that the grid has for that version.
    Docker,
}

/// A text that names no kind of sandbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no kind of sandbox; there are process and docker")]
pub struct UnknownSandboxKind(pub String);

/// A grid that runs scripts in containers, and has no image for a version of Python.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("scripts run in containers on this grid, and it has no image for {python}; it has {allowed}")]
pub struct NoImageForPython {
    /// What was asked for.
    pub python: Python,
    /// All images there are.
    pub allowed: String,
}

/// Bytes of an image's name.
const IMAGE_BYTES_MAX: usize = 255;
/// How a runtime that is an image begins where runtimes are written.
const IMAGE_PREFIX: &str = "image:";

/// A text that names no runtime.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a runtime; known are python:3.10 to python:3.14")]
pub struct UnknownRuntime(pub String);

/// A text that cannot be an image's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of an image, such as python:3.12-slim or ghcr.io/me/tools@sha256:...")]
pub struct NoImageName(pub String);

impl Python {
    /// Python 3.`minor`; `None` when we do not run it.
    pub fn new(minor: u8) -> Option<Self> {
        PYTHON_MINOR.contains(&minor).then_some(Self { minor })
    }

    /// Its minor version: 12 of Python 3.12.
    pub fn minor(self) -> u8 {
        self.minor
    }

    /// The version that the name of an image promises, as `python:3.12-slim` and `python-3.12` do.
    pub fn of_image(name: &ImageName) -> Option<Self> {
        let name = name.0.rsplit('/').next()?.strip_prefix("python")?;
        let minor = name.strip_prefix(['-', ':'])?.strip_prefix("3.")?;
        let digits = minor.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok().and_then(Self::new)
    }

    /// The image in which scripts of this version run on a person's own machine, where they run in containers.
    pub fn own_image(self) -> ImageName {
        ImageName(format!("python:{}-slim", self.version()))
    }

    /// The version as people say it: `3.12`.
    pub fn version(self) -> String {
        format!("3.{}", self.minor)
    }
}

impl fmt::Display for Python {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "python:3.{}", self.minor)
    }
}

impl FromStr for Python {
    type Err = UnknownRuntime;

    /// Reads `python:3.12`, and, since people write it, `python3.12` and `3.12`.
    fn from_str(text: &str) -> Result<Self, UnknownRuntime> {
        let version = text.strip_prefix("python").unwrap_or(text);
        let version = version.strip_prefix(':').unwrap_or(version);
        version
            .strip_prefix("3.")
            .and_then(|minor| minor.parse().ok())
            .and_then(Self::new)
            .ok_or_else(|| UnknownRuntime(text.to_owned()))
    }
}

impl SandboxKind {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Docker => "docker",
        }
    }
}

impl FromStr for SandboxKind {
    type Err = UnknownSandboxKind;

    fn from_str(text: &str) -> Result<Self, UnknownSandboxKind> {
        match text {
            "process" => Ok(Self::Process),
            "docker" => Ok(Self::Docker),
            other => Err(UnknownSandboxKind(other.to_owned())),
        }
    }
}

impl ImageName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ImageName {
    type Err = NoImageName;

    /// Letters and digits, divided by one of `._/:@`, by `__` or by dashes. So no name leads elsewhere in an address.
    fn from_str(text: &str) -> Result<Self, NoImageName> {
        let is_word = |c: char| c.is_ascii_alphanumeric();
        let ends_well = text.starts_with(is_word) && text.ends_with(is_word);
        let divided_well = text.split(is_word).all(|divider| match divider {
            "" | "." | "_" | "/" | ":" | "@" | "__" => true,
            dashes => dashes.chars().all(|c| c == '-'),
        });
        if ends_well && divided_well && text.len() <= IMAGE_BYTES_MAX {
            Ok(Self(text.to_owned()))
        } else {
            Err(NoImageName(text.to_owned()))
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Python(python) => python.fmt(f),
            Self::Image(name) => write!(f, "{IMAGE_PREFIX}{name}"),
        }
    }
}

impl FromStr for Runtime {
    type Err = UnknownRuntime;

    /// Reads a Python, or `image:` and the name of an image.
    fn from_str(text: &str) -> Result<Self, UnknownRuntime> {
        match text.strip_prefix(IMAGE_PREFIX) {
            Some(name) => name.parse().map(Self::Image).map_err(|_| UnknownRuntime(text.to_owned())),
            None => text.parse().map(Self::Python),
        }
    }
}

/// The images that a grid takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Images {
    /// Whatever the machine has: it is the owner's own.
    Own,
    /// These, each under its short name.
    Listed(BTreeMap<String, ImageName>),
}

/// An image that a grid does not take; the text lists those it takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the image {name} is not allowed on this grid; allowed are {allowed}")]
pub struct ImageNotAllowed {
    /// What was asked for.
    pub name: ImageName,
    /// All there are.
    pub allowed: String,
}

impl Images {
    /// The image that a name stands for.
    ///
    /// # Errors
    /// When it is not among those that are taken.
    pub fn find(&self, name: &ImageName) -> Result<ImageName, ImageNotAllowed> {
        let listed = match self {
            Self::Own => return Ok(name.clone()),
            Self::Listed(listed) => listed,
        };
        if let Some(image) = listed.get(name.as_str()).or(listed.values().find(|image| *image == name)) {
            return Ok(image.clone());
        }
        Err(ImageNotAllowed { name: name.clone(), allowed: names(listed) })
    }

    /// The image in which scripts of a version run: the one under its short name, such as `python-3.12`; on a person's own
    /// machine the one that everybody knows.
    ///
    /// # Errors
    /// When there is none.
    pub fn of_python(&self, python: Python) -> Result<ImageName, NoImageForPython> {
        let listed = match self {
            Self::Own => return Ok(python.own_image()),
            Self::Listed(listed) => listed,
        };
        let found = listed.get(&format!("python-{}", python.version())).cloned();
        found.ok_or_else(|| NoImageForPython { python, allowed: names(listed) })
    }
}

/// All of a list, for people.
fn names(listed: &BTreeMap<String, ImageName>) -> String {
    let all: Vec<String> = listed.iter().map(|(short, image)| format!("{short} ({image})")).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_the_image_of_its_short_name_and_names_of_images_promise_one() {
        let image: ImageName = "python:3.12-slim".parse().unwrap();
        let images = Images::Listed(BTreeMap::from([("python-3.12".to_owned(), image.clone())]));
        assert_eq!(images.of_python(Python::new(12).unwrap()), Ok(image));
        let refused = images.of_python(Python::new(13).unwrap()).unwrap_err().to_string();
        assert!(
            refused.contains("no image for python:3.13")
                && refused.contains("python-3.12 (python:3.12-slim)")
        );
        assert_eq!(Images::Own.of_python(Python::new(13).unwrap()), Ok("python:3.13-slim".parse().unwrap()));
        let promised = |name: &str| Python::of_image(&name.parse().unwrap()).map(Python::minor);
        assert_eq!(promised("docker.io/library/python:3.13-slim-bookworm"), Some(13));
        assert_eq!(
            (promised("python-3.11"), promised("python:latest"), promised("data")),
            (Some(11), None, None)
        );
    }

    #[test]
    fn runtimes_read_as_they_are_written() {
        for text in ["python:3.12", "image:python:3.12-slim", "image:ghcr.io/me/a__b@sha256:00ff"] {
            assert_eq!(text.parse::<Runtime>().unwrap().to_string(), text);
        }
        assert_eq!("3.11".parse::<Runtime>(), Ok(Runtime::Python(Python::new(11).unwrap())));
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_no_image() {
        let long = "a".repeat(256);
        for text in ["", "a/../b", "/a", "a/", "a?b", "a b", "a%2e", "a//b", "-a", long.as_str()] {
            assert!(text.parse::<ImageName>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_image_is_found_by_its_short_name_or_its_own_and_no_other_is() {
        let image: ImageName = "ghcr.io/me/data:1".parse().unwrap();
        let images = Images::Listed(BTreeMap::from([("data".to_owned(), image.clone())]));
        let find = |text: &str| images.find(&text.parse().unwrap()).map_err(|refused| refused.to_string());
        assert_eq!(find("data"), Ok(image.clone()));
        assert_eq!(find("ghcr.io/me/data:1"), Ok(image));
        let refused = "the image other is not allowed on this grid; allowed are data (ghcr.io/me/data:1)";
        assert_eq!(find("other"), Err(refused.to_owned()));
        assert!(Images::Own.find(&"other".parse().unwrap()).is_ok());
    }
}
