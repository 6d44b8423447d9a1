//! What the person is told when an execution has ended: why, where the script's own words do not say it, and the
//! command that works instead.

use std::path::Path;
use std::time::Duration;

use rgrid_api::executions::Execution;
use rgrid_api::outcome::OutcomeBody;
use rgrid_core::hint::{Given, Hint, Local, LocalKind, hint};
use rgrid_core::outcome::Outcome;
use rgrid_core::quantity::{format_bytes, format_duration};

use crate::errors::Message;
use crate::terminal::shown;

/// Files that were not brought back and are named.
const NAMED_MAX: usize = 5;

/// Why it ended, in one sentence; `None` where the script's own words and exit code say it all.
pub(crate) fn sentence(execution: &Execution) -> Option<String> {
    Some(match execution.outcome.as_ref()? {
        OutcomeBody::Exited { .. } => return None,
        OutcomeBody::Signalled { signal } => format!("the script was ended by {}", signal_name(*signal)),
        OutcomeBody::OutOfMemory { limit_bytes, peak_bytes } => format!(
            "the script was killed at its memory limit of {} (it had {})",
            format_bytes(*limit_bytes),
            format_bytes(*peak_bytes)
        ),
        OutcomeBody::TimedOut { timeout_ms } => {
            format!(
                "the script was ended at its time limit of {}",
                format_duration(Duration::from_millis(*timeout_ms))
            )
        }
        OutcomeBody::Cancelled { by: rgrid_api::outcome::CancelledByBody::User } => {
            "it was cancelled".to_owned()
        }
        OutcomeBody::Cancelled { by: rgrid_api::outcome::CancelledByBody::Operator } => {
            "it was cancelled by the grid's operator".to_owned()
        }
        OutcomeBody::DependenciesFailed { message } => {
            format!("its packages could not be installed: {}", shown(message))
        }
        OutcomeBody::InputMissing { path, corrupt: false } => {
            format!("its input {} did not arrive", shown(path))
        }
        OutcomeBody::InputMissing { path, corrupt: true } => {
            format!("its input {} arrived damaged", shown(path))
        }
        OutcomeBody::OutputTooLarge { limit_bytes, size_bytes } => format!(
            "it wrote {}, and at most {} can be brought back",
            format_bytes(*size_bytes),
            format_bytes(*limit_bytes)
        ),
        OutcomeBody::DiskFull { limit_bytes } => {
            format!("it wrote more than its disk of {} holds", format_bytes(*limit_bytes))
        }
        OutcomeBody::WorkerLost { workers } => format!(
            "the machines it ran on were lost, more often than it may be retried ({})",
            shown(&workers.join(", "))
        ),
        OutcomeBody::SandboxFailed { message } => {
            format!("its sandbox could not be made: {}", shown(message))
        }
        OutcomeBody::Expired => "its inputs did not arrive in time".to_owned(),
    })
}

/// What to do next about an end that no hint covers.
fn advice(outcome: &OutcomeBody, id: &str) -> Option<String> {
    match outcome {
        OutcomeBody::DiskFull { limit_bytes } => {
            Some(format!("ask for more, such as --disk {}", format_bytes(limit_bytes.saturating_mul(2))))
        }
        OutcomeBody::OutputTooLarge { .. } => {
            Some("write temporary files below /tmp, which is not brought back".to_owned())
        }
        OutcomeBody::InputMissing { .. } | OutcomeBody::WorkerLost { .. } | OutcomeBody::Expired => {
            Some("run the same command again".to_owned())
        }
        OutcomeBody::SandboxFailed { .. } => Some("`rgrid doctor` checks what a sandbox needs".to_owned()),
        OutcomeBody::Cancelled { .. }
        | OutcomeBody::TimedOut { .. }
        | OutcomeBody::OutOfMemory { .. }
        | OutcomeBody::DependenciesFailed { .. } => Some(format!("`rgrid logs {id}` shows what it wrote")),
        OutcomeBody::Exited { .. } | OutcomeBody::Signalled { .. } => None,
    }
}

/// What the person is told; `None` when there is nothing to add to what the script said.
///
/// On a plain terminal the shell names a deadly signal; through us nobody would, so it is said where a person sees it.
pub(crate) fn message(
    execution: &Execution,
    stderr_tail: &str,
    command: &[String],
    given: Given,
    local: &impl Local,
    person: bool,
) -> Option<Message> {
    let body = execution.outcome.as_ref()?;
    let outcome = Outcome::try_from(body).ok();
    let hint = outcome.and_then(|outcome| hint(&outcome, stderr_tail, given, local));
    let said = match body {
        OutcomeBody::Exited { .. } => None,
        OutcomeBody::Signalled { .. } => sentence(execution).filter(|_| person),
        OutcomeBody::OutOfMemory { .. }
        | OutcomeBody::TimedOut { .. }
        | OutcomeBody::Cancelled { .. }
        | OutcomeBody::DependenciesFailed { .. }
        | OutcomeBody::InputMissing { .. }
        | OutcomeBody::OutputTooLarge { .. }
        | OutcomeBody::DiskFull { .. }
        | OutcomeBody::WorkerLost { .. }
        | OutcomeBody::SandboxFailed { .. }
        | OutcomeBody::Expired => sentence(execution),
    };
    match (said, hint) {
        (None, None) => None,
        (Some(what), None) => Some(Message { what, next: advice(body, &execution.id).into_iter().collect() }),
        (said, Some(hint)) => {
            let what = match said {
                Some(said) => format!("{said}: {}", hint.explanation),
                None => hint.explanation.clone(),
            };
            Some(Message { what, next: fixed_command(&hint, command).into_iter().collect() })
        }
    }
}

/// The command that works instead: the one that was typed, with the hint's words in it. `None` when the hint's
/// sentence says it all.
fn fixed_command(hint: &Hint, typed: &[String]) -> Option<String> {
    if hint.options.is_empty() && hint.without.is_empty() && hint.before.is_none() {
        return None;
    }
    let at = typed.iter().skip(1).position(|word| word == "run").map_or(typed.len(), |index| index + 2);
    let mut words = vec!["rgrid".to_owned()];
    words.extend(typed.iter().take(at).skip(1).cloned());
    words.extend(hint.options.iter().cloned());
    words.extend(typed.iter().skip(at).filter(|word| !hint.without.contains(word)).cloned());
    let line: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let before = hint.before.as_ref().map(|before| format!("{before} ")).unwrap_or_default();
    Some(format!("{before}{}", line.join(" ")))
}

fn quoted(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| shown(word), std::borrow::Cow::into_owned)
}

/// The sentence on files that the script wrote where nothing is brought back from.
pub(crate) fn not_brought_back(paths: &[String]) -> Option<String> {
    let (first, more) = (paths.first()?, paths.len().saturating_sub(NAMED_MAX));
    let mut named: Vec<String> = paths.iter().take(NAMED_MAX).map(|path| shown(path)).collect();
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    Some(format!("not brought back: {}; use --output {}", named.join(", "), quoted(first)))
}

fn signal_name(signal: u8) -> String {
    match nix::sys::signal::Signal::try_from(i32::from(signal)) {
        Ok(known) => format!("signal {signal} ({})", known.as_str()),
        Err(_) => format!("signal {signal}"),
    }
}

/// This machine, for the table of hints.
pub(crate) struct Here<'a> {
    /// The working directory.
    pub cwd: &'a Path,
    /// Where Python would look for a module, in order.
    pub module_folders: Vec<&'a Path>,
}

impl Local for Here<'_> {
    fn path(&self, path: &str) -> Option<LocalKind> {
        let found = std::fs::metadata(self.cwd.join(path)).ok()?;
        match (found.is_file(), found.is_dir()) {
            (true, _) => Some(LocalKind::File),
            (false, true) => Some(LocalKind::Folder),
            (false, false) => None,
        }
    }

    fn module(&self, name: &str) -> Option<String> {
        let part = Path::new(name);
        // A module's name has neither a slash nor dots here: it comes from Python's own words.
        if name.is_empty() || part.components().count() != 1 {
            return None;
        }
        self.module_folders.iter().find_map(|folder| {
            let candidates = [folder.join(format!("{name}.py")), folder.join(name)];
            let found = candidates.into_iter().find(|path| path.is_file() || path.is_dir())?;
            let typed = found.strip_prefix(self.cwd).unwrap_or(&found);
            Some(typed.to_string_lossy().into_owned())
        })
    }

    fn variable(&self, name: &str) -> bool {
        std::env::var_os(name).is_some()
    }
}
