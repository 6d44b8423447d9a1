//! A failure hands over the fixed command: the one table from what went wrong to what to type next
//! (DESIGN section 4, step 8). Pure: what lies on the user's machine is asked through [`Local`].

use crate::limits;
use crate::outcome::Outcome;
use crate::quantity::{format_bytes, format_duration, parse_bytes};

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
    /// What lies at `path` (absolute, or relative to the working directory) and was not sent; `None` for what was.
    fn path(&self, path: &str) -> Option<LocalKind>;
    /// The file or folder from which Python would import the top-level module `name` here, as it would be typed, when
    /// it was not sent.
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
            let twice = format_duration(timeout.saturating_mul(2).min(limits::TIMEOUT_MAX));
            let explanation = format!("it was ended after {}, its time limit", format_duration(*timeout));
            Some(Hint::new(explanation, ["--timeout", &twice]))
        }
        Outcome::DiskFull { limit_bytes } => {
            let explanation =
                format!("it wrote more than the {} of disk it was given", format_bytes(*limit_bytes));
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
    let wanted = rounded_up(with_headroom(seen));
    let (limit, peak) = (format_bytes(limit_bytes), format_bytes(peak_bytes));
    let explanation = format!("it was killed at its memory limit of {limit} (peak {peak})");
    Hint::new(explanation, ["--memory", &wanted])
}

fn with_headroom(bytes: u64) -> u64 {
    bytes.saturating_add(bytes / 100 * MEMORY_HEADROOM_PERCENT)
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

impl<'a> Raised<'a> {
    /// `None` for a line that cannot be one: source, a frame, a note.
    fn parse(line: &'a str) -> Option<Self> {
        let (name, message) = line.split_once(':').unwrap_or((line, ""));
        let is_name = |part: &str| {
            part.chars().next().is_some_and(|first| first.is_alphabetic() || first == '_')
                && part.chars().all(|c| c.is_alphanumeric() || c == '_')
        };
        let kind = name.rsplit('.').next().unwrap_or(name);
        name.split('.').all(is_name).then_some(Self { kind, message: message.trim() })
    }
}

/// Looks from the last line upwards. Chained tracebacks and the members of an exception group stand there, too: the
/// cause of what ended the script is often the one that can be helped.
fn of_traceback(stderr: &str, given: Given, local: &impl Local) -> Option<Hint> {
    stderr.lines().rev().take(LINES_MAX).find_map(|line| {
        // Members of a group are drawn with `|` and `+` before them.
        let line = line.trim_start_matches([' ', '|', '+', '-']).trim_end();
        let of_raised = Raised::parse(line).and_then(|raised| of_raised(raised, stderr, given, local));
        of_raised.or_else(|| of_words(line, local))
    })
}

/// THE table: a row for each kind of exception.
fn of_raised(raised: Raised<'_>, stderr: &str, given: Given, local: &impl Local) -> Option<Hint> {
    match raised.kind {
        "FileNotFoundError" | "NotADirectoryError" => {
            quoted(raised.message).into_iter().find_map(|path| missing_path(path, local))
        }
        "IsADirectoryError" => {
            let path =
                quoted(raised.message).into_iter().find(|path| local.path(path) == Some(LocalKind::File))?;
            Some(input(path, local))
        }
        "OperationalError" if raised.message.contains("unable to open database file") => {
            Some(database(stderr, local).map(|path| input(&path, local)).unwrap_or_else(|| {
                let explanation =
                    "the database that it opens, or the folder for it, was not sent; add --input PATH";
                Hint::new(explanation.to_owned(), [])
            }))
        }
        "ModuleNotFoundError" => {
            let name = quoted(raised.message).into_iter().next()?;
            missing_module(name, local)
        }
        "KeyError" => {
            let name = quoted(raised.message).into_iter().next()?;
            // Only a lookup in the environment: a dictionary may well have a key of the same name.
            let is_environment = ["environ", "<frozen os>"].iter().any(|sign| stderr.contains(sign));
            (is_environment && local.variable(name)).then(|| variable(name))
        }
        "EOFError" if !given.stdin && (raised.message.contains("EOF") || stderr.contains("input(")) => {
            Some(Hint {
                explanation: "it asked for input, and nothing was piped in".to_owned(),
                before: Some("echo ANSWER |".to_owned()),
                ..Hint::default()
            })
        }
        "MemoryError" | "_ArrayMemoryError" => Some(of_allocation(raised.message)),
        "OSError" if raised.message.starts_with("[Errno 28]") => {
            let twice = rounded_up(2 * limits::DISK_BYTES);
            let explanation = format!("its disk was full; give it more with --disk, such as --disk {twice}");
            Some(Hint::new(explanation, []))
        }
        kind if is_of_network(kind) => of_network(raised.message, stderr, given),
        _ => None,
    }
}

/// Other words for a missing file: those of libraries, of `argparse`, and of programs that a script starts.
fn of_words(line: &str, local: &impl Local) -> Option<Hint> {
    const WORDS: [&str; 4] = ["No such file or directory", "does not exist", "not found", "nable to open"];
    if !WORDS.iter().any(|words| line.contains(words)) {
        return None;
    }
    let bare =
        line.split_whitespace().map(|word| word.trim_matches(['.', ',', ':', ';', '"', '\'', '`', '(', ')']));
    let named = quoted(line).into_iter().chain(bare).filter(|path| !path.is_empty());
    // A word of the sentence may be a folder's name by chance: only what looks like a path is one.
    let mut paths = named.filter(|path| path.contains(['/', '.']));
    paths.find_map(|path| local.path(path).map(|_| input(path, local)))
}

/// Texts between quotes.
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

/// The database that a script opens stands in the source lines of the traceback, if anywhere.
fn database(stderr: &str, local: &impl Local) -> Option<String> {
    let lines = stderr
        .lines()
        .rev()
        .take(LINES_MAX)
        .filter(|line| line.contains("connect(") || line.contains("sqlite"));
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
    let explanation = format!(
        "the module {name} is here and was not sent: nothing in the script says beforehand that it is imported"
    );
    Some(Hint::new(explanation, ["--input", &path]))
}

fn variable(name: &str) -> Hint {
    let explanation =
        format!("the environment variable {name} is set here; variables travel only when they are named");
    Hint::new(explanation, ["--env", name])
}

/// A refused allocation. numpy says how much it wanted: `Unable to allocate 7.45 GiB for an array ...`.
fn of_allocation(message: &str) -> Hint {
    let wanted = message.strip_prefix("Unable to allocate ").and_then(|rest| {
        let mut words = rest.split_whitespace();
        parse_bytes(&format!("{}{}", words.next()?, words.next()?)).ok()
    });
    match wanted {
        Some(bytes) => {
            let enough = rounded_up(with_headroom(bytes).saturating_add(GIB));
            let explanation = format!("it asked for {} more memory than it could have", format_bytes(bytes));
            Hint::new(explanation, ["--memory", &enough])
        }
        None => {
            let explanation = "it asked for more memory than it could have; give it more with --memory, such as --memory 8G";
            Hint::new(explanation.to_owned(), [])
        }
    }
}

fn is_of_network(kind: &str) -> bool {
    const KINDS: [&str; 16] = [
        "ConnectionRefusedError",
        "ConnectionError",
        "ConnectionTimeout",
        "ConnectError",
        "ConnectTimeout",
        "ClientConnectorError",
        "ClientConnectorDNSError",
        "MaxRetryError",
        "NameResolutionError",
        "NewConnectionError",
        "OperationalError",
        "OSError",
        "ProxyError",
        "TimeoutError",
        "URLError",
        "gaierror",
    ];
    KINDS.contains(&kind)
}

fn of_network(message: &str, stderr: &str, given: Given) -> Option<Hint> {
    const SIGNS: [&str; 14] = [
        "unreachable",
        "name resolution",
        "Name or service not known",
        "nodename nor servname",
        "onnection refused",
        "Connect call failed",
        "Failed to resolve",
        "Failed to establish a new connection",
        "Cannot connect to host",
        "connection attempts failed",
        "No route to host",
        "timed out",
        "could not translate host name",
        "not permitted",
    ];
    if !SIGNS.iter().any(|sign| message.contains(sign)) {
        return None;
    }
    if !given.network {
        return Some(Hint {
            explanation: "it wanted the network, and --no-network cut it off".to_owned(),
            without: vec!["--no-network".to_owned()],
            ..Hint::default()
        });
    }
    let named = |names: &[&str]| {
        stderr.lines().rev().take(LINES_MAX).any(|line| names.iter().any(|n| line.contains(n)))
    };
    let explanation = if named(&["localhost", "127.0.0.1", "::1"]) {
        "it looked for a service on this machine (localhost); on the grid localhost is the job itself: \
         use an address that the grid can reach"
    } else if named(&["//10.", "'10.", "//192.168.", "'192.168.", "//172.16.", "'172.16."]) {
        "it looked for a private address; the grid lets jobs reach those only where its operator allows it"
    } else {
        return None;
    };
    Some(Hint::new(explanation.to_owned(), []))
}
