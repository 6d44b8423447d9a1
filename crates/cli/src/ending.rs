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
use crate::terminal::{below, quoted, shown};

/// Files that were not brought back and are named.
const NAMED_MAX: usize = 5;

/// Why it ended, in one sentence, below which may stand several lines of what failed; `None` where the script's own words
/// and exit code say it all.
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
            in_words("its packages could not be installed", message)
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
        OutcomeBody::SandboxFailed { message } => in_words("its sandbox could not be made", message),
        OutcomeBody::Expired => "its inputs did not arrive in time".to_owned(),
    })
}

/// What went wrong, in the words of what failed.
fn in_words(what: &str, words: &str) -> String {
    let words = words.trim_end();
    if words.contains('\n') {
        format!("{what}:{}", below(words))
    } else {
        format!("{what}: {}", shown(words))
    }
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
        OutcomeBody::Cancelled { .. } | OutcomeBody::TimedOut { .. } | OutcomeBody::OutOfMemory { .. } => {
            Some(format!("`rgrid logs {id}` shows what it wrote"))
        }
        OutcomeBody::DependenciesFailed { .. } => {
            Some(format!("`rgrid logs {id} --packages` shows all that was said while they were installed"))
        }
        OutcomeBody::Exited { .. } | OutcomeBody::Signalled { .. } => None,
    }
}

/// What the person is told; `None` when there is nothing to add to what the script said.
///
/// On a plain terminal the shell names a deadly signal; through us nobody would, so it is said where a person sees it.
pub(crate) fn message(
    execution: &Execution,
    stderr_tail: &str,
    command: &Typed,
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
        // The hint explains the end in its own words.
        (_, Some(hint)) => Some(Message {
            what: shown(&hint.explanation),
            next: fixed_command(&hint, command).into_iter().collect(),
        }),
    }
}

/// A command line as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Typed {
    /// Every word, the program's own name first.
    pub words: Vec<String>,
    /// How many of them, from the first on, are ours; the others belong to the script.
    pub ours: usize,
}

/// Options that may stand there once: a new value takes the place of the old one.
const SINGLE: [&str; 3] = ["--memory", "--timeout", "--disk"];

/// The command that works instead: the one that was typed, with the hint's words in it. `None` when the hint's
/// sentence says it all.
fn fixed_command(hint: &Hint, typed: &Typed) -> Option<String> {
    if hint.options.is_empty() && hint.without.is_empty() && hint.before.is_none() {
        return None;
    }
    let (ours, scripts) = typed.words.split_at(typed.ours.min(typed.words.len()));
    let at = ours.iter().skip(1).position(|word| word == "run").map_or(ours.len(), |index| index + 2);
    let mut words = vec!["rgrid".to_owned()];
    words.extend(ours.iter().take(at).skip(1).cloned());
    words.extend(hint.options.iter().cloned());
    let mut kept = ours.iter().skip(at);
    while let Some(word) = kept.next() {
        let replaced = |option: &&str| hint.options.iter().any(|new| new == option);
        let mut singles = SINGLE.iter().copied().filter(replaced);
        if hint.without.contains(word) {
            continue;
        }
        match singles.find(|option| {
            word.strip_prefix(option).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        }) {
            Some(option) if word == option => drop(kept.next()),
            Some(_) => {}
            None => words.push(word.clone()),
        }
    }
    words.extend(scripts.iter().cloned());
    let line: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let before = hint.before.as_ref().map(|before| format!("{before} ")).unwrap_or_default();
    Some(format!("{before}{}", line.join(" ")))
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

#[cfg(test)]
mod tests {
    use super::*;
    use rgrid_api::executions::ProgramBody;
    use rgrid_api::outcome::CancelledByBody;

    fn ended(outcome: OutcomeBody) -> Execution {
        Execution {
            id: "exec_01HF7YAT00E40R2081040G2081".to_owned(),
            name: None,
            status: "failed".to_owned(),
            program: ProgramBody::Script { path: "/p/s.py".to_owned(), argv0: None },
            args: Vec::new(),
            cwd: "/p".to_owned(),
            project_root: "/p".to_owned(),
            runtime: "python:3.12".to_owned(),
            environment: Vec::new(),
            metadata: Default::default(),
            priority: 0,
            attempt: 1,
            worker: None,
            image: None,
            created_at: Default::default(),
            started_at: None,
            finished_at: None,
            timeout_ms: 5000,
            cancel_requested: false,
            inputs_missing: 0,
            outcome: Some(outcome),
            exit_code: None,
            output_files: 0,
            output_bytes: 0,
            not_brought_back: Vec::new(),
            waiting: None,
        }
    }

    /// `|` stands between our words and the script's.
    fn typed(line: &str) -> Typed {
        let mut words = shlex::split(line).unwrap();
        let ours = words.iter().position(|word| word == "|").unwrap();
        words.remove(ours);
        Typed { words, ours }
    }

    /// A machine where nothing is.
    struct Nothing;

    impl Local for Nothing {
        fn path(&self, _: &str) -> Option<LocalKind> {
            None
        }

        fn module(&self, _: &str) -> Option<String> {
            None
        }

        fn variable(&self, _: &str) -> bool {
            false
        }
    }

    #[test]
    fn every_end_but_the_scripts_own_is_explained() {
        let ends = [
            OutcomeBody::Exited { code: 3 },
            OutcomeBody::Signalled { signal: 11 },
            OutcomeBody::OutOfMemory { limit_bytes: 512 << 20, peak_bytes: 511 << 20 },
            OutcomeBody::TimedOut { timeout_ms: 5000 },
            OutcomeBody::Cancelled { by: CancelledByBody::User },
            OutcomeBody::Cancelled { by: CancelledByBody::Operator },
            OutcomeBody::DependenciesFailed { message: "no version of numpy".to_owned() },
            OutcomeBody::InputMissing { path: "/p/a.csv".to_owned(), corrupt: false },
            OutcomeBody::InputMissing { path: "/p/a.csv".to_owned(), corrupt: true },
            OutcomeBody::OutputTooLarge { limit_bytes: 10 << 30, size_bytes: 11 << 30 },
            OutcomeBody::DiskFull { limit_bytes: 20 << 30 },
            OutcomeBody::WorkerLost { workers: vec!["worker_1".to_owned(), "worker_2".to_owned()] },
            OutcomeBody::SandboxFailed { message: "bubblewrap is not installed".to_owned() },
            OutcomeBody::Expired,
        ];
        let given = Given { network: true, stdin: false };
        let mut text = String::new();
        for end in ends {
            let kind = format!("{end:?}");
            let said = message(&ended(end), "", &typed("rgrid run | s.py"), given, &Nothing, true);
            let said = said.map_or_else(
                || "(nothing: the script's own words stand)\n".to_owned(),
                |said| said.render(false),
            );
            text.push_str(&format!("{}\n{said}\n", kind.split_whitespace().next().unwrap_or_default()));
        }
        insta::assert_snapshot!("ends", text);
    }

    fn fixed(line: &str, options: &[&str], without: &[&str], before: Option<&str>) -> String {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        let hint = Hint {
            explanation: String::new(),
            options: words(options),
            without: words(without),
            before: before.map(str::to_owned),
        };
        fixed_command(&hint, &typed(line)).unwrap()
    }

    #[test]
    fn the_fixed_command_is_the_typed_one_with_the_options_in_it() {
        insta::assert_snapshot!(
            fixed("/usr/bin/rgrid run --cpu 2 | 's p.py' 'a b' --x", &["--input", "config/a b.yml"], &[], None),
            @"rgrid run --input 'config/a b.yml' --cpu 2 's p.py' 'a b' --x"
        );
        insta::assert_snapshot!(
            fixed("rgrid --profile work run --no-network | s.py --no-network", &[], &["--no-network"], None),
            @"rgrid --profile work run s.py --no-network"
        );
        insta::assert_snapshot!(fixed("rgrid run | s.py", &[], &[], Some("cat answers.txt |")), @"cat answers.txt | rgrid run s.py");
    }

    #[test]
    fn a_new_value_takes_the_place_of_the_old_one_and_the_scripts_own_option_stays() {
        insta::assert_snapshot!(
            fixed("rgrid run --timeout 2 --memory=1G -d | s.py --timeout 9", &["--timeout", "4s"], &[], None),
            @"rgrid run --timeout 4s '--memory=1G' -d s.py --timeout 9"
        );
        insta::assert_snapshot!(
            fixed("rgrid run --memory=1G | s.py", &["--memory", "3G"], &[], None),
            @"rgrid run --memory 3G s.py"
        );
    }

    #[test]
    fn files_that_stay_away_are_named_with_the_option_that_brings_them() {
        let paths: Vec<String> = (0..7).map(|i| format!("/tmp/out {i}.csv")).collect();
        insta::assert_snapshot!(not_brought_back(&paths).unwrap(), @"not brought back: /tmp/out 0.csv, /tmp/out 1.csv, /tmp/out 2.csv, /tmp/out 3.csv, /tmp/out 4.csv, and 2 more; use --output '/tmp/out 0.csv'");
        assert_eq!(not_brought_back(&[]), None);
    }

    #[test]
    fn a_module_is_found_where_python_would_look() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("lib")).unwrap();
        std::fs::write(folder.path().join("lib/plugin.py"), "").unwrap();
        let lib = folder.path().join("lib");
        let here = Here { cwd: folder.path(), module_folders: vec![folder.path(), &lib] };
        assert_eq!(here.module("plugin").as_deref(), Some("lib/plugin.py"));
        assert_eq!(here.module("../lib"), None);
        assert_eq!(here.path("lib"), Some(LocalKind::Folder));
    }
}
