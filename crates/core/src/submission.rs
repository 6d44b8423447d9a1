//! What a user asks for, parsed: after [`Draft::parse`] nothing about an execution is unvalidated.

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::time::Duration;

use crate::dependencies::Dependencies;
use crate::limits;
use crate::path::{AbsolutePath, PATH_BYTES_MAX};
use crate::runtime::Runtime;

/// The SHA-256 of a blob.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 is 64 lower-case hexadecimal digits")]
pub struct ParseSha256Error;

impl std::fmt::Display for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Sha256 {
    type Err = ParseSha256Error;

    fn from_str(text: &str) -> Result<Self, ParseSha256Error> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(ParseSha256Error);
        }
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(ParseSha256Error),
        };
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

/// What the interpreter is told to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// A script file.
    Script {
        /// Where it lies; it is among the inputs.
        path: AbsolutePath,
        /// How the user spelled it: the script sees it as `sys.argv[0]`. Absent: as `path`.
        argv0: Option<String>,
    },
    /// A module, as `python -m` takes it.
    Module(String),
}

/// Something that is put in the workspace before the script starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Where it lies on the user's machine, and in the sandbox.
    pub path: AbsolutePath,
    /// What it is.
    pub kind: InputKind,
}

/// What an input is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputKind {
    /// A regular file.
    File {
        /// Hash of its bytes.
        sha256: Sha256,
        /// Its size.
        size_bytes: u64,
        /// Its permission bits (`0o777` at most).
        mode: u32,
        /// When it was last changed, in nanoseconds of Unix time.
        modified_ns: i64,
    },
    /// A folder that would else not be there.
    Folder,
    /// A symbolic link that points at another input.
    Symlink {
        /// What it says.
        target: String,
    },
}

/// What an execution asks of a worker; `None` means the worker's share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Thousandths of a core.
    pub cpu_millis: Option<u32>,
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// Bytes of disk.
    pub disk_bytes: Option<u64>,
}

/// A submission before it is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// A name for people.
    pub name: Option<String>,
    /// What to run.
    pub program: Program,
    /// The script's own arguments, unchanged.
    pub args: Vec<String>,
    /// The user's working directory, which is also the script's.
    pub cwd: AbsolutePath,
    /// The folder below which outputs are looked for.
    pub project_root: AbsolutePath,
    /// Everything that travels.
    pub inputs: Vec<Input>,
    /// What it asks to be run by.
    pub runtime: Runtime,
    /// The user's own interpreter: used when the worker is the user's machine (the embedded grid), else ignored.
    pub interpreter: Option<AbsolutePath>,
    /// Hash of what that interpreter is, with the packages that it sees: another one after each change of them. It only
    /// decides whether two submissions are the same.
    pub interpreter_state: Option<Sha256>,
    /// Variables that the script sees. The values are secrets.
    pub environment: BTreeMap<String, String>,
    /// True when stdin will be streamed.
    pub stdin: bool,
    /// What it asks of a worker.
    pub wanted: Wanted,
    /// How long it may run.
    pub timeout: Duration,
    /// From SIGINT to SIGKILL when it is ended.
    pub grace: Duration,
    /// Lost attempts it survives.
    pub retries: u32,
    /// Exit codes after which it is tried again.
    pub retry_on: Vec<u8>,
    /// False cuts it off from every network.
    pub network: bool,
    /// Folders below which written files come back: the project root and folders named by arguments.
    pub output_roots: Vec<AbsolutePath>,
    /// Further files or folders that come back.
    pub outputs: Vec<AbsolutePath>,
    /// Higher goes first within an account; -100 to 100.
    pub priority: i16,
    /// The user's own labels.
    pub metadata: BTreeMap<String, String>,
    /// What is taken from the permission bits of the files that the script makes (`0o777` at most): the user's own.
    pub umask: u32,
    /// What must be installed first.
    pub dependencies: Option<Dependencies>,
}

/// The umask of who does not say: what shells have by default.
pub const UMASK: u32 = 0o022;

/// A checked submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission(Draft);

impl Deref for Submission {
    type Target = Draft;

    fn deref(&self) -> &Draft {
        &self.0
    }
}

/// Why a submission was refused: which field, and what about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Refusal {
    /// The field's name on the wire.
    pub field: &'static str,
    /// A fragment that ends the sentence.
    pub reason: String,
}

fn refuse<T>(field: &'static str, reason: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { field, reason: reason.into() })
}

fn no_nul(field: &'static str, text: &str) -> Result<(), Refusal> {
    if text.contains('\0') { refuse(field, "holds a NUL byte") } else { Ok(()) }
}

fn at_most(field: &'static str, what: &str, amount: usize, limit: usize) -> Result<(), Refusal> {
    if amount > limit {
        refuse(field, format!("{amount} {what}, and at most {limit} are allowed"))
    } else {
        Ok(())
    }
}

impl Draft {
    /// Checks everything that can be known without the grid's state.
    pub fn parse(self) -> Result<Submission, Refusal> {
        self.check_texts()?;
        self.check_inputs()?;
        self.check_bounds()?;
        self.dependencies.as_ref().map_or(Ok(()), |wanted| wanted.check(&self.inputs))?;
        Ok(Submission(self))
    }

    fn check_texts(&self) -> Result<(), Refusal> {
        if let Some(name) = &self.name {
            at_most("name", "bytes", name.len(), limits::METADATA_BYTES_MAX)?;
            no_nul("name", name)?;
        }
        match &self.program {
            Program::Script { argv0: Some(spelling), .. } => {
                no_nul("program", spelling)?;
                at_most("program", "bytes", spelling.len(), PATH_BYTES_MAX)?;
                // Python would read it as one of its own options.
                if spelling.is_empty() || spelling.starts_with('-') {
                    return refuse("program", format!("{spelling:?} cannot name a script"));
                }
            }
            Program::Script { argv0: None, .. } => {}
            Program::Module(module) => {
                let is_name =
                    |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
                if !module.split('.').all(is_name) {
                    return refuse("program", format!("{module:?} is not the name of a module"));
                }
            }
        }
        at_most("args", "arguments", self.args.len(), limits::ARGUMENTS_MAX)?;
        at_most("args", "bytes", self.args.iter().map(String::len).sum(), limits::ARGUMENT_BYTES_MAX)?;
        self.args.iter().try_for_each(|arg| no_nul("args", arg))?;
        at_most("environment", "variables", self.environment.len(), limits::VARIABLES_MAX)?;
        for (name, value) in &self.environment {
            if name.is_empty() || name.contains(['=', '\0']) {
                return refuse("environment", format!("{name:?} cannot name a variable"));
            }
            no_nul("environment", value)?;
            at_most(
                "environment",
                "bytes in one variable",
                name.len() + value.len(),
                limits::VARIABLE_BYTES_MAX,
            )?;
        }
        at_most("metadata", "entries", self.metadata.len(), limits::METADATA_MAX)?;
        for (key, value) in &self.metadata {
            no_nul("metadata", key)?;
            no_nul("metadata", value)?;
            at_most(
                "metadata",
                "bytes in one entry",
                key.len().max(value.len()),
                limits::METADATA_BYTES_MAX,
            )?;
        }
        Ok(())
    }

    fn check_inputs(&self) -> Result<(), Refusal> {
        at_most("inputs", "inputs", self.inputs.len(), limits::MANIFEST_FILES_MAX)?;
        let mut folders_by_path = HashMap::with_capacity(self.inputs.len());
        for input in &self.inputs {
            if input.path.as_str() == "/" {
                return refuse("inputs", "the path `/` cannot be an input");
            }
            let is_folder = matches!(input.kind, InputKind::Folder);
            if folders_by_path.insert(input.path.as_str(), is_folder).is_some() {
                return refuse("inputs", format!("path {:?} stands there twice", input.path));
            }
            match &input.kind {
                InputKind::File { size_bytes, mode, .. } => {
                    if *size_bytes > limits::BLOB_BYTES_MAX {
                        return refuse(
                            "inputs",
                            format!("{:?} is larger than {} bytes", input.path, limits::BLOB_BYTES_MAX),
                        );
                    }
                    if *mode > 0o777 {
                        return refuse("inputs", format!("{:?} has a mode above 0777", input.path));
                    }
                }
                InputKind::Folder => {}
                InputKind::Symlink { target } => {
                    no_nul("inputs", target)?;
                    if target.is_empty() {
                        return refuse("inputs", format!("the link {:?} has no target", input.path));
                    }
                }
            }
        }
        // A file or a link cannot also be a folder that holds another input.
        for input in &self.inputs {
            let mut above = input.path.parent();
            while let Some(folder) = above {
                if folders_by_path.get(folder.as_str()) == Some(&false) {
                    return refuse(
                        "inputs",
                        format!("{folder:?} is a file and cannot hold {:?}", input.path),
                    );
                }
                above = folder.parent();
            }
        }
        if let Program::Script { path, .. } = &self.program
            && !folders_by_path.contains_key(path.as_str())
        {
            return refuse("program", format!("the script {path:?} is not among the inputs"));
        }
        Ok(())
    }

    fn check_bounds(&self) -> Result<(), Refusal> {
        if self.timeout.is_zero() || self.timeout > limits::TIMEOUT_MAX {
            return refuse("timeout_ms", "must be above 0 and at most 30 days");
        }
        if self.grace > limits::GRACE_MAX {
            return refuse("grace_ms", "must be at most 10 minutes");
        }
        if self.retries > limits::RETRIES_MAX {
            return refuse("retries", format!("must be at most {}", limits::RETRIES_MAX));
        }
        if self.umask > 0o777 {
            return refuse("umask", "must be at most 0777");
        }
        if !(-100..=100).contains(&self.priority) {
            return refuse("priority", "must be between -100 and 100");
        }
        if self.wanted.cpu_millis.is_some_and(|cpu| cpu == 0 || cpu > 1_000_000) {
            return refuse("cpu_millis", "must be between 1 and 1000000");
        }
        let bytes_ok = |bytes: Option<u64>| bytes.is_none_or(|b| b > 0 && b <= 1 << 50);
        if !bytes_ok(self.wanted.memory_bytes) {
            return refuse("memory_bytes", "must be between 1 and 2^50");
        }
        if !bytes_ok(self.wanted.disk_bytes) {
            return refuse("disk_bytes", "must be between 1 and 2^50");
        }
        at_most(
            "outputs",
            "paths",
            self.outputs.len() + self.output_roots.len(),
            limits::PAGE_ITEMS_MAX as usize,
        )
    }
}
