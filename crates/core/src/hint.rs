//! A failure hands over the fixed command: the one table from what went wrong to what to type next
//! (DESIGN section 4, step 8). Pure: what lies on the user's machine is asked through [`Local`].

use crate::outcome::Outcome;
use crate::quantity::{format_bytes, format_duration};

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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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

impl Hint {
    fn new<const N: usize>(explanation: String, options: [&str; N]) -> Self {
        Self { explanation, options: options.map(str::to_owned).into(), ..Self::default() }
    }
}

/// Lines at the end of stderr that are looked at: a traceback's last lines say what was raised.
const LINES_MAX: usize = 400;
/// What is asked for over the peak that was seen, in percent: the next run needs room to get past it.
const MEMORY_HEADROOM_PERCENT: u64 = 50;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The hint for an outcome, if the table has one. `stderr_tail` is the end of what the script wrote to stderr.
pub fn hint(outcome: &Outcome, stderr_tail: &str, given: Given, local: &impl Local) -> Option<Hint> {
    match outcome {
        Outcome::Exited { code: 0 } => None,
        Outcome::Exited { .. } => of_traceback(stderr_tail, given, local),
        Outcome::OutOfMemory { limit_bytes, peak_bytes } => Some(of_memory(*limit_bytes, *peak_bytes)),
        Outcome::TimedOut { timeout } => {
            let twice = format_duration(timeout.saturating_mul(2));
            let explanation = format!("it was ended after {}, its time limit", format_duration(*timeout));
            Some(Hint::new(explanation, ["--timeout", &twice]))
        }
        Outcome::DiskFull { limit_bytes } => {
            let explanation = format!("it wrote more than the {} of disk it was given", format_bytes(*limit_bytes));
            let twice = rounded_up(limit_bytes.saturating_mul(2));
            Some(Hint::new(explanation, ["--disk", &twice]))
        }
        Outcome::OutputTooLarge { limit_bytes, size_bytes } => {
            let (size, limit) = (format_bytes(*size_bytes), format_bytes(*limit_bytes));
            Some(Hint::new(
                format!(
                    "it wrote {size} of files and at most {limit} come back; \
                     write what is only needed on the way into the folder that tempfile gives"
                ),
                [],
            ))
        }
        Outcome::InputMissing { path, corrupt } => {
            let state = if *corrupt { "was damaged" } else { "was not there any more" };
            Some(Hint::new(format!("{path} {state} on the grid; the same command sends it again"), []))
        }
        Outcome::Signalled { .. }
        | Outcome::Cancelled { .. }
        | Outcome::DependenciesFailed { .. }
        | Outcome::WorkerLost { .. }
        | Outcome::SandboxFailed { .. }
        | Outcome::Expired => None,
    }
}

fn of_memory(limit_bytes: u64, peak_bytes: u64) -> Hint {
    let seen = peak_bytes.max(limit_bytes);
    let wanted = rounded_up(seen.saturating_add(seen / 100 * MEMORY_HEADROOM_PERCENT));
    let (limit, peak) = (format_bytes(limit_bytes), format_bytes(peak_bytes));
    let explanation = format!("it was killed at its memory limit of {limit} (peak {peak})");
    Hint::new(explanation, ["--memory", &wanted])
}

/// A size that people would type: whole gibibytes, below one whole steps of 128 MiB.
fn rounded_up(bytes: u64) -> String {
    let step = if bytes < GIB { 128 * MIB } else { GIB };
    format_bytes(bytes.div_ceil(step).max(1).saturating_mul(step))
}

/// One line of a traceback that says what was raised.
#[derive(Debug, Clone, Copy)]
struct Raised<'a> {
    /// The exception's name without its module.
    kind: &'a str,
    message: &'a str,
}

/// Everything that was raised, the last first. Chained tracebacks and the members of an exception group stand there,
/// too: the cause of what ended the script is often the one that can be helped.
fn raised(stderr: &str) -> impl Iterator<Item = Raised<'_>> {
    stderr.lines().rev().take(LINES_MAX).filter_map(|line| {
        // Members of a group are drawn with `|` and `+` before them.
        let line = line.trim_start_matches([' ', '|', '+', '-']).trim_end();
        let (name, message) = line.split_once(':').unwrap_or((line, ""));
        let is_name = |part: &str| {
            part.chars().next().is_some_and(|first| first.is_alphabetic() || first == '_')
                && part.chars().all(|c| c.is_alphanumeric() || c == '_')
        };
        if !name.split('.').all(is_name) {
            return None;
        }
        let kind = name.rsplit('.').next().unwrap_or(name);
        Some(Raised { kind, message: message.trim() })
    })
}

fn of_traceback(stderr: &str, given: Given, local: &impl Local) -> Option<Hint> {
    raised(stderr).find_map(|raised| of_raised(raised, stderr, given, local))
}

/// THE table: a row for each kind of exception.
fn of_raised(raised: Raised<'_>, stderr: &str, given: Given, local: &impl Local) -> Option<Hint> {
    match raised.kind {
        "FileNotFoundError" | "NotADirectoryError" | "NoSuchFile" => {
            quoted(raised.message).into_iter().find_map(|path| missing_path(path, local))
        }
        // pandas, numpy, PIL and others say it in words of their own, with the path in them.
        "OSError" | "IOError" | "ValueError" | "RuntimeError" if says_missing(raised.message) => {
            let words = quoted(raised.message);
            let bare = raised.message.split_whitespace().map(|word| word.trim_matches(['.', ',', ':', ';', '"', '\'']));
            words.into_iter().chain(bare).find_map(|path| missing_path(path, local))
        }
        "OSError" if raised.message.contains("[Errno 28]") => {
            Some(Hint::new("its disk was full".to_owned(), ["--disk", "40G"]))
        }
        "OperationalError" if raised.message.contains("unable to open database file") => {
            database(stderr, local).map(|path| input(&path, local))
        }
        "ModuleNotFoundError" | "ImportError" => {
            let name = quoted(raised.message).into_iter().next().filter(|_| raised.message.starts_with("No module"))?;
            missing_module(name, local)
        }
        "KeyError" => {
            let name = quoted(raised.message).into_iter().next()?;
            // Only a lookup in the environment: a dictionary may well have a key of the same name.
            let is_environment = stderr.contains("environ") || stderr.contains("<frozen os>");
            if is_environment && local.variable(name) { Some(variable(name)) } else { None }
        }
        "EOFError" if !given.stdin && reads_input(raised.message, stderr) => Some(Hint {
            explanation: "it asked for input, and nothing was piped in".to_owned(),
            before: Some("echo ANSWER |".to_owned()),
            ..Hint::default()
        }),
        "MemoryError" | "_ArrayMemoryError" => {
            Some(Hint::new("it ran out of the memory it was given".to_owned(), ["--memory", "8G"]))
        }
        "ConnectionRefusedError" | "ConnectionError" | "ConnectError" | "URLError" | "NewConnectionError"
        | "MaxRetryError" | "gaierror" | "NameResolutionError" | "OSError" | "TimeoutError" | "ClientConnectorError"
            if !given.network && says_no_network(raised) =>
        {
            Some(Hint {
                explanation: "it wanted the network, and --no-network cut it off".to_owned(),
                without: vec!["--no-network".to_owned()],
                ..Hint::default()
            })
        }
        "ConnectionRefusedError" | "ConnectionError" | "ConnectError" | "URLError" | "NewConnectionError"
        | "MaxRetryError" | "ClientConnectorError" | "OperationalError" | "TimeoutError"
            if names_this_machine(raised.message, stderr) =>
        {
            Some(Hint::new(
                "it looked for a service on this machine (localhost): on the grid localhost is the job itself; \
                 use an address that the grid can reach"
                    .to_owned(),
                [],
            ))
        }
        _ => None,
    }
}

/// Texts between quotes, with Python's escapes of quotes and backslashes undone where they stand alone.
fn quoted(message: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = message;
    while let Some(start) = rest.find(['\'', '"']) {
        let quote = &rest[start..=start];
        let after = &rest[start + 1..];
        let Some(end) = after.find(quote) else { break };
        found.push(&after[..end]);
        rest = &after[end + 1..];
    }
    found
}

fn says_missing(message: &str) -> bool {
    ["No such file", "not found", "does not exist", "cannot find", "Unable to open", "unable to open"]
        .iter()
        .any(|words| message.contains(words))
}

/// A path that is here and was not there.
fn missing_path(path: &str, local: &impl Local) -> Option<Hint> {
    // A folder that is missing shows itself by the file that could not be made in it.
    let here = local.path(path).map(|_| path).or_else(|| {
        let (folder, _) = path.trim_end_matches('/').rsplit_once('/')?;
        let is_folder = !folder.is_empty() && local.path(folder) == Some(LocalKind::Folder);
        is_folder.then_some(folder)
    })?;
    Some(input(here, local))
}

fn input(path: &str, local: &impl Local) -> Hint {
    let what = match local.path(path) {
        Some(LocalKind::Folder) => "folder",
        Some(LocalKind::File) | None => "file",
    };
    Hint::new(format!("the {what} {path} is here and was not sent with the script"), ["--input", path])
}

/// The database that a script opens stands in the source line of the traceback, if anywhere.
fn database(stderr: &str, local: &impl Local) -> Option<String> {
    let lines = stderr.lines().rev().take(LINES_MAX).filter(|line| line.contains("connect(") || line.contains("sqlite"));
    let mut paths = lines.flat_map(quoted).map(|path| path.trim_start_matches("sqlite:///"));
    let found = paths.find_map(|path| {
        let folder = path.rsplit_once('/').map(|(folder, _)| folder).filter(|folder| !folder.is_empty());
        let here = local.path(path).map(|_| path);
        here.or_else(|| folder.filter(|folder| local.path(folder) == Some(LocalKind::Folder)))
    });
    found.map(str::to_owned)
}

fn missing_module(name: &str, local: &impl Local) -> Option<Hint> {
    let first = name.split('.').next().unwrap_or(name);
    let path = local.module(first)?;
    Some(Hint::new(
        format!("the module {name} is here and was not sent: no import names it in a way that can be seen beforehand"),
        ["--input", &path],
    ))
}

fn variable(name: &str) -> Hint {
    let explanation = format!("the environment variable {name} is set here; variables travel only when they are named");
    Hint::new(explanation, ["--env", name])
}

fn reads_input(message: &str, stderr: &str) -> bool {
    message.contains("EOF when reading a line") || stderr.contains("input(")
}

fn says_no_network(raised: Raised<'_>) -> bool {
    let words = [
        "Network is unreachable",
        "Temporary failure in name resolution",
        "Name or service not known",
        "nodename nor servname",
        "Connection refused",
        "Failed to resolve",
        "Failed to establish a new connection",
        "Cannot connect to host",
        "All connection attempts failed",
        "timed out",
        "[Errno 101]",
        "[Errno -3]",
        "[Errno -2]",
    ];
    raised.kind == "gaierror" || words.iter().any(|words| raised.message.contains(words))
}

fn names_this_machine(message: &str, stderr: &str) -> bool {
    let here = |text: &str| ["localhost", "127.0.0.1", "::1"].iter().any(|name| text.contains(name));
    let refused = message.contains("refused") || message.contains("Failed to establish");
    refused && (here(message) || stderr.lines().rev().take(LINES_MAX).any(here))
}
