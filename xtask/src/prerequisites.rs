//! What the tests need beside Rust. As root it is installed, and said; else the one line that installs it is printed
//! and nothing is run. Nothing is ever skipped for want of it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;

/// A Debian package, and a program or file by which one sees that it is there.
struct Needed {
    package: &'static str,
    sign: &'static [&'static str],
    why: &'static str,
}

const NEEDED: &[Needed] = &[
    Needed { package: "python3", sign: &["python3"], why: "what users' scripts are run by" },
    Needed {
        package: "postgresql",
        sign: &["postgres"],
        why: "the database of the embedded grid and of the tests",
    },
    Needed { package: "bubblewrap", sign: &["bwrap"], why: "the process sandbox" },
    Needed { package: "passt", sign: &["pasta"], why: "a job's network, for ordinary users" },
    Needed { package: "iproute2", sign: &["ip"], why: "a job's network, as root" },
    Needed { package: "nftables", sign: &["nft"], why: "what a job may not reach" },
    Needed { package: "e2fsprogs", sign: &["mkfs.ext4"], why: "hard disk limits" },
    Needed {
        package: "python3-venv",
        sign: &["python3-venv"],
        why: "the environment of a tool that tries the API",
    },
    Needed { package: "procps", sign: &["ps"], why: "tests look for left-over processes" },
    Needed { package: "git", sign: &["git"], why: "tidy asks it which files there are" },
];

fn is_there(sign: &str) -> bool {
    if sign == "python3-venv" {
        // No program of its own: Debian keeps a module of python3 back for it.
        let look = Command::new("python3").args(["-c", "import ensurepip"]).status();
        return look.is_ok_and(|status| status.success());
    }
    let mut folders: Vec<_> =
        std::env::var_os("PATH").map(|p| std::env::split_paths(&p).collect()).unwrap_or_default();
    folders.extend(["/usr/sbin".into(), "/sbin".into()]);
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    folders.iter().any(|folder: &std::path::PathBuf| folder.join(sign).is_file())
}

pub(crate) fn ensure() -> Result<()> {
    packages()?;
    schemathesis()
}

/// What makes up requests from the API's document, in a virtual environment of its own, in pinned versions.
fn schemathesis() -> Result<()> {
    let pinned = crate::root().join("crates/rgrid/tests/it/schemathesis/requirements.txt");
    let folder = crate::root().join("target/tools/schemathesis");
    // What was installed lies beside it: a changed list installs anew.
    let installed = folder.join("installed.txt");
    let wanted = std::fs::read_to_string(&pinned)?;
    if std::fs::read_to_string(&installed).is_ok_and(|has| has == wanted) && folder.join("bin/st").is_file() {
        return Ok(());
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    run(Command::new(folder.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", "--only-binary", ":all:", "--requirement"])
        .arg(&pinned))
    .context("the tests need schemathesis from the configured Python package index")?;
    Ok(std::fs::write(&installed, wanted)?)
}

fn packages() -> Result<()> {
    let missing: Vec<&Needed> = NEEDED.iter().filter(|n| !n.sign.iter().all(|sign| is_there(sign))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for needed in &missing {
        eprintln!("missing: {} ({})", needed.package, needed.why);
    }
    let packages: Vec<&str> = missing.iter().map(|n| n.package).collect();
    let is_root =
        std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if !is_root || !Path::new("/usr/bin/apt-get").exists() {
        bail!("the tests need them: sudo apt-get install -y {}", packages.join(" "));
    }
    eprintln!("installing: {}", packages.join(" "));
    run(Command::new("apt-get").args(["update", "-q"]))?;
    // A server of Debian's own would only take memory here: the tests start private ones.
    run(Command::new("apt-get")
        .args(["install", "-q", "-y", "--no-install-recommends"])
        .args(&packages)
        .env("DEBIAN_FRONTEND", "noninteractive"))
}
