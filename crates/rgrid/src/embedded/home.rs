//! The folder in which the embedded grid lives, and the one lock that its daemon holds from its first act to its
//! last: start, migration and stop can never overlap. What lies in the folder's parts is their own business.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix::unistd::Uid;

use super::process::Process;

/// Names another folder than the usual one.
pub(crate) const HOME_VARIABLE: &str = "RGRID_HOME";

/// Where the embedded grid of this user lives.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    root: PathBuf,
}

/// Held by the one daemon of a home, and by whoever deletes a home. The kernel releases it with the process.
#[derive(Debug)]
pub(crate) struct HomeLock {
    file: File,
}

impl HomeLock {
    /// Tells who holds it, so that it can be asked to end before it is ready.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn sign(&mut self, holder: Process) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.write_all(&serde_json::to_vec(&holder)?)
    }
}

impl Home {
    /// `RGRID_HOME`, else `/var/lib/rgrid` for root, else the XDG data folder of the user.
    ///
    /// # Errors
    /// When the user has no home folder, or a variable names a relative path.
    pub(crate) fn locate() -> anyhow::Result<Self> {
        let from_variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        if let Some(root) = from_variable(HOME_VARIABLE) {
            anyhow::ensure!(root.is_absolute(), "{HOME_VARIABLE} must be an absolute path, not {root:?}");
            return Ok(Self { root });
        }
        if Uid::effective().is_root() {
            return Ok(Self { root: PathBuf::from("/var/lib/rgrid") });
        }
        // The XDG rules: a relative path in the variable is to be ignored.
        if let Some(data) = from_variable("XDG_DATA_HOME").filter(|path| path.is_absolute()) {
            return Ok(Self { root: data.join("rgrid") });
        }
        let home = std::env::home_dir().filter(|home| home.is_absolute()).with_context(|| {
            format!("this user has no home folder: set {HOME_VARIABLE} to a folder for the embedded grid")
        })?;
        Ok(Self { root: home.join(".local/share/rgrid") })
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the daemon tells how to reach it.
    pub(crate) fn notice(&self) -> PathBuf {
        self.root.join("grid.json")
    }

    /// The admin key of the default account.
    pub(crate) fn key(&self) -> PathBuf {
        self.root.join("key")
    }

    /// The port of the last start: asked for again, so that addresses people copied stay true.
    pub(crate) fn port(&self) -> PathBuf {
        self.root.join("port")
    }

    /// Why the last start failed, in the words for a person.
    pub(crate) fn failure(&self) -> PathBuf {
        self.root.join("failure")
    }

    /// What isolates scripts here, as it was found last.
    pub(crate) fn sandbox(&self) -> PathBuf {
        self.root.join("sandbox")
    }

    /// Why that is containers although nobody asked for them, as far as a person was told.
    pub(crate) fn sandbox_told(&self) -> PathBuf {
        self.root.join("sandbox-told")
    }

    /// What the daemon logs.
    pub(crate) fn daemon_log(&self) -> PathBuf {
        self.root.join("daemon.log")
    }

    /// What PostgreSQL logs.
    pub(crate) fn postgres_log(&self) -> PathBuf {
        self.root.join("postgres.log")
    }

    /// What PostgreSQL owns.
    pub(crate) fn postgres(&self) -> PathBuf {
        self.root.join("postgres")
    }

    /// The object store.
    pub(crate) fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    /// Workspaces and caches of the workers.
    pub(crate) fn workers(&self) -> PathBuf {
        self.root.join("workers")
    }

    /// The key that encrypts values in the database.
    pub(crate) fn vault_key(&self) -> PathBuf {
        self.root.join("vault.key")
    }

    /// Programs that were fetched because the system does not have them.
    pub(crate) fn tools(&self) -> PathBuf {
        self.root.join("tools")
    }

    fn lock_file(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Makes the folder. Root's can be passed through by others, because PostgreSQL, which refuses to be root, has
    /// its folder below; nobody but the owner can list either.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn prepare(&self) -> anyhow::Result<()> {
        let mode = if Uid::effective().is_root() { 0o711 } else { 0o700 };
        let made = || -> io::Result<()> {
            fs::DirBuilder::new().recursive(true).mode(mode).create(&self.root)?;
            fs::set_permissions(&self.root, fs::Permissions::from_mode(mode))
        };
        made().with_context(|| format!("the folder of the embedded grid, {:?}, cannot be made", self.root))
    }

    /// Takes the lock if nobody holds it.
    ///
    /// # Errors
    /// When the lock file cannot be opened.
    pub(crate) fn try_lock(&self) -> io::Result<Option<HomeLock>> {
        let file = File::options().create(true).append(true).mode(0o600).open(self.lock_file())?;
        match file.try_lock() {
            Ok(()) => Ok(Some(HomeLock { file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Who signed the lock last.
    pub(crate) fn holder(&self) -> Option<Process> {
        serde_json::from_slice(&fs::read(self.lock_file()).ok()?).ok()
    }

    /// True while a daemon starts, serves or stops here.
    pub(crate) fn is_locked(&self) -> bool {
        // A folder that is not there holds no daemon, and asking must not make it.
        match File::open(self.lock_file()) {
            Ok(file) => matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
            Err(_) => false,
        }
    }
}

/// Writes a file that only its owner can read, whole or not at all.
///
/// # Errors
/// When the disk refuses.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let aside = path.with_extension(format!("{}.new", std::process::id()));
    let written = || -> io::Result<()> {
        let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&aside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    };
    written().inspect_err(|_| {
        // The first error is the one to tell.
        let _ = fs::remove_file(&aside);
    })
}

/// Makes a folder that only its owner can enter.
///
/// # Errors
/// When the disk refuses.
pub(crate) fn private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}
