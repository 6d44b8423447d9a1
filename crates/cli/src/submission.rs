//! From a command line and what was found to an execution on the grid.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rgrid_api::client::ClientError;
use rgrid_api::dependencies::{DependenciesBody, LocalPackageBody};
use rgrid_api::executions::{CreateExecution, Created, InputBody, ProgramBody};
use rgrid_core::runtime::{DEFAULT_PYTHON, Python, Runtime, SandboxKind};
use rgrid_core::submission::{Input, InputKind, Program, Sha256};
use sha2::Digest as _;

use crate::args::RunArgs;
use crate::dependencies::{self, DependencyError, Found, Lock, Wanted};
use crate::discovery::interpreter::{self, Interpreter};
use crate::discovery::{self, Discovery, Reason, Target};
use crate::environment;
use crate::errors::{Doing, Error, is_vouched_for_by_nobody};
use crate::grid::EmbeddedGrid;
use crate::patience::{Again, CALL_PATIENCE, Patience};
use crate::pins;
use crate::progress::Progress;
use crate::project::{self, Defaults};
use crate::session::{Connection, Session};
use crate::stdin::Spooled;
use crate::terminal::Terminal;
use crate::upload;

/// The grid takes no longer name of who declares packages.
const SOURCE_CHARS_MAX: usize = 60;

/// All that is known before a grid is asked.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub discovery: Discovery,
    pub interpreter: Option<Interpreter>,
    pub body: CreateExecution,
    /// The packages that must be installed.
    pub lock: Option<Lock>,
    /// The lock's hash, and where its bytes lie: not where it will lie in the workspace.
    pub lock_file: Option<(String, upload::Local)>,
    /// Standard input, when it had to be read first.
    pub spooled: Option<Spooled>,
}

/// The program and its own arguments, as typed.
fn program(args: &RunArgs) -> (Target, Vec<String>) {
    match args.module.split_first() {
        // `-mNAME` leaves the arguments to the positional ones.
        Some((module, rest)) => {
            (Target::Module(module.clone()), rest.iter().chain(&args.script).cloned().collect())
        }
        None => {
            let (script, rest) = args.script.split_first().expect("the parser asks for a script or a module");
            (Target::Script(PathBuf::from(script)), rest.to_vec())
        }
    }
}

/// Where hashes and interpreters are remembered.
fn cache_folder() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| home.is_absolute()).map(|home| home.join(".rgrid/cache"))
}

/// Finds what must travel and writes the submission: for this machine's own grid, which isolates by `here`, or for another.
/// What was `read` of standard input is not read again.
pub(crate) async fn prepare<G: EmbeddedGrid>(
    args: &RunArgs,
    session: &Session<'_, G>,
    here: Option<SandboxKind>,
    stdin: bool,
    read: Option<Spooled>,
) -> Result<Prepared, Error> {
    let cwd = working_folder()?;
    let (target, script_args) = program(args);
    let near = match &target {
        Target::Script(script) => cwd.join(script).parent().map_or_else(|| cwd.clone(), Path::to_owned),
        Target::Module(_) => cwd.clone(),
    };
    let defaults = project::defaults(&near)?;
    let paths = |own: &[String], more: &[String]| own.iter().chain(more).map(PathBuf::from).collect();
    let request = discovery::Request {
        program: target.clone(),
        args: script_args.iter().map(Into::into).collect(),
        cwd: cwd.clone(),
        inputs: paths(&args.input, &defaults.input),
        no_inputs: paths(&args.no_input, &defaults.no_input),
        includes: args.include.iter().chain(&defaults.include).cloned().collect(),
        outputs: paths(&args.output, &defaults.output),
        home: std::env::home_dir(),
        cache_folder: cache_folder(),
    };
    let mut discovery = discovery::discover(&request).map_err(Error::Discovery)?;
    add_working_folder(&mut discovery);
    let place = interpreter::Place {
        script_folder: Path::new(discovery.first_on_path.as_str()),
        root: Path::new(discovery.project_root.as_str()),
        cwd: &cwd,
        cache_folder: request.cache_folder.as_deref(),
    };
    // Without one here the worker's serves: this is no reason to refuse.
    let interpreter = interpreter::find(place, &interpreter::Variables::of_process()).ok();
    let python = python(args, &defaults, &discovery, interpreter.as_ref(), here)?;
    let requirements: Vec<PathBuf> = args.requirements.iter().map(|file| cwd.join(file)).collect();
    let embedded = here.is_some();
    let found = dependencies::find(&dependencies::Request {
        place: pin_place(&discovery),
        discovery: &discovery,
        interpreter: interpreter.as_ref(),
        minor: python.minor,
        embedded,
        in_place: embedded && python.own.is_some(),
        requirements: &requirements,
        cache_folder: request.cache_folder.as_deref(),
        upgrade: args.upgrade,
    })
    .map_err(Error::Dependencies)?;
    let lock = match found {
        Found::Nothing => None,
        Found::InPlace { travels } => {
            if !travels.is_empty() {
                discovery::add_packages(&mut discovery, &request, &travels).map_err(Error::Discovery)?;
            }
            None
        }
        Found::Wanted(wanted) => Some(locked(&wanted, session).await?),
    };
    let lock_file = match &lock {
        Some(lock) => Some(add_lock(lock, &mut discovery, &request)?),
        None => None,
    };
    let mut body = body(args, &defaults, &discovery, &python, session.terminal, stdin)?;
    body.dependencies = lock.as_ref().map(dependencies_body);
    // Elsewhere the worker's own Python serves, and says what it is.
    let own = python.own.filter(|_| embedded);
    body.interpreter_state = own.map(|own| dependencies::state_of(own, lock.is_none()).to_string());
    body.reuse = (args.reuse || defaults.reuse) && !args.no_cache;
    let spooled = match (read, body.reuse && stdin && !args.dry_run) {
        (None, true) => Some(Spooled::read().await?),
        (read, _) => read,
    };
    body.stdin_sha256 = spooled.as_ref().and_then(|spooled| spooled.sha256.clone());
    // What the grid would refuse is refused here, before a grid is started for it.
    body.parse().map_err(|refusal| Error::Submission { refusal })?;
    Ok(Prepared { discovery, interpreter, body, lock, lock_file, spooled })
}

/// The lock of what is wanted: the remembered one, else a new one, else, when no index answers, the remembered one
/// however old it is.
async fn locked<G: EmbeddedGrid>(wanted: &Wanted, session: &Session<'_, G>) -> Result<Lock, Error> {
    if let Some(lock) = wanted.kept() {
        return Ok(lock);
    }
    let uv = session.uv().await?;
    let progress = Progress::new(session.terminal, session.notes);
    progress.wait(&format!("locks the packages from {}", wanted.source()));
    let result = wanted.lock(&uv).await;
    progress.clear();
    match result {
        Err(error @ DependencyError::Unreachable { .. }) => match wanted.outdated() {
            Some(mut lock) => {
                lock.warnings
                    .push("the index does not answer: the versions locked before are taken".to_owned());
                Ok(lock)
            }
            None => Err(Error::Dependencies(error)),
        },
        other => other.map_err(Error::Dependencies),
    }
}

/// Puts the lock, and what it installs from this machine, among what travels.
fn add_lock(
    lock: &Lock,
    discovery: &mut Discovery,
    request: &discovery::Request,
) -> Result<(String, upload::Local), Error> {
    let travels: Vec<PathBuf> = lock.local.iter().flat_map(|package| package.travels.clone()).collect();
    if !travels.is_empty() {
        discovery::add_packages(discovery, request, &travels).map_err(Error::Discovery)?;
    }
    let sha256 = Sha256(sha2::Sha256::digest(&lock.text).into());
    let name = sha256.to_string();
    let path = dependencies::write_lock(&lock.text, &name, request.cache_folder.as_deref())
        .map_err(Error::Dependencies)?;
    let size_bytes = lock.text.len() as u64;
    let kind = InputKind::File { sha256, size_bytes, mode: 0o644, modified_ns: 0 };
    let input = Input { path: dependencies::lock_path(), kind };
    discovery.inputs.push(discovery::Found { input, reason: Reason::Package, size_bytes });
    discovery.inputs.sort_by(|a, b| a.input.path.cmp(&b.input.path));
    let metadata = std::fs::metadata(&path).map_err(|source| Error::File {
        doing: Doing::Read,
        path: path.clone(),
        source,
    })?;
    let local = upload::Local { path, size_bytes, modified_ns: upload::modified_ns(&metadata) };
    Ok((name, local))
}

fn dependencies_body(lock: &Lock) -> DependenciesBody {
    let local = |package: &dependencies::LocalPackage| LocalPackageBody {
        path: package.path.to_string_lossy().into_owned(),
        editable: package.editable,
    };
    DependenciesBody {
        source: lock.source.chars().take(SOURCE_CHARS_MAX).collect(),
        lock: dependencies::lock_path().to_string(),
        local: lock.local.iter().map(local).collect(),
        credentials: lock.credentials.clone(),
    }
}

/// The Python that runs the script.
struct Runs<'a> {
    runtime: Runtime,
    /// Of 3.`minor`; an image's that its name does not tell is taken to be the one that the person has.
    minor: u8,
    /// The person's own, when it serves.
    own: Option<&'a Interpreter>,
}

fn python<'a>(
    args: &RunArgs,
    defaults: &Defaults,
    discovery: &Discovery,
    interpreter: Option<&'a Interpreter>,
    here: Option<SandboxKind>,
) -> Result<Runs<'a>, Error> {
    let own_runtime = interpreter.and_then(Interpreter::runtime);
    let (named, image) = match (&args.runtime, &args.image) {
        (Some(Runtime::Image(image)), _) | (None, Some(image)) => (Python::of_image(image), Some(image)),
        (Some(Runtime::Python(python)), image) => (Some(*python), image.as_ref()),
        (None, None) => (None, None),
    };
    let wanted_runtime = match named.or(defaults.runtime) {
        Some(named) => Some(named),
        None => pins::runtime(pin_place(discovery), own_runtime)?,
    };
    let python = wanted_runtime.or(own_runtime).unwrap_or(DEFAULT_PYTHON);
    let runtime = match (image, here) {
        (Some(name), _) => Runtime::Image(name.clone()),
        (None, Some(SandboxKind::Docker)) => Runtime::Image(python.own_image()),
        // Another grid knows itself what it runs that in.
        (None, Some(SandboxKind::Process) | None) => Runtime::Python(python),
    };
    // The person's own Python serves unless another version was asked for, or an image's.
    let own = interpreter.filter(|_| wanted_runtime.is_none() || wanted_runtime == own_runtime);
    let own = own.filter(|_| matches!(runtime, Runtime::Python(_)));
    Ok(Runs { runtime, minor: python.minor(), own })
}

/// A script that is run from another folder writes into that one, by relative paths: what it writes there comes back
/// too. Never `/` as a whole.
fn add_working_folder(discovery: &mut Discovery) {
    let cwd = &discovery.cwd;
    if cwd.as_str() != "/" && !discovery.output_roots.iter().any(|root| cwd.is_within(root)) {
        discovery.output_roots.push(cwd.clone());
    }
}

/// The working directory, spelled as the shell spells it where that is the same folder: `getcwd` resolves links, and
/// so does Python's.
fn working_folder() -> Result<PathBuf, Error> {
    std::env::current_dir().map_err(|source| Error::File {
        doing: Doing::Read,
        path: PathBuf::from("."),
        source,
    })
}

fn body(
    args: &RunArgs,
    defaults: &Defaults,
    discovery: &Discovery,
    python: &Runs<'_>,
    terminal: Terminal,
    stdin: bool,
) -> Result<CreateExecution, Error> {
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Ok(CreateExecution {
        name: args.name.clone(),
        program: ProgramBody::from(&discovery.program),
        args: discovery.args.clone(),
        cwd: discovery.cwd.to_string(),
        project_root: discovery.project_root.to_string(),
        inputs: discovery.inputs.iter().map(|found| InputBody::from(&found.input)).collect(),
        runtime: python.runtime.to_string(),
        interpreter: python.own.and_then(|found| found.path.to_str().map(str::to_owned)),
        environment: environment::collect(
            &args.env,
            &args.env_file,
            &environment::own(),
            terminal,
            environment::zone(),
        )?,
        stdin,
        cpu_millis: args.cpu.or(defaults.cpu_millis),
        memory_bytes: args.memory.or(defaults.memory_bytes),
        disk_bytes: args.disk.or(defaults.disk_bytes),
        timeout_ms: args.timeout.or(defaults.timeout).map(millis),
        grace_ms: None,
        retries: args.retries.or(defaults.retries),
        retry_on: args.retry_on.clone(),
        network: if args.no_network { Some(false) } else { defaults.network },
        output_roots: discovery.output_roots.iter().map(ToString::to_string).collect(),
        outputs: discovery.outputs.iter().map(ToString::to_string).collect(),
        priority: args.priority.unwrap_or_default(),
        metadata: metadata(&args.metadata)?,
        follow: !args.detach,
        umask: environment::umask(),
        dependencies: None,
        interpreter_state: None,
        reuse: false,
        stdin_sha256: None,
    })
}

fn pin_place(discovery: &Discovery) -> pins::Place<'_> {
    pins::Place {
        script: match &discovery.program {
            Program::Script { path, .. } => Some(Path::new(path.as_str())),
            Program::Module(_) => None,
        },
        folder: Path::new(discovery.first_on_path.as_str()),
        root: Path::new(discovery.project_root.as_str()),
    }
}

fn metadata(labels: &[String]) -> Result<BTreeMap<String, String>, Error> {
    labels
        .iter()
        .map(|label| match label.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            Some(_) | None => Err(Error::Option {
                option: "--metadata",
                problem: format!("{label:?} is not of the form NAME=VALUE"),
            }),
        })
        .collect()
}

/// A fresh idempotency key: 128 random bits.
pub(crate) fn idempotency_key() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Error::File {
        doing: Doing::Read,
        path: "the system's random numbers".into(),
        source: std::io::Error::other(error.to_string()),
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Hands the submission over. The key makes it safe to repeat when an answer is lost.
pub(crate) async fn submit<G: EmbeddedGrid>(
    session: &Session<'_, G>,
    connection: &Connection,
    body: &CreateExecution,
) -> Result<Created, Error> {
    let key = idempotency_key()?;
    let mut patience = Patience::new(CALL_PATIENCE);
    loop {
        let error = match connection.client().create_execution(body, &key).await {
            Ok(created) => return Ok(created),
            Err(error) => error,
        };
        // An address that is not to be trusted is mostly one that was never used before.
        if !error.is_passing() || is_vouched_for_by_nobody(&error) {
            return Err(connection.failed(error));
        }
        match patience.failed().await {
            Again::GiveUp => return Err(connection.failed(error)),
            Again::Try { tell: true } => session.notes.say("the grid does not answer; trying again"),
            Again::Try { tell: false } => {}
        }
        if matches!(error, ClientError::Unreachable { .. }) {
            session.renew(connection).await?;
        }
    }
}
