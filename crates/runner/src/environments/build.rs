//! Builds an environment: uv installs a lock, inside a sandbox of its own that sees the lock and the account's own
//! packages, and nothing of the job. What a source package does while it is built, it does there.

use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::unistd::{Gid, Uid};
use rgrid_api::dependencies::DependenciesBody;
use rgrid_api::executions::InputBody;
use rgrid_api::workers::Lease;
use rgrid_core::dependencies::{ENVIRONMENT_PATH, LOCK_PATH};
use rgrid_core::environment::build_message;
use rgrid_core::limits::ENVIRONMENT_BUILD;
use rgrid_core::submission::Sha256;
use tokio::sync::watch;

use super::reach::Reach;
use super::said::{self, Said};
use super::uv::NoUv;
use super::way::{self, Way};
use super::{BUILDING, CACHE, Environments, PYTHON, key};
use crate::blob_cache::BlobCache;
use crate::interpreter::Interpreter;
use crate::mask::Mask;
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
/// Where certificates that a build would not find by itself lie inside.
const CERTIFICATES: &str = "/rgrid/certificates.pem";
/// Where they lie on the worker: one file with all of them.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Characters of an image's id that tell its cache from another's.
const CACHE_CHARS: usize = 16;
/// The folder of the way out, and of all else that a build is given.
const FOLDER: &str = "/rgrid";

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// The packages cannot be installed.
    #[error("{message}")]
    Failed {
        /// Why, for the person: the end of what uv said.
        message: String,
        /// All of it, as far as a log holds it.
        log: Vec<u8>,
    },
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
        let (heard, said_inside) = std::io::pipe()?;
        let job = builder.job(root.clone(), uv, said_inside.into())?;
        let mut running = builder.sandbox.start(job).await?;
        let said = Arc::new(Mutex::new(Said::default()));
        let listening = tokio::task::spawn_blocking({
            let (lines, said) = (builder.lines.clone(), Arc::clone(&said));
            let mask = Mask::of_build(&builder.lease.environment, &builder.wanted.credentials);
            move || said::listen(heard, mask, &said, |line| drop(lines.send_replace(line.to_owned())))
        });
        let taken = || std::mem::take(&mut *said.lock().unwrap_or_else(PoisonError::into_inner));
        let Ok(end) = tokio::time::timeout(ENVIRONMENT_BUILD, running.wait()).await else {
            running.kill().await;
            let message = format!(
                "installing the packages took more than {} minutes",
                ENVIRONMENT_BUILD.as_secs() / 60
            );
            return Err(BuildError::Failed {
                log: taken().log_with(std::slice::from_ref(&message)),
                message,
            });
        };
        listening.await.map_err(std::io::Error::other)?;
        let kept = tokio::task::spawn_blocking({
            let (warm, root) = (account_folder.join(&installed_before), root.clone());
            move || give_back_cache(&warm, &root)
        });
        kept.await.map_err(std::io::Error::other)?;
        if end.exit != JobExit::Exited(0) || end.out_of_memory.is_some() || end.disk_full {
            return Err(failed(&end, taken(), &reach.refused()));
        }
        let made = account_folder.join(format!("{name}-made"));
        fs::create_dir(&made)?;
        fs::rename(inside(&root, ENVIRONMENT_PATH), made.join("env"))?;
        fs::write(made.join(said::LOG), taken().log())?;
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
        if let Some(bundle) = certificates(self.interpreter.image.is_some()) {
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

/// The file with the certificates that this worker was told to trust; for an image, which may have none, else all that its
/// machine trusts. Without an image the machine's are seen where they lie.
fn certificates(for_image: bool) -> Option<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let bundles = BUNDLES.map(PathBuf::from).into_iter().filter(|_| for_image);
    named.into_iter().chain(bundles).find(|file| file.is_file())
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

/// Why a build failed, with all that was said until then.
fn failed(end: &JobEnd, said: Said, refused: &[String]) -> BuildError {
    let limit = if let Some((limit, _)) = end.out_of_memory {
        let limit = rgrid_core::quantity::format_bytes(limit);
        Some(format!("installing the packages needed more than {limit} of memory"))
    } else {
        end.disk_full.then(|| "installing the packages filled the disk that the execution may use".to_owned())
    };
    let speaks_for_itself = limit.is_some() || !said.is_blank();
    let ended = (!speaks_for_itself).then(|| format!("uv ended with {:?}", end.exit));
    let reasons: Vec<String> = limit.iter().cloned().chain(ended).chain(in_vain(refused)).collect();
    let log = said.log_with(&reasons);
    let message = match limit {
        Some(_) => reasons.join("\n"),
        None => build_message(&String::from_utf8_lossy(&log).replace('\0', "")),
    };
    BuildError::Failed { message, log }
}

/// What a build that failed had asked for and did not get.
fn in_vain(refused: &[String]) -> Option<String> {
    (!refused.is_empty()).then(|| {
        format!(
            "it asked for {}, which neither the lock nor its indexes name: nothing else can be reached while packages are built",
            refused.join(", ")
        )
    })
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

    fn told(exit: JobExit, said: &str, refused: &[&str]) -> (String, String) {
        let heard = Mutex::default();
        said::listen(said.as_bytes(), Mask::default(), &heard, |_| ());
        let refused: Vec<String> = refused.iter().map(|host| (*host).to_owned()).collect();
        let error = failed(&ended(exit), heard.into_inner().unwrap(), &refused);
        let BuildError::Failed { message, log } = error else { panic!("{error}") };
        (message, String::from_utf8(log).unwrap())
    }

    #[test]
    fn credentials_go_to_their_host() {
        assert_eq!(netrc_of(&wanted()), "machine index.example login me password hunter22\n");
    }

    #[test]
    fn a_failure_is_told_in_uvs_words_and_its_log_has_them_all() {
        let said = "a warning\n".repeat(2000) + "no version of six\n";
        let (message, log) = told(JobExit::Exited(1), &said, &[]);
        assert!(message.starts_with("[...] a warning\n") && message.ends_with("\nno version of six"));
        assert_eq!(log, said);
        let (message, log) = told(JobExit::Exited(1), "it fails", &["198.51.100.7"]);
        assert!(message.starts_with("it fails\nit asked for 198.51.100.7, which"), "{message}");
        assert_eq!(log, message + "\n");
        let (message, log) = told(JobExit::Exited(9), " \n", &[]);
        assert_eq!(message, "uv ended with Exited(9)");
        assert_eq!(log, " \nuv ended with Exited(9)\n");
    }

    #[test]
    fn at_a_limit_the_message_names_it_and_the_log_has_what_was_said_until_then() {
        let heard = Mutex::default();
        said::listen(b"Building torch".as_slice(), Mask::default(), &heard, |_| ());
        let end = JobEnd { out_of_memory: Some((1 << 30, 1 << 30)), ..ended(JobExit::Signalled(9)) };
        let BuildError::Failed { message, log } = failed(&end, heard.into_inner().unwrap(), &[]) else {
            panic!("it failed")
        };
        assert_eq!(message, "installing the packages needed more than 1G of memory");
        assert_eq!(String::from_utf8(log).unwrap(), format!("Building torch\n{message}\n"));
    }
}
