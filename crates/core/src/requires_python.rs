//! `requires-python`, as a script or a project writes it (PEP 440): which minor versions of Python it allows.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::runtime::{PYTHON_MINOR, Python};

/// Patch releases that a minor version is taken to have: it is allowed when one of them is.
const PATCHES: u32 = 100;

/// A set of versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiresPython {
    text: String,
    clauses: Vec<Clause>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Clause {
    comparison: Comparison,
    /// The numbers as written: `3.11` is two of them.
    release: Vec<u32>,
    /// `.*` stands behind them.
    any_after: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Compatible,
    Equal,
    NotEqual,
    AtLeast,
    AtMost,
    Above,
    Below,
}

/// Each before those that begin like it.
const COMPARISONS: [(&str, Comparison); 7] = [
    ("~=", Comparison::Compatible),
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    (">", Comparison::Above),
    ("<", Comparison::Below),
];

/// A text that is no set of versions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a requirement such as \">=3.11,<4\"")]
pub struct NotARequirement(pub String);

impl fmt::Display for RequiresPython {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for RequiresPython {
    type Err = NotARequirement;

    fn from_str(text: &str) -> Result<Self, NotARequirement> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let clauses = parts.map(|part| clause(part).ok_or_else(|| NotARequirement(text.to_owned())));
        Ok(Self { text: text.trim().to_owned(), clauses: clauses.collect::<Result<_, _>>()? })
    }
}

fn clause(text: &str) -> Option<Clause> {
    let (sign, comparison) = COMPARISONS.into_iter().find(|(sign, _)| text.starts_with(sign))?;
    let version = text[sign.len()..].trim();
    let (version, any_after) = match version.strip_suffix(".*") {
        Some(version) => (version, true),
        None => (version, false),
    };
    let number = |part: &str| {
        // What follows the digits says that it is a candidate for that release: the release is what counts here.
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        part[..digits].parse().ok()
    };
    let release: Vec<u32> = version.split('.').map(number).collect::<Option<_>>()?;
    let is_prefix_sign = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
    let too_short = comparison == Comparison::Compatible && release.len() < 2;
    (!too_short && (is_prefix_sign || !any_after)).then_some(Clause { comparison, release, any_after })
}

impl Clause {
    fn holds(&self, version: [u32; 3]) -> bool {
        let order = || {
            let written = self.release.iter().copied().chain(std::iter::repeat(0)).take(3);
            version.into_iter().cmp(written)
        };
        let begins = |length: usize| version.iter().zip(&self.release[..length]).all(|(a, b)| a == b);
        let equal = if self.any_after { begins(self.release.len()) } else { order() == Ordering::Equal };
        match self.comparison {
            Comparison::Equal => equal,
            Comparison::NotEqual => !equal,
            Comparison::AtLeast => order() != Ordering::Less,
            Comparison::AtMost => order() != Ordering::Greater,
            Comparison::Above => order() == Ordering::Greater,
            Comparison::Below => order() == Ordering::Less,
            Comparison::Compatible => order() != Ordering::Less && begins(self.release.len() - 1),
        }
    }
}

impl RequiresPython {
    /// True when a release of that Python is in the set.
    #[must_use]
    pub fn allows(&self, runtime: Python) -> bool {
        (0..PATCHES).any(|patch| {
            self.clauses.iter().all(|clause| clause.holds([3, u32::from(runtime.minor()), patch]))
        })
    }

    /// What is run: the person's own Python if it is in the set, else the newest that is; `None` when we run none.
    #[must_use]
    pub fn choose(&self, own: Option<Python>) -> Option<Python> {
        let newest = || PYTHON_MINOR.rev().filter_map(Python::new).find(|runtime| self.allows(*runtime));
        own.filter(|own| self.allows(*own)).or_else(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, minors: &[u8]) {
        let required: RequiresPython = text.parse().unwrap();
        let allowed: Vec<u8> =
            PYTHON_MINOR.filter(|minor| required.allows(Python::new(*minor).unwrap())).collect();
        assert_eq!(allowed, minors, "{text}");
    }

    #[test]
    fn the_allowed_versions_are_those_of_pep_440() {
        check("", &[10, 11, 12, 13, 14]);
        check(">=3.12", &[12, 13, 14]);
        check(">= 3.11.4, < 3.13", &[11, 12]);
        check("<3.12", &[10, 11]);
        check("<=3.12", &[10, 11, 12]);
        check(">3.12", &[12, 13, 14]);
        check("~=3.12", &[12, 13, 14]);
        check("~=3.12.2", &[12]);
        check("==3.11.*", &[11]);
        check("==3.11", &[11]);
        check("!=3.11.*,<4", &[10, 12, 13, 14]);
        check("!=3.11.5", &[10, 11, 12, 13, 14]);
        check(">=3.13.0rc1", &[13, 14]);
        check(">=2.7,!=3.0.*,!=3.1.*", &[10, 11, 12, 13, 14]);
        check(">=3.15", &[]);
        check("<3", &[]);
    }

    #[test]
    fn what_is_no_requirement_is_refused() {
        for text in ["3.12", ">=", ">=x", "~=3", ">=3.*", "=>3.12", "^3.12"] {
            assert!(text.parse::<RequiresPython>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_persons_own_python_serves_if_it_may() {
        let required: RequiresPython = ">=3.11,<3.14".parse().unwrap();
        assert_eq!(required.choose(Python::new(11)), Python::new(11));
        assert_eq!(required.choose(Python::new(10)), Python::new(13));
        assert_eq!(required.choose(None), Python::new(13));
    }
}
