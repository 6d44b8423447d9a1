//! What can go wrong in the simulated world, and scenarios: what is submitted and what goes wrong when, as text.
//!
//! A line is `at SECOND WHAT`; `#` begins a comment. `submit COUNT RUNS` submits executions that run for so many
//! seconds; `sold-out LOCATION SECONDS` refuses orders there; `never-boots N`, `dies N`, `silent N SECONDS` concern the
//! N-th server that is ordered, counted from 1: it never joins, it loses its power (and stays billed until it is
//! deleted), or is not heard of for a time while its work goes on.

use crate::trace::Execution;

/// Milliseconds of a second.
const SECOND: i64 = 1000;

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Orders at a location are refused until then.
    SoldOut { location: String, until: i64 },
    /// The server never joins.
    NeverBoots { server: usize },
    /// The server is without power from now on.
    Dies { server: usize },
    /// The server is not heard of until then.
    Silent { server: usize, until: i64 },
}

/// A scenario: what is submitted, and what goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scenario {
    /// What is submitted, by time.
    pub executions: Vec<Execution>,
    /// What goes wrong, with its time, by time.
    pub(crate) faults: Vec<(i64, Fault)>,
}

/// A line that is none of a scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the scenario cannot be read: {text:?}")]
pub struct UnknownLine {
    line: usize,
    text: String,
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// The first line that is none.
    pub fn parse(text: &str) -> Result<Self, UnknownLine> {
        let mut scenario = Self::default();
        for (at, whole) in text.lines().enumerate() {
            let line = whole.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            if words.is_empty() {
                continue;
            }
            scenario.line(&words).ok_or_else(|| UnknownLine { line: at + 1, text: whole.to_owned() })?;
        }
        scenario.executions.sort_by_key(|execution| execution.submitted);
        scenario.faults.sort_by_key(|(at, _)| *at);
        Ok(scenario)
    }

    fn line(&mut self, words: &[&str]) -> Option<()> {
        let seconds = |word: &str| word.parse::<i64>().ok().filter(|n| *n >= 0).map(|n| n * SECOND);
        let server = |word: &str| word.parse::<usize>().ok()?.checked_sub(1);
        let ["at", time, what, rest @ ..] = words else { return None };
        let now = seconds(time)?;
        let fault = match (*what, rest) {
            ("submit", [count, runs]) => {
                let execution = Execution { submitted: now, runs: seconds(runs)?, cpu_millis: 1000, kind: 1 };
                self.executions.extend(std::iter::repeat_n(execution, count.parse().ok()?));
                return Some(());
            }
            ("sold-out", [location, time]) => {
                Fault::SoldOut { location: (*location).to_owned(), until: now + seconds(time)? }
            }
            ("never-boots", [n]) => Fault::NeverBoots { server: server(n)? },
            ("dies", [n]) => Fault::Dies { server: server(n)? },
            ("silent", [n, time]) => Fault::Silent { server: server(n)?, until: now + seconds(time)? },
            _ => return None,
        };
        self.faults.push((now, fault));
        Some(())
    }
}
