//! Every way in which a command of ours can fail, and what the person is told: what happened, why, and what to do
//! next. How a script fails is not here: its own words and its exit code pass unchanged.

use std::io;
use std::path::PathBuf;

use rgrid_api::client::ClientError;
use rgrid_api::error::ErrorCode;
use rgrid_core::outcome::{EXIT_GRID_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED};

use crate::dependencies::DependencyError;
use crate::discovery::DiscoveryError;
use crate::output::size;
use crate::terminal::{below, quoted, shown};

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Error {
    /// An option of the contract that is not there yet.
    NotInThisVersion { option: &'static str },
    /// An option's value cannot be used.
    Option { option: &'static str, problem: String },
    /// The script, or what it needs, cannot be found or sent.
    Discovery(DiscoveryError),
    /// The packages that the script needs cannot be settled.
    Dependencies(DependencyError),
    /// uv, which locks packages, is not there and cannot be had.
    NoUv(anyhow::Error),
    /// The submission is one that no grid takes.
    Submission { refusal: rgrid_core::submission::Refusal },
    /// More would travel than somebody agreed to.
    Consent { bytes: u64, files: u64, largest: Vec<(String, u64)> },
    /// There is no home folder to keep credentials in.
    NoHome,
    /// Only one of RGRID_URL and RGRID_API_KEY is set.
    HalfConfigured { set: &'static str, missing: &'static str },
    /// The credentials file cannot be used.
    Credentials { path: PathBuf, problem: String },
    /// The named profile is not there.
    NoProfile { name: String, known: Vec<String> },
    /// `[tool.rgrid]` cannot be used.
    Project { path: PathBuf, problem: String },
    /// An answer is needed and nobody is there to give it.
    NobodyToAsk { question: &'static str, instead: &'static str },
    /// The text is no address of a grid.
    NotAnAddress { text: String },
    /// A file of this machine.
    File { doing: Doing, path: PathBuf, source: io::Error },
    /// A file changed between reading and sending it.
    ChangedWhileSent { path: String },
    /// The grid of this machine does not start.
    EmbeddedGrid(anyhow::Error),
    /// The grid refused, failed, or cannot be reached.
    Grid { url: String, source: Box<ClientError> },
    /// The inputs did not get through, for a long time.
    UploadCut { sent_bytes: u64, total_bytes: u64, source: Option<Box<ClientError>> },
    /// The grid fell silent while an execution was followed.
    FollowCut { id: String, source: Option<Box<ClientError>> },
    /// A file did not come back whole.
    DownloadCut { id: String, path: String, source: Option<Box<ClientError>> },
    /// What came back is not what was kept.
    Damaged { id: String, path: String },
    /// Some files could not be written.
    NotAllWritten { id: String, failed: u64 },
    /// It has not ended, and what is asked for comes with the end.
    NotEnded { id: String, status: String },
    /// Its files belong into a project that is not here.
    AnotherProject { id: String, root: String },
    /// An execution that is to run again, and whose inputs are gone.
    InputsGone { id: String },
    /// The person left before the script was handed over.
    Interrupted,
    /// `doctor` found something.
    Unhealthy { problems: usize },
}

/// What was to be done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Read,
    Write,
}

impl std::fmt::Display for Doing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

/// What the person is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Message {
    /// What happened, and why.
    pub what: String,
    /// What to do next, a sentence a line.
    pub next: Vec<String>,
}

impl Message {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), next: Vec::new() }
    }

    fn next(mut self, sentence: impl Into<String>) -> Self {
        self.next.push(sentence.into());
        self
    }

    /// As it stands on the terminal.
    pub(crate) fn render(&self, colour: bool) -> String {
        let (red, bold, plain) = if colour { ("\x1b[31m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
        let mut out = format!("{red}rgrid:{plain} {}\n", self.what);
        for sentence in &self.next {
            out.push_str(&format!("  {bold}next:{plain} {sentence}\n"));
        }
        out
    }
}

impl Error {
    pub(crate) fn grid(url: &str, source: ClientError) -> Self {
        Self::Grid { url: url.to_owned(), source: Box::new(source) }
    }

    /// The exit code of DESIGN section 5: the person's to repair is 126, the grid's 125.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::NotInThisVersion { .. }
            | Self::Option { .. }
            | Self::Discovery(_)
            | Self::Dependencies(DependencyError::Unreadable { .. } | DependencyError::Malformed { .. })
            | Self::Submission { .. }
            | Self::NotEnded { .. }
            | Self::AnotherProject { .. }
            | Self::InputsGone { .. }
            | Self::Consent { .. }
            | Self::NoHome
            | Self::HalfConfigured { .. }
            | Self::Credentials { .. }
            | Self::NoProfile { .. }
            | Self::Project { .. }
            | Self::NobodyToAsk { .. }
            | Self::NotAnAddress { .. }
            | Self::File { doing: Doing::Read, .. } => EXIT_REFUSED,
            Self::Grid { source, .. } if matches!(&**source, ClientError::Api(error) if !error.code.is_passing()) => {
                EXIT_REFUSED
            }
            Self::Dependencies(
                DependencyError::Unsolvable { .. }
                | DependencyError::Unreachable { .. }
                | DependencyError::Resolver { .. }
                | DependencyError::Unwritable { .. },
            )
            | Self::NoUv(_)
            | Self::File { doing: Doing::Write, .. }
            | Self::ChangedWhileSent { .. }
            | Self::EmbeddedGrid(_)
            | Self::Grid { .. }
            | Self::UploadCut { .. }
            | Self::FollowCut { .. }
            | Self::DownloadCut { .. }
            | Self::Damaged { .. }
            | Self::NotAllWritten { .. }
            | Self::Unhealthy { .. } => EXIT_GRID_FAILED,
            Self::Interrupted => EXIT_INTERRUPTED,
        }
    }

    /// What the person is told.
    pub(crate) fn message(&self) -> Message {
        match self {
            Self::NotInThisVersion { option: "--gpu" } => Message::new("--gpu: workers have no GPU")
                .next("run it without --gpu: it then runs on the CPU"),
            Self::NotInThisVersion { option } => {
                Message::new(format!("{option} is not in this version of rgrid"))
                    .next(format!("run it without {option}"))
            }
            Self::Option { option, problem } => {
                Message::new(format!("{option}: {problem}")).next("`rgrid run --help` explains every option")
            }
            Self::Discovery(error @ DiscoveryError::ScriptMissing { similar: None, .. }) => {
                Message::new(shown(&error.to_string()))
                    .next("check its name, or change into its folder first")
            }
            // The other words already say what to do next.
            Self::Discovery(error) => Message::new(shown(&error.to_string())),
            Self::Dependencies(error) => dependencies(error),
            Self::NoUv(error) => Message::new(format!("{error:#}")),
            Self::Submission { refusal } => {
                Message::new(format!("{}: {}", words(refusal.field), shown(&refusal.reason)))
                    .next("`rgrid run --help` explains every option")
            }
            Self::NotEnded { id, status } => {
                Message::new(format!("{id} is {status}: its files come when it has ended"))
                    .next(format!("`rgrid logs {id} -f` waits for its end"))
            }
            Self::AnotherProject { id, root } => Message::new(format!(
                "the files of {id} belong into {}, which is elsewhere",
                shown(root)
            ))
            .next(format!(
                "run it there, or bring them into a folder of choice: rgrid download {id} --output-dir FOLDER"
            )),
            Self::InputsGone { id } => Message::new(format!("the inputs of {id} are no longer on the grid"))
                .next("run the command anew: it sends them again"),
            Self::Consent { bytes, files, largest } => consent(*bytes, *files, largest),
            Self::NoHome => Message::new("there is no home folder to keep credentials in: HOME is not set")
                .next("set HOME, or set RGRID_URL and RGRID_API_KEY"),
            Self::HalfConfigured { set, missing } => {
                Message::new(format!("{set} is set, and {missing} is not"))
                    .next(format!("set {missing} too, or unset {set} to use this machine's own grid"))
            }
            Self::Credentials { path, problem } => {
                Message::new(format!("{}: {problem}", shown(&path.to_string_lossy())))
                    .next("`rgrid init` writes the file anew")
            }
            Self::NoProfile { name, known } => {
                let known = if known.is_empty() {
                    "there is none".to_owned()
                } else {
                    format!("known are {}", known.join(", "))
                };
                Message::new(format!("there is no profile {:?}: {}", shown(name), shown(&known)))
                    .next(format!("`rgrid init --profile {}` makes it", shown(name)))
            }
            Self::Project { path, problem } => {
                Message::new(format!("{}: {problem}", shown(&path.to_string_lossy())))
                    .next("correct the [tool.rgrid] table, or remove it")
            }
            Self::NobodyToAsk { question, instead } => {
                Message::new(format!("{question} is needed, and there is no terminal to ask on"))
                    .next(*instead)
            }
            Self::NotAnAddress { text } => {
                Message::new(format!("{:?} is not the address of a grid", shown(text)))
                    .next("write it with its scheme, such as https://grid.example.com")
            }
            Self::File { doing, path, source } => file(*doing, &path.to_string_lossy(), source),
            Self::ChangedWhileSent { path } => {
                Message::new(format!("{} changed while it was being sent", shown(path)))
                    .next("run the same command again once nothing writes to it")
            }
            Self::EmbeddedGrid(error) => {
                Message::new(format!("the grid of this machine did not start: {error:#}"))
                    .next("`rgrid doctor` checks what it needs, and says how to repair it")
            }
            Self::Grid { url, source } => grid(url, source),
            Self::UploadCut { sent_bytes, total_bytes, source } => Message::new(format!(
                "the inputs did not get through: {} of {} were sent{}",
                size(*sent_bytes),
                size(*total_bytes),
                because(source.as_deref())
            ))
            .next("run the same command again: it goes on where it was cut"),
            Self::FollowCut { id, source } => Message::new(format!(
                "the grid fell silent while {id} was followed{}",
                because(source.as_deref())
            ))
            .next(format!("the script may well go on: `rgrid logs {id} -f` shows it when the grid is back")),
            Self::DownloadCut { id, path, source } => {
                Message::new(format!("{} did not come back{}", shown(path), because(source.as_deref())))
                    .next(format!("`rgrid download {id}` brings what is missing"))
            }
            Self::Damaged { id, path } => {
                Message::new(format!("{} came back damaged, so it was not written", shown(path)))
                    .next(format!("`rgrid download {id}` tries again; the grid's operator should know"))
            }
            Self::NotAllWritten { id, failed } => {
                let files =
                    if *failed == 1 { "one file was".to_owned() } else { format!("{failed} files were") };
                Message::new(format!("{files} not written"))
                    .next(format!("make room or give permission, then `rgrid download {id}`"))
            }
            Self::Interrupted => Message::new("interrupted before the script was handed over: nothing runs")
                .next("the same command goes on with what was sent already"),
            Self::Unhealthy { problems: 1 } => Message::new("one thing needs repair"),
            Self::Unhealthy { problems } => Message::new(format!("{problems} things need repair")),
        }
    }
}

/// The option, or the part of the command line, that fills a field of a submission.
fn words(field: &'static str) -> &'static str {
    match field {
        "timeout_ms" => "--timeout",
        "retries" => "--retries",
        "priority" => "--priority",
        "cpu_millis" => "--cpu",
        "memory_bytes" => "--memory",
        "disk_bytes" => "--disk",
        "environment" => "--env",
        "metadata" => "--metadata",
        "name" => "--name",
        "args" => "the arguments",
        "program" => "the program",
        other => other,
    }
}

fn dependencies(error: &DependencyError) -> Message {
    let what = shown(&error.to_string());
    let with = |words: &str| Message::new(format!("{what}{}", below(words)));
    match error {
        DependencyError::Unreadable { path, source } => file(Doing::Read, &path.to_string_lossy(), source),
        DependencyError::Unwritable { path, source } => file(Doing::Write, &path.to_string_lossy(), source),
        DependencyError::Malformed { .. } => {
            Message::new(what).next("correct the file, or name another: --requirements FILE")
        }
        DependencyError::Unsolvable { words, .. } => {
            with(words).next("correct the versions there, then run the command again: nothing was submitted")
        }
        DependencyError::Unreachable { words, .. } => {
            with(words).next("try again when the index answers: nothing was submitted")
        }
        DependencyError::Resolver { words } => {
            with(words).next("correct what it names, then run the command again: nothing was submitted")
        }
    }
}

fn consent(bytes: u64, files: u64, largest: &[(String, u64)]) -> Message {
    let mut message = Message::new(format!("{files} files with {} would travel", size(bytes)));
    for (path, bytes) in largest {
        message.what.push_str(&format!("\n  {:>9}  {}", size(*bytes), shown(path)));
    }
    message.next("send them with --yes, or leave some out with --no-input PATH or a .rgridignore file")
}

fn file(doing: Doing, path: &str, source: &io::Error) -> Message {
    let path = shown(path);
    let kind = source.kind();
    if matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return Message::new(format!("cannot {doing} {path}: the disk of this machine is full"))
            .next("make room, then run the command again");
    }
    if kind == io::ErrorKind::PermissionDenied {
        return Message::new(format!("cannot {doing} {path}: this user may not"))
            .next(format!("`ls -ld {}` shows who may", quoted(&path)));
    }
    Message::new(format!("cannot {doing} {path}: {}", os_words(source)))
}

fn grid(url: &str, source: &ClientError) -> Message {
    match source {
        error if is_vouched_for_by_nobody(error) => {
            Message::new(format!("no authority that is trusted here vouches for the certificate of {url}"))
                .next("add that authority to the system's certificates, or name a file with it: SSL_CERT_FILE=ca.pem")
        }
        ClientError::Unreachable { source, .. } => {
            Message::new(format!("{url} cannot be reached: {}", transport_words(source)))
                .next("`rgrid config show` says where this address comes from; `rgrid doctor` looks closer")
        }
        ClientError::NotAGrid { status, .. } => {
            Message::new(format!("{url} answers, but not as a grid does (status {status})"))
                .next("`rgrid config show` says where this address comes from")
        }
        ClientError::TooLargeOnTheWay { url } => {
            Message::new(format!("what stands in front of {url} lets no request of this size through (status 413)"))
                .next("whoever runs it sets no limit there, for the grid has its own: in nginx `client_max_body_size 0;`")
        }
        ClientError::Api(error) => {
            let mut message = match error.code {
                ErrorCode::Unauthorized => Message::new(format!("{url} does not know this key")).next(
                    "`rgrid init` takes another key; `rgrid config show` says where this one comes from",
                ),
                ErrorCode::Internal
                | ErrorCode::DatabaseUnavailable
                | ErrorCode::ObjectsUnavailable
                | ErrorCode::TooManyRequests => {
                    Message::new(format!("the grid failed: {}", shown(&error.message)))
                }
                ErrorCode::StoreFull => Message::new(shown(&error.message)),
                ErrorCode::NotFound | ErrorCode::Ambiguous => {
                    Message::new(shown(&error.message)).next("`rgrid list` shows what there is")
                }
                ErrorCode::Malformed
                | ErrorCode::Invalid
                | ErrorCode::Forbidden
                | ErrorCode::Conflict
                | ErrorCode::IdempotencyMismatch
                | ErrorCode::NotCurrent
                | ErrorCode::TooLarge
                | ErrorCode::VersionRefused
                | ErrorCode::MethodNotAllowed => Message::new(format!("refused: {}", shown(&error.message))),
            };
            if let Some(hint) = &error.hint {
                message.next = vec![shown(hint)];
            }
            message
        }
    }
}

/// The end of a sentence that says why the last call failed.
fn because(source: Option<&ClientError>) -> String {
    match source {
        Some(ClientError::Unreachable { source, .. }) => format!(" ({})", transport_words(source)),
        Some(ClientError::Api(error)) => format!(" ({})", shown(&error.message)),
        Some(ClientError::NotAGrid { status, .. }) => format!(" (status {status})"),
        Some(ClientError::TooLargeOnTheWay { .. }) => " (status 413)".to_owned(),
        None => String::new(),
    }
}

/// Why there was no answer, from the bottom of the transport's chain of errors.
pub(crate) fn transport_words(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(next) = innermost.source() {
        innermost = next;
        if let Some(error) = innermost.downcast_ref::<io::Error>()
            && error.raw_os_error().is_some()
        {
            let refused = error.kind() == io::ErrorKind::ConnectionRefused;
            return if refused { "nothing listens there".to_owned() } else { os_words(error) };
        }
    }
    if error.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    if error.is_connect() || error.is_builder() {
        return shown(&innermost.to_string());
    }
    "the connection broke".to_owned()
}

/// True when TLS failed because the other side's certificate comes from nobody whom this machine trusts.
pub(crate) fn is_vouched_for_by_nobody(error: &ClientError) -> bool {
    let ClientError::Unreachable { source, .. } = error else { return false };
    let mut cause: Option<&dyn std::error::Error> = Some(source);
    while let Some(error) = cause {
        if let Some(rustls::Error::InvalidCertificate(why)) = error.downcast_ref() {
            return *why == rustls::CertificateError::UnknownIssuer;
        }
        // What an error of the system holds is not its source, but that one's.
        let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = held.map(|held| held as _).or_else(|| error.source());
    }
    false
}

/// The system's own words, without our library's ` (os error 13)`.
fn os_words(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    shown(&words.to_lowercase())
}

#[cfg(test)]
mod tests;
