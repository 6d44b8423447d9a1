//! `POST/GET /executions` and what can be done to one: `/cancel`, `/extend`, `/retry`, `/attempts`.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rgrid_core::dependencies::Dependencies;
use rgrid_core::submission::{Draft, Input, InputKind, Program, Refusal, Submission, Wanted};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::blobs::Upload;
use crate::dependencies::DependenciesBody;
use crate::outcome::OutcomeBody;

/// What the interpreter is told to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ProgramBody {
    /// A script, which is among the inputs.
    Script {
        /// Its absolute path on the user's machine.
        #[schema(pattern = "^/", max_length = 4095)]
        path: String,
        /// How the user spelled it, such as `../tools/x.py`: its `sys.argv[0]`. Absent: as `path`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        argv0: Option<String>,
    },
    /// `python -m name`.
    Module {
        /// The module's dotted name.
        #[schema(pattern = "^[A-Za-z0-9_]+([.][A-Za-z0-9_]+)*$")]
        name: String,
    },
}

/// One thing that is put in the workspace before the script starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum InputBody {
    /// A regular file.
    File {
        /// Its absolute path on the user's machine.
        #[schema(pattern = "^/", max_length = 4095)]
        path: String,
        /// Hash of its bytes, in lower-case hexadecimal.
        #[schema(pattern = "^[0-9a-f]{64}$")]
        sha256: String,
        /// Its size.
        size_bytes: u64,
        /// Its permission bits.
        #[schema(maximum = 511)]
        mode: u32,
        /// When it was last changed, in nanoseconds of Unix time.
        modified_ns: i64,
    },
    /// A folder that would else not be there.
    Folder {
        /// Its absolute path on the user's machine.
        #[schema(pattern = "^/", max_length = 4095)]
        path: String,
    },
    /// A symbolic link to another input.
    Symlink {
        /// Its absolute path on the user's machine.
        #[schema(pattern = "^/", max_length = 4095)]
        path: String,
        /// What it says.
        #[schema(min_length = 1)]
        target: String,
    },
}

/// The body of `POST /executions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateExecution {
    /// A name for people.
    #[schema(max_length = 256)]
    #[serde(default)]
    pub name: Option<String>,
    /// What to run.
    pub program: ProgramBody,
    /// The script's own arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// The user's working directory.
    #[schema(pattern = "^/", max_length = 4095)]
    pub cwd: String,
    /// The folder below which outputs are looked for.
    #[schema(pattern = "^/", max_length = 4095)]
    pub project_root: String,
    /// Everything that travels.
    #[serde(default)]
    pub inputs: Vec<InputBody>,
    /// Such as `python:3.12`, or `image:` and a container image.
    #[schema(
        pattern = "^(python:3[.]1[0-4]|image:[a-zA-Z0-9]+(([._/:@]|__|-+)[a-zA-Z0-9]+)*)$",
        max_length = 255
    )]
    pub runtime: String,
    /// The user's own interpreter; used only on the user's own machine.
    #[schema(pattern = "^/", max_length = 4095)]
    #[serde(default)]
    pub interpreter: Option<String>,
    /// Hash of what that interpreter is, with the packages that it sees: another one after each change of them.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpreter_state: Option<String>,
    /// Variables that the script sees; the values are kept encrypted and never shown.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// True when stdin will be streamed.
    #[serde(default)]
    pub stdin: bool,
    /// Thousandths of a core; absent: 1000.
    #[schema(minimum = 1, maximum = 1_000_000)]
    #[serde(default)]
    pub cpu_millis: Option<u32>,
    /// Bytes of memory; absent: the worker's share.
    #[schema(minimum = 1, maximum = 1_125_899_906_842_624_u64)]
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Bytes of disk; absent: the worker's share.
    #[schema(minimum = 1, maximum = 1_125_899_906_842_624_u64)]
    #[serde(default)]
    pub disk_bytes: Option<u64>,
    /// How long it may run; absent: 24 h.
    #[schema(minimum = 1, maximum = 2_592_000_000_u64)]
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// From SIGINT to SIGKILL when it is ended; absent: 10 s.
    #[schema(maximum = 600_000)]
    #[serde(default)]
    pub grace_ms: Option<u64>,
    /// Lost attempts it survives; absent: 2.
    #[schema(maximum = 100)]
    #[serde(default)]
    pub retries: Option<u32>,
    /// Exit codes after which it is tried again.
    #[schema(schema_with = exit_codes)]
    #[serde(default)]
    pub retry_on: Vec<u8>,
    /// False cuts it off from every network; absent: true.
    #[serde(default)]
    pub network: Option<bool>,
    /// Folders below which written files come back.
    #[serde(default)]
    pub output_roots: Vec<String>,
    /// Further files or folders that come back.
    #[serde(default)]
    pub outputs: Vec<String>,
    /// -100 to 100; higher goes first.
    #[schema(minimum = -100, maximum = 100)]
    #[serde(default)]
    pub priority: i16,
    /// The user's own labels.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// True when the caller will follow the log at once, so that it is pushed without delay from the first byte.
    #[serde(default)]
    pub follow: bool,
    /// What is taken from the permission bits of the files that the script makes; absent: 18, which is octal 022.
    #[schema(maximum = 511)]
    #[serde(default)]
    pub umask: Option<u32>,
    /// What must be installed first; absent: nothing but the interpreter.
    #[serde(default)]
    pub dependencies: Option<DependenciesBody>,
    /// True: an identical execution that has completed, and whose outputs are still here, is the answer; nothing runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reuse: bool,
    /// With `reuse` and `stdin`: hash of all that would be streamed.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin_sha256: Option<String>,
}

/// A list of exit codes: the derived schema knows of no byte.
fn exit_codes() -> utoipa::openapi::schema::ArrayBuilder {
    use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};
    ArrayBuilder::new()
        .items(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(255)))
        .description(Some("Exit codes after which it is tried again."))
}

pub(crate) fn parsed<T: std::str::FromStr>(field: &'static str, text: &str) -> Result<T, Refusal>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| Refusal { field, reason: error.to_string() })
}

fn parsed_all<T: std::str::FromStr>(field: &'static str, texts: &[String]) -> Result<Vec<T>, Refusal>
where
    T::Err: std::fmt::Display,
{
    texts.iter().map(|text| parsed(field, text)).collect()
}

impl TryFrom<&InputBody> for Input {
    type Error = Refusal;

    fn try_from(body: &InputBody) -> Result<Self, Refusal> {
        Ok(match body {
            InputBody::File { path, sha256, size_bytes, mode, modified_ns } => Self {
                path: parsed("inputs", path)?,
                kind: InputKind::File {
                    sha256: parsed("inputs", sha256)?,
                    size_bytes: *size_bytes,
                    mode: *mode,
                    modified_ns: *modified_ns,
                },
            },
            InputBody::Folder { path } => Self { path: parsed("inputs", path)?, kind: InputKind::Folder },
            InputBody::Symlink { path, target } => {
                Self { path: parsed("inputs", path)?, kind: InputKind::Symlink { target: target.clone() } }
            }
        })
    }
}

impl From<&Input> for InputBody {
    fn from(input: &Input) -> Self {
        let path = input.path.to_string();
        match &input.kind {
            InputKind::File { sha256, size_bytes, mode, modified_ns } => Self::File {
                path,
                sha256: sha256.to_string(),
                size_bytes: *size_bytes,
                mode: *mode,
                modified_ns: *modified_ns,
            },
            InputKind::Folder => Self::Folder { path },
            InputKind::Symlink { target } => Self::Symlink { path, target: target.clone() },
        }
    }
}

impl TryFrom<&ProgramBody> for Program {
    type Error = Refusal;

    fn try_from(body: &ProgramBody) -> Result<Self, Refusal> {
        Ok(match body {
            ProgramBody::Script { path, argv0 } => {
                Self::Script { path: parsed("program", path)?, argv0: argv0.clone() }
            }
            ProgramBody::Module { name } => Self::Module(name.clone()),
        })
    }
}

impl From<&Program> for ProgramBody {
    fn from(program: &Program) -> Self {
        match program {
            Program::Script { path, argv0 } => Self::Script { path: path.to_string(), argv0: argv0.clone() },
            Program::Module(name) => Self::Module { name: name.clone() },
        }
    }
}

impl CreateExecution {
    /// The door: after this nothing is unvalidated.
    pub fn parse(&self) -> Result<Submission, Refusal> {
        use rgrid_core::limits;
        Draft {
            name: self.name.clone(),
            program: (&self.program).try_into()?,
            args: self.args.clone(),
            cwd: parsed("cwd", &self.cwd)?,
            project_root: parsed("project_root", &self.project_root)?,
            inputs: self.inputs.iter().map(Input::try_from).collect::<Result<_, _>>()?,
            runtime: parsed("runtime", &self.runtime)?,
            interpreter: self.interpreter.as_deref().map(|path| parsed("interpreter", path)).transpose()?,
            interpreter_state: self
                .interpreter_state
                .as_deref()
                .map(|text| parsed("interpreter_state", text))
                .transpose()?,
            environment: self.environment.clone(),
            stdin: self.stdin,
            wanted: Wanted {
                cpu_millis: self.cpu_millis,
                memory_bytes: self.memory_bytes,
                disk_bytes: self.disk_bytes,
            },
            timeout: self.timeout_ms.map_or(limits::TIMEOUT, Duration::from_millis),
            grace: self.grace_ms.map_or(limits::GRACE, Duration::from_millis),
            retries: self.retries.unwrap_or(limits::RETRIES),
            retry_on: self.retry_on.clone(),
            network: self.network.unwrap_or(true),
            output_roots: parsed_all("output_roots", &self.output_roots)?,
            outputs: parsed_all("outputs", &self.outputs)?,
            priority: self.priority,
            metadata: self.metadata.clone(),
            umask: self.umask.unwrap_or(rgrid_core::submission::UMASK),
            dependencies: self.dependencies.as_ref().map(Dependencies::try_from).transpose()?,
        }
        .parse()
    }
}

/// The answer to `POST /executions`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Created {
    /// The execution as it stands.
    pub execution: Execution,
    /// What must be uploaded before it is queued.
    pub missing: Vec<Upload>,
    /// True when it is an earlier one with the same script, inputs and surroundings, whose outputs are taken: nothing
    /// runs. Only with `reuse`.
    #[serde(default)]
    pub reused: bool,
}

/// An execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Execution {
    /// `exec_...`
    pub id: String,
    /// The user's name for it.
    pub name: Option<String>,
    /// `pending`, `queued`, `running`, `completed`, `failed`, `timed_out` or `cancelled`.
    pub status: String,
    /// What it runs.
    pub program: ProgramBody,
    /// The script's arguments.
    pub args: Vec<String>,
    /// Where the user ran it.
    pub cwd: String,
    /// Where outputs are looked for.
    pub project_root: String,
    /// What it is run by.
    pub runtime: String,
    /// Names of the variables it was given; values are never shown.
    pub environment: Vec<String>,
    /// The user's labels.
    pub metadata: BTreeMap<String, String>,
    /// Higher goes first.
    pub priority: i16,
    /// The number of the newest attempt; 0 before the first.
    pub attempt: u32,
    /// Who runs, or ran, the newest attempt.
    pub worker: Option<String>,
    /// Exactly which container image the newest attempt runs in, or ran in; absent without one.
    #[serde(default)]
    pub image: Option<String>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When its newest attempt was claimed.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// How long it may run, extensions included.
    pub timeout_ms: u64,
    /// True once somebody asked to end it.
    pub cancel_requested: bool,
    /// Inputs that are not on the grid yet.
    pub inputs_missing: u64,
    /// How it ended.
    pub outcome: Option<OutcomeBody>,
    /// What `rgrid run` exits with.
    pub exit_code: Option<u8>,
    /// Files that came back.
    pub output_files: u64,
    /// Bytes that came back.
    pub output_bytes: u64,
    /// Files that it wrote where nothing is brought back from.
    pub not_brought_back: Vec<String>,
    /// Why it waits and what happens next, in one sentence; only while it waits.
    pub waiting: Option<String>,
}

/// One try at an execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// 1, 2, ...
    pub number: u32,
    /// Who ran it.
    pub worker: String,
    /// Who placed it: `pool` or `ray`.
    pub placed_by: String,
    /// When it was handed out.
    pub claimed_at: DateTime<Utc>,
    /// When the runner began with it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// `running`, `ended`, `lost` or `handed_back`.
    pub state: String,
    /// How it ended.
    pub outcome: Option<OutcomeBody>,
    /// Exactly which container image it runs in, or ran in; absent without one.
    #[serde(default)]
    pub image: Option<String>,
}

/// The answer to `GET /executions/{id}/attempts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttemptList {
    /// Oldest first.
    pub attempts: Vec<Attempt>,
}

/// One page of `GET /executions`, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExecutionPage {
    /// The page.
    pub executions: Vec<Execution>,
    /// Pass it as `cursor` to read on; absent on the last page.
    pub next: Option<String>,
}

/// The query of `GET /executions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListExecutions {
    /// Only these statuses, with commas between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Only those with this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only those with this label, as `key=value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// Where the page before ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Items, 1 to 1000; absent: 100.
    #[param(minimum = 1, maximum = 1000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// The body of `POST /executions/{id}/extend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Extend {
    /// Added to the time it may run.
    #[schema(minimum = 1, maximum = 2_592_000_000_u64)]
    pub by_ms: u64,
}
