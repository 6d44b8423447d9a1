//! Builds an environment: uv installs a lock, inside a sandbox of its own that sees the lock and the account's own
//! packages, and nothing of the job. What a source package does while it is built, it does there.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::unistd::{Gid, Uid};
use rgrid_api::dependencies::DependenciesBody;
use rgrid_api::executions::InputBody;
use rgrid_api::workers::Lease;
use rgrid_core::dependencies::{ENVIRONMENT_PATH, LOCK_PATH};
use rgrid_core::limits::{BUILD_MESSAGE_BYTES_MAX, ENVIRONMENT_BUILD};
use rgrid_core::submission::Sha256;
use tokio::sync::watch;

use super::reach::Reach;
use super::uv::NoUv;
use super::way::{self, Way};
use super::{BUILDING, CACHE, Environments, PYTHON, key};
use crate::blob_cache::BlobCache;
use crate::interpreter::Interpreter;
use crate::sandbox::{JobEnd, JobExit, JobLimits, JobSpec, Place, Sandbox, SandboxError};
use crate::workspace::{HOME, Workspace};

/// Where uv, its cache and what it may know of indexes lie inside.
const UV: &str = "/rgrid/bin/uv";
const CACHE_INSIDE: &str = "/rgrid/cache";
const NETRC: &str = "/rgrid/netrc";
/// Downloads and builds need processes of their own, however few the job gets.
const PROCESSES_MIN: u32 = 256;
/// What is run by the interpreter, for an image need not have a shell.
const SCRIPT: &str = include_str!("build.py");
/// Where the worker's certificates lie in an image, which may have none.
const CERTIFICATES: &str = "/rgrid/certificates.pem";
/// Where they lie on the worker: one file with all of them.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Beside an environment: the end of what uv said when it was built.
const LOG: &str = "log";
/// Of a longer line only the start is told.
const LINE_BYTES_MAX: usize = 200;
/// Characters of an image's id that tell its cache from another's.
const CACHE_CHARS: usize = 16;
/// The folder of the way out, and of all else that a build is given.
const FOLDER: &str = "/rgrid";

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// The packages cannot be installed: what uv said, for the person.
    #[error("{0}")]
    Failed(String),
    /// This worker has no uv.
    #[error(transparent)]
    NoUv(#[from] NoUv),
    /// The sandbox could not be had.
    #[error("the packages cannot be installed")]
    Sandbox(#[from] SandboxError),
    /// This worker's disk fails.
    #[error("the environment cannot be written")]
    Disk(#[from] std::io::Error),
}

/// What a build works with.
pub(crate) struct Builder<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) cache: &'a BlobCache,
    pub(crate) lease: &'a Arc<Lease>,
    pub(crate) wanted: &'a DependenciesBody,
    pub(crate) interpreter: &'a Interpreter,
    pub(crate) limits: JobLimits,
    pub(crate) slot: u32,
    /// What its container says.
    pub(crate) labels: Vec<(String, String)>,
    /// Hears the newest line that uv said.
    pub(crate) lines: watch::Sender<String>,
}

/// A workspace that goes with whoever builds in it, also when that is given up.
struct Building(Option<Workspace>);

impl Drop for Building {
    fn drop(&mut self) {
        if let Some(workspace) = self.0.take() {
            // What is left of a process may still write; what cannot be removed now goes when the runner starts again.
            std::thread::spawn(move || workspace.remove());
        }
    }
}

impl Environments {
    /// Builds the environment of `key` and keeps it.
    pub(crate) async fn build(&self, builder: Builder<'_>, key: Sha256) -> Result<(), BuildError> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let account_folder = self.of_account(&builder.lease.account_id)?;
        let (uv, _) = self.uv.program().await?;
        let owner = builder.sandbox.job_uid(builder.slot);
        let installed_before = builder.installed_before();
        let name = format!("{BUILDING}{}", NUMBERS.fetch_add(1, Ordering::Relaxed));
        let mut building = {
            let (folder, name) = (account_folder.clone(), name.clone());
            let (lease, wanted, cache) =
                (builder.lease.clone(), builder.wanted.clone(), builder.cache.clone());
            let warm = folder.join(&installed_before);
            tokio::task::spawn_blocking(move || {
                prepare((&folder, &warm), &name, owner, &lease, &wanted, &cache)
            })
            .await
            .map_err(std::io::Error::other)??
        };
        let root = building.0.as_ref().expect("it was just made").root.clone();
        let lock = tokio::fs::read_to_string(inside(&root, LOCK_PATH)).await?;
        let credentials = builder.wanted.credentials.clone();
        let reach = Arc::new(Reach::of(&lock, credentials, Arc::clone(&self.forbidden)));
        let _way = Way::open(&inside(&root, FOLDER), Arc::clone(&reach))?;
        own_all(&inside(&root, FOLDER).join(way::SOCKET), owner)?;
        let (said, said_inside) = std::io::pipe()?;
        let job = builder.job(root.clone(), uv, said_inside.into())?;
        let mut running = builder.sandbox.start(job).await?;
        let listening = tokio::task::spawn_blocking({
            let (lines, wanted) = (builder.lines.clone(), builder.wanted.clone());
            move || tail(said, |line| drop(lines.send_replace(without_credentials(line, &wanted))))
        });
        let Ok(end) = tokio::time::timeout(ENVIRONMENT_BUILD, running.wait()).await else {
            running.kill().await;
            return Err(BuildError::Failed(format!(
                "installing the packages took more than {} minutes",
                ENVIRONMENT_BUILD.as_secs() / 60
            )));
        };
        let said = listening.await.map_err(std::io::Error::other)?;
        let kept = tokio::task::spawn_blocking({
            let (warm, root) = (account_folder.join(&installed_before), root.clone());
            move || give_back_cache(&warm, &root)
        });
        kept.await.map_err(std::io::Error::other)?;
        if let Some(failure) = failure(&end, &said, builder.wanted) {
            return Err(BuildError::Failed(failure + &in_vain(&reach.refused())));
        }
        let made = account_folder.join(format!("{name}-made"));
        fs::create_dir(&made)?;
        fs::rename(inside(&root, ENVIRONMENT_PATH), made.join("env"))?;
        fs::write(made.join(LOG), without_credentials(&said, builder.wanted))?;
        self.keep(&builder.lease.account_id, key, &made)?;
        drop(building.0.take().map(|workspace| std::thread::spawn(move || workspace.remove())));
        Ok(())
    }
}

impl Builder<'_> {
    /// The name of what the account installed before for this Python: what was built in one image does not run in another.
    fn installed_before(&self) -> String {
        self.interpreter.image.as_ref().map_or_else(
            || CACHE.to_owned(),
            |id| {
                let short: String = id.rsplit(':').next().unwrap_or(id).chars().take(CACHE_CHARS).collect();
                format!("{CACHE}-{short}")
            },
        )
    }

    fn job(&self, root: PathBuf, uv: &Path, said: OwnedFd) -> Result<JobSpec, BuildError> {
        let mut read_only_binds = self.interpreter.needs.clone();
        read_only_binds.push((uv.canonicalize()?, PathBuf::from(UV)));
        let base = self.interpreter.base_executable.as_os_str();
        let mut command: Vec<OsString> = vec![base.to_owned()];
        command.extend(["-I", "-S", "-c", SCRIPT, UV].map(OsString::from));
        command.push(base.to_owned());
        command.extend([ENVIRONMENT_PATH, PYTHON, LOCK_PATH].map(OsString::from));
        command.push(Path::new(FOLDER).join(way::SOCKET).into());
        let mut environment: Vec<(OsString, OsString)> = [
            ("HOME", HOME),
            ("LANG", "C.UTF-8"),
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("NETRC", NETRC),
            ("NO_COLOR", "1"),
            ("UV_CACHE_DIR", CACHE_INSIDE),
            ("UV_NO_CONFIG", "1"),
            // Certificates of the machine, as everything else on it uses them.
            ("UV_NATIVE_TLS", "1"),
            ("UV_SYSTEM_CERTS", "1"),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .to_vec();
        if self.interpreter.image.is_some()
            && let Some(bundle) = certificates()
        {
            read_only_binds.push((bundle.canonicalize()?, PathBuf::from(CERTIFICATES)));
            environment.push(("SSL_CERT_FILE".into(), CERTIFICATES.into()));
        }
        let null = fs::File::open("/dev/null")?;
        Ok(JobSpec {
            name: format!("rgrid-{}-{}-packages", self.lease.execution_id, self.lease.attempt),
            labels: self.labels.clone(),
            image: self.interpreter.image.clone(),
            root,
            read_only_binds,
            file_binds: Vec::new(),
            command,
            environment,
            cwd: FOLDER.into(),
            umask: 0o022,
            limits: JobLimits { processes: self.limits.processes.max(PROCESSES_MIN), ..self.limits },
            // Its way out is a socket.
            network: false,
            slot: self.slot,
            stdin: null.into(),
            stdout: said.try_clone()?,
            stderr: said,
        })
    }
}

/// The file with all certificates that this machine trusts.
fn certificates() -> Option<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named.into_iter().chain(BUNDLES.map(PathBuf::from)).find(|file| file.is_file())
}

/// Where a path of the inside lies below a root.
fn inside(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// A workspace with the lock, the account's own packages, what indexes want to know, and what was installed before.
fn prepare(
    (folder, warm): (&Path, &Path),
    name: &str,
    owner: Option<(u32, u32)>,
    lease: &Lease,
    wanted: &DependenciesBody,
    cache: &BlobCache,
) -> std::io::Result<Building> {
    let user = owner.map(|(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid)));
    let workspace = Workspace::make(Place::watched(folder.to_owned()), name, user)?;
    let mut building = Building(Some(workspace));
    let workspace = building.0.as_mut().expect("it was just made");
    let inputs: Vec<&InputBody> = key::inputs_of_build(lease, wanted);
    workspace.place(&lease.account_id, inputs.into_iter(), cache)?;
    workspace.make_folder(Path::new("/rgrid/bin"))?;
    let root = workspace.root.clone();
    let cold = inside(&root, CACHE_INSIDE);
    // Two builds of one account at once: the second starts with nothing.
    if fs::rename(warm, &cold).is_ok() {
        own_all(&cold, owner)?;
    } else {
        workspace.make_folder(Path::new(CACHE_INSIDE))?;
    }
    if !wanted.credentials.is_empty() {
        let netrc = inside(&root, NETRC);
        write_private(&netrc, &netrc_of(wanted))?;
        own_all(&netrc, owner)?;
    }
    Ok(building)
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// One line for each index, as netrc has it: the host, a name and a word.
fn netrc_of(wanted: &DependenciesBody) -> String {
    wanted
        .credentials
        .iter()
        .filter_map(|(index, credentials)| {
            let host = reqwest::Url::parse(index).ok()?.host_str()?.to_owned();
            let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
            Some(format!("machine {host} login {user} password {password}\n"))
        })
        .collect()
}

/// Gives a tree to the user of a job. Nothing runs yet; links are not followed.
fn own_all(path: &Path, owner: Option<(u32, u32)>) -> std::io::Result<()> {
    let Some((uid, gid)) = owner else { return Ok(()) };
    std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            own_all(&entry?.path(), owner)?;
        }
    }
    Ok(())
}

/// What was downloaded and built stays for the next build of the account, whatever became of this one.
fn give_back_cache(warm: &Path, root: &Path) {
    let used = inside(root, CACHE_INSIDE);
    // Never a link that a build put in its place.
    let is_folder = fs::symlink_metadata(&used).is_ok_and(|found| found.is_dir());
    if is_folder
        && !warm.exists()
        && let Err(error) = fs::rename(&used, warm)
    {
        tracing::warn!(%error, "what was downloaded is not kept");
    }
}

/// The end of what is read, until nobody writes any more. Each line is told as soon as it is whole.
fn tail(mut source: impl Read, mut tell: impl FnMut(&str)) -> String {
    let mut kept = Vec::new();
    let mut line = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(read) = source.read(&mut piece) {
        if read == 0 {
            break;
        }
        kept.extend_from_slice(&piece[..read]);
        for byte in &piece[..read] {
            match byte {
                b'\n' | b'\r' => {
                    let whole = String::from_utf8_lossy(&line).trim().replace(char::is_control, " ");
                    if !whole.is_empty() {
                        tell(&whole);
                    }
                    line.clear();
                }
                other if line.len() < LINE_BYTES_MAX => line.push(*other),
                _ => {}
            }
        }
        if kept.len() > 2 * BUILD_MESSAGE_BYTES_MAX {
            kept.drain(..kept.len() - BUILD_MESSAGE_BYTES_MAX);
        }
    }
    let start = kept.len().saturating_sub(BUILD_MESSAGE_BYTES_MAX);
    String::from_utf8_lossy(&kept[start..]).replace('\0', "")
}

/// What uv said, without names and passwords of indexes.
fn without_credentials(said: &str, wanted: &DependenciesBody) -> String {
    let mut said = said.to_owned();
    for credentials in wanted.credentials.values() {
        for secret in
            [credentials.as_str()].into_iter().chain(credentials.split(':')).filter(|text| text.len() >= 3)
        {
            said = said.replace(secret, "***");
        }
    }
    said
}

/// Why a build failed; `None` when it did not.
fn failure(end: &JobEnd, said: &str, wanted: &DependenciesBody) -> Option<String> {
    if let Some((limit, _)) = end.out_of_memory {
        return Some(format!(
            "installing the packages needed more than {} of memory",
            rgrid_core::quantity::format_bytes(limit)
        ));
    }
    if end.disk_full {
        return Some("installing the packages filled the disk that the execution may use".to_owned());
    }
    if end.exit == JobExit::Exited(0) {
        return None;
    }
    let said = without_credentials(said.trim(), wanted);
    Some(if said.is_empty() { format!("uv ended with {:?}", end.exit) } else { said })
}

/// What a build that failed had asked for and did not get.
fn in_vain(refused: &[String]) -> String {
    match refused {
        [] => String::new(),
        hosts => format!(
            "\nit asked for {}, which neither the lock nor its indexes name: nothing else can be reached while packages are built",
            hosts.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> DependenciesBody {
        DependenciesBody {
            source: "requirements.txt".to_owned(),
            lock: LOCK_PATH.to_owned(),
            local: Vec::new(),
            credentials: [("https://index.example/simple".to_owned(), "me:hunter22".to_owned())].into(),
        }
    }

    fn ended(exit: JobExit) -> JobEnd {
        JobEnd { exit, out_of_memory: None, disk_full: false, peak_memory_bytes: None, cpu_ms: None }
    }

    #[test]
    fn credentials_go_to_their_host_and_into_no_message() {
        assert_eq!(netrc_of(&wanted()), "machine index.example login me password hunter22\n");
        let said =
            failure(&ended(JobExit::Exited(1)), "cannot fetch https://me:hunter22@index.example", &wanted());
        assert_eq!(said.unwrap(), "cannot fetch https://***@index.example");
        assert_eq!(failure(&ended(JobExit::Exited(0)), "all is well", &wanted()), None);
    }

    #[test]
    fn of_a_long_text_the_end_is_kept() {
        let text = format!("{}the end", "x".repeat(10 * BUILD_MESSAGE_BYTES_MAX));
        let kept = tail(text.as_bytes(), |_| ());
        assert!(kept.ends_with("the end") && kept.len() == BUILD_MESSAGE_BYTES_MAX);
    }
}
