//! What the tests need beside Rust. As root it is installed, and said; else the one line that installs it is printed
//! and nothing is run. Nothing is ever skipped for want of it.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{cargo, run};

/// The cargo-fuzz that was last tried.
const CARGO_FUZZ: &str = "0.13.2";

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
    Needed { package: "docker.io", sign: &["dockerd", "docker"], why: "the docker sandbox" },
    Needed { package: "debootstrap", sign: &["debootstrap"], why: "the image of the docker sandbox's tests" },
    Needed { package: "curl", sign: &["curl"], why: "what a fresh server asks its metadata with" },
    Needed { package: "procps", sign: &["ps"], why: "tests look for left-over processes" },
    Needed {
        package: "hcloud-cli",
        sign: &["hcloud"],
        why: "a client that must be content with hetzner-sim",
    },
    Needed { package: "openssl", sign: &["openssl"], why: "the certificates that tests bring" },
    Needed { package: "openssh-client", sign: &["ssh-keygen"], why: "a key to give to hetzner-sim" },
    Needed { package: "git", sign: &["git"], why: "tidy asks it which files there are" },
];

/// What is installed from the Python package index into `target/tools/FOLDER`, and the list of its pinned versions.
const PYTHON_TOOLS: &[(&str, &str)] = &[
    ("schemathesis", "crates/rgrid/tests/it/schemathesis/requirements.txt"),
    ("hcloud", "crates/hetzner-sim/tests/it/conformance/requirements.txt"),
];

/// What only tests need that are run as root alone.
const FOR_ROOT: &[&str] = &["docker.io", "debootstrap", "curl"];

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
    packages(NEEDED)?;
    for (name, why, release, packages) in IMAGES {
        image(name, why, release, packages)?;
    }
    for (folder, pinned) in PYTHON_TOOLS {
        python_tool(folder, pinned)?;
    }
    Ok(())
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// A mirror that leaves out some of its packages is asked this often: debootstrap takes its first answer for the last.
const MIRROR_TRIES: u32 = 3;

/// Small Debians, which tests give to engines of their own: a name, what for, the release, and the packages.
const IMAGES: &[(&str, &str, &str, &str)] = &[
    ("debian", "the image of the docker sandbox's tests", "bookworm", "python3,ca-certificates"),
    ("debian-13", "the same with another Python", "trixie", "python3,ca-certificates"),
    (
        "debian-systemd",
        "the servers of hetzner-sim",
        "bookworm",
        // The last one is what debootstrap does not find by itself.
        "systemd,systemd-sysv,dbus,cloud-init,python3,ca-certificates,iproute2,curl,procps,bubblewrap,nftables,python3-cffi-backend",
    ),
];

/// Made from Debian's packages, once.
fn image(name: &str, why: &str, release: &str, packages: &str) -> Result<()> {
    let folder = crate::root().join("target/tools/images");
    let file = folder.join(format!("{name}.tar"));
    let (aside, made) = (folder.join(format!("{name}.new")), folder.join("root"));
    if !is_root() || file.exists() {
        return Ok(());
    }
    eprintln!("making: {} ({why})", file.display());
    std::fs::create_dir_all(&folder)?;
    bootstrap(&made, release, packages).context("the tests need Debian's packages from its mirror")?;
    let left_out =
        ["var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"];
    run(Command::new("tar")
        .args(left_out.map(|path| format!("--exclude=./{path}")))
        .args(["--exclude=./dev/*", "--create", "--file"])
        .arg(&aside)
        .arg("--directory")
        .arg(&made)
        .arg("."))?;
    run(Command::new("rm").arg("-rf").arg(&made))?;
    Ok(std::fs::rename(&aside, &file)?)
}

/// A Debian of the smallest kind with these packages, in a folder of its own.
pub(crate) fn bootstrap(folder: &Path, release: &str, packages: &str) -> Result<()> {
    let mut tries = 0;
    loop {
        run(Command::new("rm").arg("-rf").arg(folder))?;
        // What it mounts goes with its namespace: on some machines a /proc stays mounted behind it.
        let made = run(Command::new("unshare")
            .args(["--mount", "debootstrap", "--variant=minbase", &format!("--include={packages}"), release])
            .arg(folder));
        tries += 1;
        if made.is_ok() || tries == MIRROR_TRIES {
            return made;
        }
    }
}

/// What only fuzzing needs.
pub(crate) fn ensure_fuzzer() -> Result<()> {
    packages(&[Needed { package: "g++", sign: &["c++"], why: "libFuzzer is C++" }])?;
    let installed = cargo().args(["fuzz", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if installed.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    eprintln!("installing: cargo-fuzz {CARGO_FUZZ}");
    run(cargo().args(["install", "cargo-fuzz", "--locked", "--version", CARGO_FUZZ]))
}

/// A virtual environment of its own for a tool that tests use, in pinned versions.
fn python_tool(name: &str, pinned: &str) -> Result<()> {
    let pinned = crate::root().join(pinned);
    let folder = crate::root().join("target/tools").join(name);
    // What was installed lies beside it: a changed list installs anew.
    let installed = folder.join("installed.txt");
    let wanted = std::fs::read_to_string(&pinned)?;
    if std::fs::read_to_string(&installed).is_ok_and(|has| has == wanted)
        && folder.join("bin/python").is_file()
    {
        return Ok(());
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    run(Command::new(folder.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", "--only-binary", ":all:", "--requirement"])
        .arg(&pinned))
    .with_context(|| format!("the tests need {name} from the configured Python package index"))?;
    Ok(std::fs::write(&installed, wanted)?)
}

fn packages(needed: &[Needed]) -> Result<()> {
    let is_root = is_root();
    let missing: Vec<&Needed> = needed
        .iter()
        .filter(|n| is_root || !FOR_ROOT.contains(&n.package))
        .filter(|n| !n.sign.iter().all(|sign| is_there(sign)))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    for needed in &missing {
        eprintln!("missing: {} ({})", needed.package, needed.why);
    }
    let packages: Vec<&str> = missing.iter().map(|n| n.package).collect();
    if !is_root || !Path::new("/usr/bin/apt-get").exists() {
        bail!("they are needed: sudo apt-get install -y {}", packages.join(" "));
    }
    eprintln!("installing: {}", packages.join(" "));
    run(Command::new("apt-get").args(["update", "-q"]))?;
    // A server of Debian's own would only take memory here: the tests start private ones.
    run(Command::new("apt-get")
        .args(["install", "-q", "-y", "--no-install-recommends"])
        .args(&packages)
        .env("DEBIAN_FRONTEND", "noninteractive"))
}
