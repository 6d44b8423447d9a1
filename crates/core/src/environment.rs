//! What is told of an attempt's environment: where it came from, whether its log can be read, and what stands in the
//! outcome of one that could not be built. What decides which environment it is, is the runner's.

use std::fmt;
use std::str::FromStr;

use crate::execution::Status;
use crate::limits::BUILD_MESSAGE_BYTES_MAX;

/// How an attempt came by its environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EnvironmentOrigin {
    /// It was built for this attempt, or could not be.
    Built,
    /// Its worker had it already.
    Kept,
    /// Another worker had built it, and this one fetched that.
    Fetched,
}

impl EnvironmentOrigin {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Built, Self::Kept, Self::Fetched];

    /// The one spelling: in rows and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Built => "built",
            Self::Kept => "kept",
            Self::Fetched => "fetched",
        }
    }
}

impl fmt::Display for EnvironmentOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EnvironmentOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|origin| origin.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no origin of an environment"))
    }
}

/// What the grid knows of the packages of an execution's newest attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The execution names packages.
    pub has_packages: bool,
    /// Where it stands.
    pub status: Status,
    /// The attempt says that it installs them.
    pub is_installing: bool,
    /// What the attempt told, and whether the log of the build came with it.
    pub told: Option<(EnvironmentOrigin, HasLog)>,
}

/// Whether what was said during a build can still be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HasLog {
    /// It can.
    Yes,
    /// The environment was packed without it, by an earlier version.
    No,
}

impl HasLog {
    /// By the log, if there is one.
    #[must_use]
    pub fn of<T>(log: Option<&T>) -> Self {
        if log.is_some() { Self::Yes } else { Self::No }
    }
}

/// Where the installation of an execution's packages stands, for who asks for its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installation {
    /// Nothing is to be installed.
    NoPackages,
    /// No attempt has begun with it.
    Waiting,
    /// It goes on.
    Installing,
    /// The attempt did not tell, or has not yet.
    Untold,
    /// The attempt has its environment, or failed to build it.
    Told(EnvironmentOrigin, HasLog),
}

impl Installation {
    /// Where it stands, by what is known. What was told counts most: an execution may wait for its next attempt.
    #[must_use]
    pub fn of(known: &Known) -> Self {
        if let Some((origin, log)) = known.told {
            return Self::Told(origin, log);
        }
        if !known.has_packages {
            return Self::NoPackages;
        }
        match known.status {
            Status::Pending | Status::Queued => Self::Waiting,
            Status::Running if known.is_installing => Self::Installing,
            Status::Running | Status::Completed | Status::Failed | Status::TimedOut | Status::Cancelled => {
                Self::Untold
            }
        }
    }

    /// What the person is told beside the log; `None` when the log says it all.
    #[must_use]
    pub fn sentence(self) -> Option<&'static str> {
        use EnvironmentOrigin::{Built, Fetched, Kept};
        Some(match self {
            Self::NoPackages => "it has no packages: nothing was installed for it",
            Self::Waiting => "its packages are installed when it starts; `rgrid status` says why it waits",
            Self::Installing => "its packages are still being installed: this can be read when that is over",
            Self::Untold | Self::Told(Built, HasLog::No) => {
                "what was said while its packages were installed is not there"
            }
            Self::Told(Built, HasLog::Yes) => return None,
            Self::Told(Kept, HasLog::Yes) => {
                "its packages were there already; this is what was said when they were installed"
            }
            Self::Told(Fetched, HasLog::Yes) => {
                "another worker had installed its packages; this is what was said there"
            }
            Self::Told(Kept | Fetched, HasLog::No) => {
                "its packages were there already, and what was said when they were installed is not kept"
            }
        })
    }
}

/// What stands before a message whose start is left out.
const CUT: &str = "[...] ";

/// What the outcome of a failed build says: all that was said, or its last lines. The log has more.
#[must_use]
pub fn build_message(said: &str) -> String {
    let said = said.trim();
    if said.len() <= BUILD_MESSAGE_BYTES_MAX {
        return said.to_owned();
    }
    let end = &said[said.ceil_char_boundary(said.len() - BUILD_MESSAGE_BYTES_MAX + CUT.len())..];
    // From the start of a line, unless that is all one line.
    let lines = end.split_once('\n').map_or(end, |(_, lines)| lines);
    format!("{CUT}{}", lines.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: Status, change: impl FnOnce(&mut Known)) -> Installation {
        let mut known = Known { has_packages: true, status, is_installing: false, told: None };
        change(&mut known);
        Installation::of(&known)
    }

    #[test]
    fn what_was_told_counts_most_and_then_where_the_execution_stands() {
        let told = (EnvironmentOrigin::Kept, HasLog::Yes);
        for status in Status::ALL {
            let with = check(status, |known| (known.told, known.is_installing) = (Some(told), true));
            assert_eq!(with, Installation::Told(told.0, told.1), "{status}");
            assert_eq!(check(status, |known| known.has_packages = false), Installation::NoPackages);
            let expected = match status.is_terminal() {
                true => Installation::Untold,
                false if status == Status::Running => Installation::Installing,
                false => Installation::Waiting,
            };
            assert_eq!(check(status, |known| known.is_installing = true), expected, "{status}");
        }
        assert_eq!(check(Status::Running, |_| ()), Installation::Untold);
    }

    #[test]
    fn each_standing_has_its_sentence() {
        let mut all = vec![
            Installation::NoPackages,
            Installation::Waiting,
            Installation::Installing,
            Installation::Untold,
        ];
        for log in [HasLog::Yes, HasLog::No] {
            all.extend(EnvironmentOrigin::ALL.map(|origin| Installation::Told(origin, log)));
        }
        let told: Vec<String> = all
            .into_iter()
            .map(|standing| format!("{standing:?}: {}", standing.sentence().unwrap_or("(nothing)")))
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        NoPackages: it has no packages: nothing was installed for it
        Waiting: its packages are installed when it starts; `rgrid status` says why it waits
        Installing: its packages are still being installed: this can be read when that is over
        Untold: what was said while its packages were installed is not there
        Told(Built, Yes): (nothing)
        Told(Kept, Yes): its packages were there already; this is what was said when they were installed
        Told(Fetched, Yes): another worker had installed its packages; this is what was said there
        Told(Built, No): what was said while its packages were installed is not there
        Told(Kept, No): its packages were there already, and what was said when they were installed is not kept
        Told(Fetched, No): its packages were there already, and what was said when they were installed is not kept
        ");
    }

    #[test]
    fn of_a_long_build_the_last_whole_lines_are_told() {
        assert_eq!(build_message("  no version of numpy\n"), "no version of numpy");
        let exact = "x".repeat(BUILD_MESSAGE_BYTES_MAX);
        assert_eq!(build_message(&exact), exact);
        let line = "é".repeat(50) + "\n";
        let long = build_message(&(line.repeat(1000) + "the end"));
        assert!(long.starts_with("[...] éé") && long.ends_with("é\nthe end"), "{long}");
        assert!(
            long.len() <= BUILD_MESSAGE_BYTES_MAX && long.len() > BUILD_MESSAGE_BYTES_MAX - 2 * line.len()
        );
        let one_line = build_message(&"é".repeat(BUILD_MESSAGE_BYTES_MAX));
        assert!(one_line.starts_with("[...] é") && one_line.len() <= BUILD_MESSAGE_BYTES_MAX);
    }
}
