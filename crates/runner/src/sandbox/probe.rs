//! Finds out what this machine can do, by doing it: a job is run. What fails becomes a sentence with the remedy.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::process::Sandbox;
use super::{JobExit, JobLimits, JobSpec, SandboxConfig, SandboxError};

/// What the trial job runs.
const TRIAL: &str = "/usr/bin/true";

impl Sandbox {
    /// Finds out what this machine can do, by doing it.
    pub(super) async fn probe(config: &SandboxConfig) -> Result<Self, SandboxError> {
        let bwrap = find_bwrap(config)?;
        let sandbox = Self::assemble(config, bwrap).await?;
        match try_out(&sandbox, config).await {
            Ok(()) => Ok(sandbox),
            Err(error) => {
                sandbox.close().await;
                Err(explain(error))
            }
        }
    }
}

fn find_bwrap(config: &SandboxConfig) -> Result<PathBuf, SandboxError> {
    if let Some(given) = &config.bwrap {
        return Ok(given.clone());
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    std::env::split_paths(&path).map(|folder| folder.join("bwrap")).find(|file| file.is_file()).ok_or_else(
        || SandboxError::Unavailable("bubblewrap is not installed; apt-get install bubblewrap".to_owned()),
    )
}

/// Runs a job that does nothing.
async fn try_out(sandbox: &Sandbox, config: &SandboxConfig) -> Result<(), SandboxError> {
    let root = config.data_folder.join("sandbox").join("trial");
    let prepare = || -> std::io::Result<(OwnedFd, OwnedFd, OwnedFd)> {
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        fs::create_dir_all(&root)?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        Ok((null.try_clone()?.into(), null.try_clone()?.into(), null.into()))
    };
    let (stdin, stdout, stderr) = prepare().map_err(SandboxError::system("prepare a trial"))?;
    let job = JobSpec {
        root: root.clone(),
        read_only_binds: Vec::new(),
        file_binds: Vec::new(),
        command: vec![TRIAL.into()],
        environment: Vec::new(),
        cwd: "/".into(),
        umask: 0o022,
        limits: JobLimits { cpu_millis: 1000, memory_bytes: 256 << 20, disk_bytes: 1 << 20, processes: 16 },
        network: false,
        slot: 0,
        image: None,
        name: String::new(),
        labels: Vec::new(),
        stdin,
        stdout,
        stderr,
    };
    let end = sandbox.start(job).await?.wait().await;
    fs::remove_dir_all(&root).map_err(SandboxError::system("remove the trial"))?;
    match end.exit {
        JobExit::Exited(0) => Ok(()),
        JobExit::Exited(_) | JobExit::Signalled(_) => {
            Err(SandboxError::Broken(format!("{TRIAL} inside ended with {:?}", end.exit)))
        }
    }
}

/// Files of the kernel that can forbid user namespaces, what they then say, and the remedy.
const SWITCHES: &[(&str, &str, &str)] = &[
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    ("/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=10000"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
];

/// Adds the remedy to what bubblewrap said.
fn explain(error: SandboxError) -> SandboxError {
    let SandboxError::Broken(said) = &error else { return error };
    let remedy = SWITCHES.iter().find_map(|(file, forbidding, remedy)| {
        let now = fs::read_to_string(file).ok()?;
        (now.trim() == *forbidding)
            .then(|| format!("this machine forbids user namespaces; as root: {remedy}"))
    });
    let container = Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists();
    let remedy = remedy.or_else(|| {
        let forbidden = said.contains("Operation not permitted") || said.contains("Permission denied");
        (forbidden && container).then(|| {
            "this container may make no namespaces; start it with --cap-add SYS_ADMIN --security-opt seccomp=unconfined \
             --security-opt apparmor=unconfined"
                .to_owned()
        })
    });
    match remedy {
        Some(remedy) => {
            SandboxError::Unavailable(format!("bubblewrap cannot isolate jobs here ({said}): {remedy}"))
        }
        None => error,
    }
}
