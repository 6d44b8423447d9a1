//! What is run, and what it sees: the interpreter's command line, its environment, and what is bound into the
//! workspace.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use rgrid_api::executions::{InputBody, ProgramBody};
use rgrid_api::workers::Lease;

use crate::held::Control;
use crate::interpreter::Interpreter;
use crate::outputs::output_roots;
use crate::sandbox::JobSpec;
use crate::system::{is_system, rebinds};
use crate::workspace::{HOME, Workspace};

/// Where programs are looked for, after the interpreter's own folder.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// The locale of a script whose user has none.
const LANG: &str = "C.UTF-8";

/// What is bound into the workspace.
pub(crate) struct Plan {
    read_only_binds: Vec<(PathBuf, PathBuf)>,
    file_binds: Vec<(PathBuf, PathBuf, bool)>,
}

/// Finds what must be bound, and makes the mount points and the folders that the script expects.
pub(crate) fn plan(
    lease: &Lease,
    interpreter: &Interpreter,
    workspace: &mut Workspace,
) -> std::io::Result<Plan> {
    let roots = output_roots(lease);
    let sent: Vec<&Path> = lease
        .inputs
        .iter()
        .map(|input| match input {
            InputBody::File { path, .. } | InputBody::Folder { path } | InputBody::Symlink { path, .. } => {
                Path::new(path)
            }
        })
        .collect();
    let mut read_only_binds = Vec::new();
    for (host, inside) in &interpreter.needs {
        if roots.iter().any(|root| root == inside) {
            // The project is the prefix itself: only the interpreter's own parts of it may be covered.
            for part in ["bin", "include", "lib", "lib64", "pyvenv.cfg"] {
                if host.join(part).exists() {
                    read_only_binds.push((host.join(part), inside.join(part)));
                }
            }
        } else {
            read_only_binds.push((host.clone(), inside.clone()));
        }
    }
    // What was sent goes before what merely lies on the search path: an editable install of the project itself.
    let touches = |folder: &Path| {
        let near = |path: &Path| path.starts_with(folder) || folder.starts_with(path);
        roots.iter().any(|root| near(root)) || sent.iter().any(|path| near(path))
    };
    read_only_binds.extend(
        interpreter.packages.iter().filter(|folder| !touches(folder)).map(|p| (p.clone(), p.clone())),
    );

    let hidden =
        |path: &Path| is_system(path) || read_only_binds.iter().any(|(_, inside)| path.starts_with(inside));
    let over = rebinds(sent.iter().copied(), &roots, hidden);
    for folder in roots.iter().map(PathBuf::as_path).chain([Path::new(&lease.cwd)]) {
        if !hidden(folder) || over.iter().any(|bound| folder.starts_with(bound)) {
            workspace.make_folder(folder)?;
        }
    }
    for output in &lease.outputs {
        if let Some(above) = Path::new(output).parent().filter(|above| !hidden(above)) {
            workspace.make_folder(above)?;
        }
    }
    for (host, inside) in read_only_binds.iter().filter(|(_, inside)| !is_system(inside)) {
        workspace.make_mount_point(host, inside)?;
    }
    let file_binds = over.into_iter().map(|path| (workspace.host(&path), path, true)).collect();
    Ok(Plan { read_only_binds, file_binds })
}

/// Our ends and the job's ends of its three streams.
pub(crate) struct Pipes {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdin_write: Option<OwnedFd>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stdout_read: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) stderr_read: OwnedFd,
}

impl Pipes {
    /// Makes them; without a stream to feed, standard input is at its end from the start.
    pub(crate) fn new(fed: bool) -> std::io::Result<Self> {
        let pipe = || nix::unistd::pipe2(OFlag::O_CLOEXEC);
        let (stdin, stdin_write) = if fed {
            let (read, write) = pipe()?;
            (read, Some(write))
        } else {
            (std::fs::File::open("/dev/null")?.into(), None)
        };
        let (stdout_read, stdout) = pipe()?;
        let (stderr_read, stderr) = pipe()?;
        Ok(Self { stdin, stdin_write, stdout, stdout_read, stderr, stderr_read })
    }
}

/// Puts the job together.
#[expect(clippy::too_many_arguments, reason = "each is one thing that a job is made of")]
pub(crate) fn job(
    lease: &Lease,
    interpreter: &Interpreter,
    plan: Plan,
    workspace: &Workspace,
    control: &Control,
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
) -> JobSpec {
    JobSpec {
        root: workspace.root.clone(),
        read_only_binds: plan.read_only_binds,
        file_binds: plan.file_binds,
        command: command(lease, interpreter),
        environment: environment(lease, interpreter, control.limits.cpu_millis),
        cwd: PathBuf::from(&lease.cwd),
        umask: lease.umask,
        limits: control.limits,
        network: lease.network,
        slot: control.slot,
        image: None,
        name: format!("rgrid-{}-{}", lease.execution_id, lease.attempt),
        labels: Vec::new(),
        stdin,
        stdout,
        stderr,
    }
}

/// As the user would type it: `sys.argv`, `__file__` and `sys.path[0]` follow from the spelling.
fn command(lease: &Lease, interpreter: &Interpreter) -> Vec<OsString> {
    let mut command = vec![interpreter.executable.clone().into_os_string()];
    match &lease.program {
        ProgramBody::Script { path, argv0 } => command.push(argv0.as_ref().unwrap_or(path).into()),
        ProgramBody::Module { name } => command.extend(["-m".into(), name.into()]),
    }
    command.extend(lease.args.iter().map(OsString::from));
    command
}

fn environment(lease: &Lease, interpreter: &Interpreter, cpu_millis: u32) -> Vec<(OsString, OsString)> {
    let cpus = cpu_millis.div_ceil(1000).max(1).to_string();
    let mut path = OsString::new();
    if let Some(bin) = interpreter.executable.parent() {
        path.push(bin);
        path.push(":");
    }
    path.push(PATH);
    let mut variables: Vec<(OsString, OsString)> = vec![
        ("HOME".into(), HOME.into()),
        ("LANG".into(), LANG.into()),
        ("OMP_NUM_THREADS".into(), cpus.clone().into()),
        ("PATH".into(), path),
        ("PYTHONUNBUFFERED".into(), "1".into()),
        ("PYTHON_CPU_COUNT".into(), cpus.into()),
    ];
    if let Some(base) = &interpreter.user_base {
        variables.push(("PYTHONUSERBASE".into(), base.into()));
    }
    // The user's word goes before ours.
    variables.retain(|(name, _)| !lease.environment.keys().any(|key| name == key.as_str()));
    variables.extend(lease.environment.iter().map(|(name, value)| (name.into(), value.into())));
    variables
}
